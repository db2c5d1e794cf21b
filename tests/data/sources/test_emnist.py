"""EMNIST from its IDX files, from NIST's archive, and from TFDS."""

import gzip
import struct
import zipfile

import numpy as np
import pytest

from fedjax_layers.data import DATASETS, load_dataset

SELECTIONS = {"balanced": 47, "byclass": 62, "bymerge": 47, "digits": 10, "letters": 26, "mnist": 10}


def idx(array):
    """An array as an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def images():
    """Two pictures ``[2, 28, 28]`` as they should be seen: a bar along the top, and one along the left side."""
    pictures = np.zeros((2, 28, 28), np.uint8)
    pictures[0, 0, :] = 200
    pictures[1, :, 0] = 100
    return pictures


@pytest.fixture
def contents(images):
    """A function that gives the four files of a selection, images stored transposed as NIST does."""

    def make(selection, labels=(1, 9)):
        numbers = np.array(labels) + (selection == "letters")
        return {
            f"emnist-{selection}-{split}-{kind}": idx(array)
            for split in ("train", "test")
            for kind, array in {
                "images-idx3-ubyte": images.transpose(0, 2, 1),
                "labels-idx1-ubyte": numbers,
            }.items()
        }

    return make


def archive(folder, files):
    """``gzip.zip`` as NIST packs it."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "gzip.zip", "w") as packed:
        packed.writestr("gzip/", "")
        for name, content in files.items():
            packed.writestr(f"gzip/{name}.gz", gzip.compress(content))


@pytest.mark.parametrize("form", ["gzipped", "raw", "archive"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_emnist_small_files_of_the_official_layout(tmp_path, load_small, images, contents, selection, form):
    files = contents(selection)
    if form == "archive":
        archive(tmp_path / "emnist", files)
    else:
        (tmp_path / "emnist").mkdir()
        for name, content in files.items():
            suffix, data = (".gz", gzip.compress(content)) if form == "gzipped" else ("", content)
            (tmp_path / "emnist" / (name + suffix)).write_bytes(data)
    data = load_small(DATASETS[f"emnist_{selection}"], split="all")
    np.testing.assert_array_equal(data.inputs[:2, ..., 0], images)
    assert data.labels.tolist() == [1, 9, 1, 9]
    assert data.official_test.tolist() == [False, False, True, True]
    assert data.num_classes == DATASETS[f"emnist_{selection}"].classes == SELECTIONS[selection]
    assert (data.class_names[1], data.class_names[9]) == (("B", "J") if selection == "letters" else ("1", "9"))


def test_classes_are_in_the_order_of_the_published_mapping():
    names = DATASETS["emnist_byclass"].columns["label"].names
    assert [names[c] for c in (0, 9, 10, 35, 36, 61)] == ["0", "9", "A", "Z", "a", "z"]
    merged = DATASETS["emnist_bymerge"].columns["label"].names
    assert merged[36:] == ("a", "b", "d", "e", "f", "g", "h", "n", "q", "r", "t")


def test_the_full_sets_are_counted_and_the_archive_is_checked(tmp_path, monkeypatch, contents):
    monkeypatch.setenv("FEDJAX_LAYERS_CACHE", str(tmp_path / "cache"))
    archive(tmp_path / "emnist", contents("byclass"))
    with pytest.raises(ValueError, match=r"gzip.zip: expected SHA-256 fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b7"):
        load_dataset("emnist_byclass", tmp_path)
    (tmp_path / "emnist/gzip.zip").unlink()
    for name, content in contents("byclass").items():
        (tmp_path / "emnist" / name).write_bytes(content)
    with pytest.raises(ValueError, match="emnist_byclass, train, column image: expected 697932 examples, found 2"):
        load_dataset("emnist_byclass", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"gzip.zip or .*emnist/letters prepared by TFDS.*; NIST offers gzip.zip"
    ):
        load_dataset("emnist_letters", tmp_path)


def test_damaged_archives_are_refused(tmp_path, load_small, contents):
    files = contents("digits")
    del files["emnist-digits-test-labels-idx1-ubyte"]
    archive(tmp_path / "emnist", files)
    with pytest.raises(ValueError, match=r"found no gzip/emnist-digits-test-labels-idx1-ubyte.gz"):
        load_small(DATASETS["emnist_digits"])
    path = tmp_path / "emnist/gzip.zip"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"gzip.zip: expected a complete zip archive, found a broken one"):
        load_small(DATASETS["emnist_digits"])
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("../emnist-digits-train-images-idx3-ubyte.gz", b"")
    with pytest.raises(ValueError, match=r"gzip.zip: expected members inside the archive, found '../emnist"):
        load_small(DATASETS["emnist_digits"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("emnist-digits-train-images-idx3-ubyte", b"\1\2\3\4", "expected an IDX magic number"),
        ("emnist-digits-train-labels-idx1-ubyte", idx(np.arange(3)), "expected dimensions 2, found 3"),
        (
            "emnist-digits-test-labels-idx1-ubyte",
            idx(np.array([3, 10])),
            "column label: expected a class 0..9, found 10",
        ),
        ("emnist-digits-test-images-idx3-ubyte", idx(np.zeros((2, 28, 27))), "expected dimensions any x 28 x 28"),
    ],
)
def test_other_files_are_refused(tmp_path, load_small, contents, name, content, message):
    (tmp_path / "emnist").mkdir()
    for file, data in (contents("digits") | {name: content}).items():
        (tmp_path / "emnist" / file).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_small(DATASETS["emnist_digits"])


@pytest.mark.parametrize("selection", ["letters", "mnist"])
def test_what_tfds_yields_is_turned_upright_too(images, selection):
    stored = list(images.transpose(0, 2, 1)[..., None])
    labels = [1, 9] if selection == "mnist" else [2, 10]
    part = {"image": stored, "label": labels}
    tables = DATASETS[f"emnist_{selection}"].from_stock({"train": part, "test": part})
    np.testing.assert_array_equal(tables["test"]["image"][..., 0], images)
    assert tables["train"]["label"].tolist() == [1, 9]
