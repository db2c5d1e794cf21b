"""What holds for every registered data set; checksums against two sources that are not ours."""

import collections
import inspect
import re
from importlib import resources
from pathlib import Path

import pytest
from tensorflow_datasets.core.download import checksums

from fedjax_layers.data import DATASETS, load_dataset
from fedjax_layers.data.dataset import TASKS
from fedjax_layers.data.tables.files import check_member_name, find_files, verify_files
from fedjax_layers.options import defaults_of

WITH_FILES = [name for name, source in DATASETS.items() if source.layouts]
SPLITS = ["train", "val", "test"]


def test_names_are_sorted_and_their_own():
    assert list(DATASETS) == sorted(DATASETS)
    assert len(DATASETS) >= 26
    for name, source in DATASETS.items():
        assert source.name == name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)


@pytest.mark.parametrize("name", DATASETS)
def test_every_set_says_what_it_is_and_on_which_terms(name):
    source = DATASETS[name]
    for field in (source.title, source.licence, source.citation):
        assert field.strip() == field
        assert field
    for field in (source.title, source.licence, source.citation, source.clients, source.obtain):
        assert "\n" not in field
    assert source.task in TASKS
    assert re.fullmatch(r"\d+\.\d+\.\d+", source.version)
    assert (source.from_stock is None) == (source.stock == "")
    assert bool(source.columns) == bool(source.layouts)


@pytest.mark.parametrize("name", DATASETS)
def test_options_are_plain_values_that_the_command_line_can_give(name):
    source = DATASETS[name]
    parameters = inspect.signature(source.build).parameters.values()
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    assert positional == ["tables", "provenance"] if source.layouts else positional in ([], ["data_dir"])
    for option, default in defaults_of(source.build).items():
        assert isinstance(default, (int, float, str, bool, tuple, type(None))), option


@pytest.mark.parametrize("name", WITH_FILES)
def test_every_file_has_a_safe_name_and_an_address_only_with_a_checksum(name):
    for layout in DATASETS[name].layouts:
        assert layout.files
        names = [file.name for file in layout.files]
        assert len(set(names)) == len(names)
        for file in layout.files:
            check_member_name(file.name, name)
            assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256), file
            assert re.fullmatch(r"(https?://\S+)?", file.url), file
            assert file.sha256 or not file.url, f"{file}: what is fetched could not be checked"
            assert not (file.is_pattern and file.sha256)
    sums = [f.sha256 for f in DATASETS[name].layouts[0].files if f.sha256]
    assert len(set(sums)) == len(sums)  # no checksum pasted twice


@pytest.mark.parametrize("name", WITH_FILES)
def test_every_form_of_the_files_announces_counts_of_known_splits(name):
    for layout in DATASETS[name].layouts:
        assert list(layout.counts) == [split for split in SPLITS if split in layout.counts]
        assert all(isinstance(count, int) and count > 0 for count in layout.counts.values())
    if len({tuple(layout.counts.items()) for layout in DATASETS[name].layouts}) > 1:
        assert any(layout.note for layout in DATASETS[name].layouts), "which of them is a subset?"


@pytest.mark.parametrize("name", WITH_FILES)
def test_columns_can_be_written_by_tfds(name):
    for column, kind in DATASETS[name].columns.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column)
        assert column != "id", "the builder adds it"
        assert len(set(kind.names)) == len(kind.names)
        assert bool(kind.names) == (kind.kind == "label")
        assert all(entry.strip() == entry and entry for entry in kind.names)
        if kind.kind == "image":
            assert len(kind.shape) == 3
            assert kind.shape[2] in (1, 3)


def test_files_inside_the_package_are_those_that_are_registered():
    embedded = {name: source for name, source in DATASETS.items() if source.embedded}
    assert list(embedded) == ["heart"]
    for source in embedded.values():
        found, missing = find_files(source.embedded, source.layouts[0].files)
        assert missing == []
        assert all(file.sha256 for file in source.layouts[0].files)
        verify_files(found, source.layouts[0].files)


def test_checksums_are_those_that_tfds_registered():
    """TFDS's authors computed theirs from the same addresses."""
    shakespeare = resources.files("tensorflow_datasets") / "datasets" / "tiny_shakespeare" / "checksums.tsv"
    known = checksums.get_all_url_infos() | checksums.load_url_infos(shakespeare)
    compared = collections.Counter()
    for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_shakespeare"):
        for file in (file for file in DATASETS[name].layouts[0].files if file.url):
            assert known[file.url].checksum == file.sha256, file
            compared[name] += 1
    assert compared == {"mnist": 4, "fashion_mnist": 4, "cifar10": 1, "cifar100": 1, "tiny_shakespeare": 1}
    # A set that TFDS came to know under the same address would have to agree too.
    for source in DATASETS.values():
        for file in (file for layout in source.layouts for file in layout.files if file.url in known):
            assert known[file.url].checksum == file.sha256, file


IN_THE_FOLDER = {  # files of which the data folder's list has a checksum, by set
    "beijing_air": 1,
    "cifar10": 6,
    "cifar100": 4,
    "digit_domains": 5,
    "fashion_mnist": 4,
    "fed_tcga_brca": 3,
    "fsdd": 1,
    "heart": 4,
    "mnist": 4,
    "office_caltech": 4,
    "omniglot": 2,
    "parkinsons": 1,
    "sentiment": 3,
    "tiny_shakespeare": 1,
    "uci_har": 1,
    "ud_english_ewt": 3,
    "usps": 1,
    "wikitext2": 3,
}


@pytest.mark.data
def test_checksums_are_those_of_the_data_folder(data_folder):
    """Its ``SHA256SUMS`` was written by those who collected the files."""
    lines = (data_folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    compared = {}
    for name in WITH_FILES:
        source = DATASETS[name]
        place = Path(source.folder or source.name)
        for file in {file.name: file for layout in source.layouts for file in layout.files}.values():
            path = (place / file.name).as_posix()
            if path in listed:
                assert file.sha256 == listed[path], path
                compared[name] = compared.get(name, 0) + 1
    assert compared == IN_THE_FOLDER


@pytest.mark.data
@pytest.mark.parametrize("name", [*IN_THE_FOLDER, "digits", "synthetic"])
def test_what_is_loaded_is_what_is_listed(data_folder, name):
    source = DATASETS[name]
    data = load_dataset(name, data_folder)
    assert (data.name, data.task, data.licence) == (name, source.task, source.licence)
    assert data.num_classes == source.classes
    assert (data.clients is not None) == bool(source.clients)
    if source.examples:
        assert len(data) == source.examples
