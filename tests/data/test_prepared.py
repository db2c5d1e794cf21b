"""What TFDS has prepared, read: by our builder or as the stock set; damage and other forms are told in one line."""

import dataclasses
import gzip
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import registered
from tensorflow_datasets.image_classification import mnist

from fedjax_layers.data import DATASETS, load_dataset
from fedjax_layers.data.tables import builders
from fedjax_layers.data.tables.cache import CACHE_VARIABLE
from fedjax_layers.data.tables.columns import label, number, text
from fedjax_layers.data.tables.prepared import newest, read_splits

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def prepared(toy_source, tmp_path):
    """The folder ``federated_toy/1.0.0`` below ``tmp_path/tfds``, as our builder writes it."""
    builders.prepare(toy_source, tmp_path / "raw", tmp_path / "tfds")
    return tmp_path / "tfds" / "federated_toy" / "1.0.0"


def replace(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def records(folder):
    return folder / "federated_toy-train.array_record-00000-of-00001"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


DAMAGE = {
    "not array_record": lambda folder: replace(folder / "dataset_info.json", b"array_record", b"tfrecord"),
    "records cut": lambda folder: records(folder).write_bytes(records(folder).read_bytes()[:3000]),
    "records gone": lambda folder: records(folder).unlink(),
    "one byte": lambda folder: flip(records(folder)),
    "info cut": lambda folder: (folder / "dataset_info.json").write_text('{"name"'),
    "info empty": lambda folder: (folder / "dataset_info.json").write_text("{}"),
    "features gone": lambda folder: (folder / "features.json").unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_cannot_be_read_is_told_in_one_line(toy_source, prepared, kind):
    DAMAGE[kind](prepared)
    with pytest.raises(FileNotFoundError, match=r"^data_dir: expected data prepared by TFDS as array_record") as error:
        toy_source.tables(prepared.parents[1])
    assert f" in {prepared}, found none readable (" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="expected data prepared by TFDS as array_record"):
        read_splits(prepared)


OTHER = {
    "another name": (
        {"dose": None, "doses": number("float64")},
        "expected columns class, codes, colour, doses, grey",
    ),
    "more": ({"age": number("int64")}, "expected columns age, class, .*, found class, codes,"),
    "shape": (
        {"signal": number("int16", 3, 2)},
        r"column signal: expected int16 of shape \(3, 2\), found int16 .*2",
    ),
    "type": ({"dose": number("float32")}, r"column dose: expected float32 of shape \(\), found float64 of shape \(\)"),
    "classes": ({"class": label(["yes, but", "no", "perhaps"])}, "column class: expected .* classes yes, but, no, per"),
    "kind": ({"codes": text()}, r"column codes: expected object of shape \(\), found uint16 of shape \(None,\)"),
}


@pytest.mark.parametrize("kind", OTHER)
def test_what_another_builder_wrote_is_refused(toy_source, prepared, kind):
    """NumPy would fit the numbers into arrays of another shape or type, and another order of classes."""
    changed, message = OTHER[kind]
    columns = {name: column for name, column in {**toy_source.columns, **changed}.items() if column}
    with pytest.raises(ValueError, match=f"federated_toy/1.0.0(, |: ){message}.*; prepare it again$") as error:
        dataclasses.replace(toy_source, columns=columns).tables(prepared.parents[1])
    assert "\n" not in str(error.value)


def test_the_newest_version_of_the_first_configuration_is_taken(tmp_path):
    def prepare(*parts):
        folder = tmp_path.joinpath(*parts)
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()

    assert newest(tmp_path / "nowhere") is None
    prepare("set", "incomplete.ABC123_9.0.0")
    assert newest(tmp_path / "set") is None
    for version in ("1.2.0", "1.10.0", "1.9.9"):
        prepare("set", version)
    (tmp_path / "set" / "2.0.0").mkdir()  # nothing in it
    assert newest(tmp_path / "set") == tmp_path / "set" / "1.10.0"
    for configuration in ("d", "b", "a", "c"):
        prepare("more", configuration, "3.0.0")
    prepare("more", "a", "2.0.0")
    assert newest(tmp_path / "more") == tmp_path / "more" / "a" / "3.0.0"


def read_idx(path):
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">u4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def prepare_stock(out, pairs):
    """The stock MNIST, made of ``{split: (images, labels)}``.

    Its own way needs TensorFlow: to unpack, to open files, and to encode arrays (hence a PIL image).
    """

    class Mnist(mnist.MNIST):
        name = "mnist"
        code_path = None

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(*pair) for split, pair in pairs.items()}

        def _generate_examples(self, images, labels):
            for row, (image, digit) in enumerate(zip(images, labels, strict=True)):
                yield row, {"image": Image.fromarray(image), "label": int(digit)}

    tfds.disable_progress_bar()
    Mnist(data_dir=out, file_format="array_record").download_and_prepare()


def multiset(images, labels):
    return sorted(
        (np.ascontiguousarray(image).tobytes(), int(digit)) for image, digit in zip(images, labels, strict=True)
    )


@pytest.fixture(autouse=True)
def _stock_builders_are_not_registered():
    with registered.skip_registration():
        yield


def test_a_stock_set_is_read_as_ours(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    pairs = {
        split: (rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n))
        for split, n in {"train": 40, "test": 15}.items()
    }
    prepare_stock(tmp_path, pairs)
    version = tfds.builder_cls("mnist").VERSION
    data = load_dataset("mnist", tmp_path, split="all")
    assert data.source == f"TFDS mnist/{version}"
    assert data.inputs.shape == (55, 28, 28, 1)
    np.testing.assert_array_equal(data.official_test, np.arange(55) >= 40)
    assert multiset(data.inputs[:40], data.labels[:40]) == multiset(*pairs["train"])
    assert multiset(data.inputs[40:], data.labels[40:]) == multiset(*pairs["test"])
    again = load_dataset("mnist", tmp_path, split="test")
    np.testing.assert_array_equal(again.inputs, data.inputs[40:])
    np.testing.assert_array_equal(again.example_ids, range(40, 55))


@pytest.mark.data
@pytest.mark.slow
def test_the_stock_set_of_the_real_files_holds_the_same_images(data_folder, tmp_path, monkeypatch):
    def official(stem):
        folder = data_folder / "mnist"
        return read_idx(folder / f"{stem}-images-idx3-ubyte.gz"), read_idx(folder / f"{stem}-labels-idx1-ubyte.gz")

    pairs = {"train": official("train"), "test": official("t10k")}
    prepare_stock(tmp_path, pairs)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    tables, provenance = DATASETS["mnist"].tables(tmp_path)
    assert provenance == "TFDS mnist/3.0.1"
    for split, pair in pairs.items():
        assert multiset(tables[split]["image"], tables[split]["label"]) == multiset(*pair)
    shutil.rmtree(tmp_path)
