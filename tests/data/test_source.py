"""Where a data set's tables come from, what is said when they come from nowhere, and when they are decoded again."""

import dataclasses
import os

import pytest

from fedjax_layers.data import DATA_DIR_VARIABLE, DATASETS, load_dataset
from fedjax_layers.data.tables import builders
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.source import Layout


@pytest.fixture
def prepared(toy_source, tmp_path):
    """A folder with the toy set as our builder writes it."""
    builders.prepare(toy_source, tmp_path / "raw", tmp_path / "prepared")
    return tmp_path / "prepared"


def test_files_come_before_prepared_data_and_these_before_files_inside_the_package(
    toy_source, prepared, tmp_path, assert_identical
):
    inside = tmp_path / "package"
    inside.mkdir()
    (inside / "toy.txt").write_text("1")
    source = dataclasses.replace(toy_source, embedded=inside)
    expected, provenance = toy_source.tables(tmp_path / "raw")
    assert provenance == "unchecked files of toy"
    (prepared / "toy").mkdir()
    (prepared / "toy" / "toy.txt").write_text("2")
    from_files, provenance = source.tables(prepared)
    assert provenance == "unchecked files of toy"
    assert from_files["train"]["dose"].tobytes() != expected["train"]["dose"].tobytes()
    (prepared / "toy" / "toy.txt").unlink()
    from_prepared, provenance = source.tables(prepared)
    assert provenance == "TFDS federated_toy/1.0.0"
    assert_identical(from_prepared, expected)
    (prepared / "federated_toy").rename(tmp_path / "elsewhere")
    from_package, provenance = source.tables(prepared)
    assert provenance == "unchecked files of toy"
    assert_identical(from_package, source.read(source.layouts[0], {"toy.txt": inside / "toy.txt"})[0])


def test_the_first_layout_whose_files_are_all_there_is_taken(toy_source, tmp_path):
    whole = Layout((SourceFile("a.txt"), SourceFile("b.txt")), lambda files: {"no": "matter"}, note="two files")
    source = dataclasses.replace(toy_source, layouts=(whole, *toy_source.layouts))
    place = tmp_path / "raw" / "toy"
    assert source.locate(place)[0] is toy_source.layouts[0]
    (place / "a.txt").touch()
    assert source.locate(place)[0] is toy_source.layouts[0]
    (place / "b.txt").touch()
    layout, found = source.locate(place)
    assert layout is whole
    assert found == {"a.txt": place / "a.txt", "b.txt": place / "b.txt"}


def test_the_origin_says_what_was_checked_and_what_is_special(toy_source, tmp_path):
    seven = "7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451"  # printf 7 | sha256sum
    layout = dataclasses.replace(toy_source.layouts[0], files=(SourceFile("toy.txt", seven),), note="a subset")
    source = dataclasses.replace(toy_source, layouts=(layout,))
    assert source.tables(tmp_path / "raw")[1] == "checked files of toy (a subset)"
    (tmp_path / "raw" / "toy" / "toy.txt").write_text("8")
    with pytest.raises(ValueError, match=rf"toy\.txt: expected SHA-256 {seven}, found 2c62"):
        source.tables(tmp_path / "raw")


def test_another_number_of_examples_is_refused(toy_source, tmp_path):
    layout = dataclasses.replace(toy_source.layouts[0], counts={"train": 51, "val": 3, "test": 9})
    with pytest.raises(ValueError, match=r"^toy, train, column grey: expected 51 examples, found 50$"):
        dataclasses.replace(toy_source, layouts=(layout,)).tables(tmp_path / "raw")


def test_files_are_decoded_again_when_they_or_their_description_change(toy_source, tmp_path):
    """An entry of the cache per state of the files, the version, the columns, the counts and the checksums."""
    path = tmp_path / "raw" / "toy" / "toy.txt"
    entries = []

    def decode(source):
        source.tables(tmp_path / "raw")
        entries.append(len(os.listdir(tmp_path / "cache" / "toy")))

    decode(toy_source)
    decode(toy_source)
    path.write_text("9")
    decode(toy_source)
    os.utime(path, ns=(10**18, 10**18))  # another file of the same size
    decode(toy_source)
    decode(dataclasses.replace(toy_source, version="1.0.1"))
    decode(dataclasses.replace(toy_source, columns=dict(reversed(toy_source.columns.items()))))
    layout = dataclasses.replace(toy_source.layouts[0], counts={})
    decode(dataclasses.replace(toy_source, layouts=(layout,)))
    nine = "19581e27de7ced00ff1ce50b2047e7a567c76b1cbaebabe5ef03f7c3017bb5b7"  # printf 9 | sha256sum
    layout = dataclasses.replace(layout, files=(SourceFile("toy.txt", nine),))
    decode(dataclasses.replace(toy_source, layouts=(layout,)))
    decode(toy_source)  # the earlier entries are still there
    assert entries == [1, 1, 2, 3, 4, 5, 6, 7, 7]


def test_prepared_data_are_decoded_again_when_they_or_their_description_change(toy_source, prepared, tmp_path):
    def entries(source):
        source.tables(prepared)
        return len(os.listdir(tmp_path / "cache" / "toy"))

    first = entries(toy_source)
    assert entries(toy_source) == first
    assert entries(dataclasses.replace(toy_source, columns=dict(reversed(toy_source.columns.items())))) == first + 1
    os.utime(prepared / "federated_toy" / "1.0.0" / "dataset_info.json", ns=(10**18, 10**18))
    assert entries(toy_source) == first + 2


def test_missing_files_are_named_with_their_folder_and_the_variable(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_dataset("mnist", tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(
        f"data_dir: expected in {tmp_path / 'mnist'} the files train-images-idx3-ubyte.gz, train-"
    )
    assert "or train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k" in message
    assert f"or mnist prepared by TFDS in {tmp_path}, found neither" in message
    assert message.endswith(f"--data-dir or {DATA_DIR_VARIABLE} names the folder above mnist")


def test_what_is_there_of_a_form_is_not_called_missing(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (folder / name).touch()
    with pytest.raises(FileNotFoundError, match=r"the files train-labels-idx1-ubyte\.gz \(the other 3 of its"):
        load_dataset("mnist", tmp_path)


def test_a_set_made_of_others_says_where_all_of_them_belong(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{DATA_DIR_VARIABLE} names that folder$") as error:
        load_dataset("digit_domains", tmp_path)
    assert f"expected in {tmp_path} the files mnist/train-images-idx3-ubyte.gz" in str(error.value)


@pytest.mark.parametrize("name", [name for name, source in DATASETS.items() if source.layouts and not source.embedded])
def test_a_missing_set_is_one_line_with_file_folder_and_variable(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"^data_dir: expected in ") as error:
        load_dataset(name, tmp_path)
    message = str(error.value)
    assert "\n" not in message
    source = DATASETS[name]
    for part in (source.layouts[0].files[0].name, str(source.place(tmp_path)), DATA_DIR_VARIABLE):
        assert part in message


def test_our_prepared_data_come_before_the_stock_set(toy_source, prepared):
    (prepared / "stocked" / "9.0.0").mkdir(parents=True)
    (prepared / "stocked" / "9.0.0" / "dataset_info.json").write_text("{}")
    source = dataclasses.replace(toy_source, stock="stocked", from_stock=lambda splits: {})
    assert source.find(prepared) == ("TFDS", prepared / "federated_toy" / "1.0.0")
    (prepared / "federated_toy").rename(prepared / "gone")
    assert source.find(prepared) == ("TFDS", prepared / "stocked" / "9.0.0")
    assert toy_source.find(prepared) == ("missing", None)
