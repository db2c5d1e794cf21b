"""What the tests of several data sets share."""

import dataclasses

import pytest

from fedjax_layers.data.tables.cache import CACHE_VARIABLE


@pytest.fixture
def load_small(tmp_path, monkeypatch):
    """A function that loads a set from small files that a test has written to ``tmp_path/<folder of the set>``.

    Checksums and counts are those of the full set, so they are not asked for.
    """
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))

    def load(source, **options):
        layouts = tuple(
            dataclasses.replace(
                layout, counts={}, files=tuple(dataclasses.replace(file, sha256="") for file in layout.files)
            )
            for layout in source.layouts
        )
        return dataclasses.replace(source, layouts=layouts).load(tmp_path, **options)

    return load
