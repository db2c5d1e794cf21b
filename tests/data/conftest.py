import importlib
import os
import socket
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np
import pytest

from fedjax_layers.data import DATA_DIR_VARIABLE, Dataset, Preprocess
from fedjax_layers.data.tables.cache import CACHE_VARIABLE
from fedjax_layers.data.tables.columns import Ragged, image, label, number, text, tokens
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.source import Layout, Source


@pytest.fixture
def data_folder():
    """The folder of real data; a test that asks for it is skipped where there is none."""
    folder = os.environ.get(DATA_DIR_VARIABLE)
    if not folder:
        pytest.skip(f"{DATA_DIR_VARIABLE} is not set")
    return Path(folder)


@pytest.fixture
def make_dataset():
    """A function that makes a small data set whose inputs hold the example's own id."""

    def make(n=40, classes=4, ids=None, clients=None, client_names=()):
        ids = np.arange(n) if ids is None else np.asarray(ids)
        return Dataset(
            name="toy",
            inputs=np.stack([ids, -ids], axis=1).astype(np.float32),
            labels=(np.arange(n) % classes).astype(np.int32),
            class_names=tuple(f"class {c}" for c in range(classes)),
            clients=clients,
            client_names=client_names,
            preprocess=Preprocess(),
            source="made up",
            licence="none",
            example_ids=ids,
        )

    return make


def _toy_tables(files):
    """What the one file's number makes: every kind of column, NaN of several bit patterns, empty and foreign texts."""
    (path,) = files.values()
    rng = np.random.default_rng(int(path.read_text()))

    def table(n):
        bits = np.array([0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000, 0x8000000000000000], np.uint64)
        return {
            "grey": rng.integers(0, 256, (n, 4, 5, 1), np.uint8),
            "colour": rng.integers(0, 256, (n, 2, 3, 3), np.uint8),
            "class": rng.integers(0, 3, n),
            "dose": np.where(rng.random(n) < 0.5, rng.normal(size=n), bits[rng.integers(0, 4, n)].view(np.float64)),
            "signal": rng.integers(-999, 999, (n, 2, 3)).astype(np.int16),
            "note": Ragged.of_texts(["", "naïve\r\n", "北京 🙂", "<nul>"][i % 4] + "x" * (i % 3) for i in range(n)),
            "codes": Ragged.of((rng.integers(0, 60_000, i % 4) for i in range(n)), "uint16"),
        }

    return {"train": table(50), "val": table(3), "test": table(9)}


@pytest.fixture
def toy_source(tmp_path, monkeypatch):
    """A data set with every kind of column, of one file ``toy.txt`` that holds a number; the cache is the test's own.

    ``tmp_path/raw`` is a data folder with it.
    """
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "raw" / "toy").mkdir(parents=True)
    (tmp_path / "raw" / "toy" / "toy.txt").write_text("7")
    return Source(
        name="toy",
        title="numbers from a number",
        task="classification",
        licence="none",
        citation="made up",
        build=lambda tables, provenance: (tables, provenance),
        columns={
            "grey": image(4, 5),
            "colour": image(2, 3, 3),
            "class": label(["no", "yes, but", "perhaps"]),
            "dose": number("float64"),
            "signal": number("int16", 2, 3),
            "note": text(),
            "codes": tokens("uint16"),
        },
        layouts=(Layout((SourceFile("toy.txt"),), _toy_tables, {"train": 50, "val": 3, "test": 9}),),
    )


@pytest.fixture
def assert_identical():
    """A function that compares the tables of two readers bit for bit, in the order of their splits."""

    def check(one, other):
        assert list(one) == list(other)
        for split in one:
            assert set(one[split]) == set(other[split])
            for name, column in one[split].items():
                pairs = [(column, other[split][name])]
                if isinstance(column, Ragged):
                    pairs = [(getattr(column, part), getattr(pairs[0][1], part)) for part in ("values", "offsets")]
                for a, b in pairs:
                    assert (a.dtype, a.shape) == (b.dtype, b.shape), (split, name)
                    assert a.tobytes() == b.tobytes(), (split, name)

    return check


@pytest.fixture
def offline(monkeypatch):
    """No connection, no name lookup, and no TensorFlow, be it installed or not."""
    real = PathFinder.find_spec

    def find(name, path=None, target=None):
        return None if name.partition(".")[0] == "tensorflow" else real(name, path, target)

    def refuse(*args, **options):
        raise OSError("the network is off")

    for method in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, method, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(PathFinder, "find_spec", find)
    yield
    assert "tensorflow" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("tensorflow")
