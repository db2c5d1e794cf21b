"""Data that the user has prepared with TFDS."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from fedjax_layers.data import Preprocess, load, load_dataset

NAMES = ("alpha", "beta")
TEXTS = {"train": ("good", "très bad"), "test": ("fine",)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with two small sets prepared by TFDS: pictures of one size, and texts with an author."""

    class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None

        def __init__(self, name, features, splits, data_dir):
            self.name = name
            self._features, self._splits = features, splits
            super().__init__(data_dir=data_dir, file_format="array_record")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self._features))

        def _split_generators(self, dl_manager):
            return {split: iter(enumerate(records)) for split, records in self._splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    label = tfds.features.ClassLabel(names=list(NAMES))
    pixels = [{"image": Image.new("L", (5, 4), 10 * i), "label": i % 2, "grade": i / 4} for i in range(4)]
    features = {"image": tfds.features.Image(shape=(4, 5, 1)), "label": label, "grade": np.float32}
    Small("shades", features, {"train": pixels}, folder).download_and_prepare()
    texts = {
        split: [{"text": text, "label": row % 2, "author": f"author {row}"} for row, text in enumerate(entries)]
        for split, entries in TEXTS.items()
    }
    features = {"text": tfds.features.Text(), "label": label, "author": tfds.features.Text()}
    Small("remarks", features, texts, folder).download_and_prepare()
    return folder


def test_pictures(prepared):
    data = load_dataset("tfds", data_dir=prepared, prepared="shades")
    assert data.inputs.shape == (4, 4, 5, 1)
    assert data.class_names == NAMES
    # TFDS shuffles what it writes, so label and picture are compared with each other.
    shade = data.inputs[:, 0, 0, 0]
    assert sorted(shade.tolist()) == [0, 10, 20, 30]
    np.testing.assert_array_equal(data.labels, shade // 10 % 2)
    assert data.preprocess == Preprocess(scale=1 / 255)
    assert data.official_test is None


def test_the_split_test_is_tested_on(prepared):
    options = {"data_dir": prepared, "prepared": "remarks", "input": "text", "split": "all", "length": 10}
    data = load("tfds", client="author", **options)
    assert data.client_names == ("author 0", "author 1")
    assert data.sizes["test"].tolist() == [1, 0]
    assert bytes(data.inputs[data.rows(0, "test")][0]).rstrip(b"\0") == b"fine"
    apart = load("tfds", partition="iid", clients=1, **options)
    assert (apart.global_test, bytes(apart.inputs[-1]).rstrip(b"\0")) == (1, b"fine")


def test_a_regression_target_and_a_version(prepared):
    data = load_dataset("tfds", data_dir=prepared, prepared="shades/1.0.0", label="grade")
    assert data.task == "regression"
    np.testing.assert_allclose(data.labels, data.inputs[:, 0, 0, 0] / 40)


def test_texts_are_bytes_and_clients_a_feature(prepared):
    data = load_dataset(
        "tfds", data_dir=prepared, prepared="remarks", input="text", client="author", split="all", length=10
    )
    assert data.inputs.shape == (3, 10)
    assert data.official_test.tolist() == [False, False, True]
    found = {bytes(row).rstrip(b"\0").decode() for row in data.inputs}
    assert found == {"good", "très bad", "fine"}
    assert data.client_names == ("author 0", "author 1")
    assert data.preprocess is None
    assert load_dataset("tfds", data_dir=prepared, prepared="remarks", input="text", length=3).inputs.shape == (2, 3)


def test_the_data_folder_is_the_default(prepared, monkeypatch):
    monkeypatch.setenv("FEDJAX_LAYERS_DATA", str(prepared))
    assert len(load_dataset("tfds", prepared="shades", limit=3)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "picture"}, "input: feature of TFDS shades: expected one of grade, image, label, got 'picture'"),
        ({"label": "lable"}, "label: feature of TFDS shades: .* got 'lable'; did you mean 'label'"),
        ({"client": "writer"}, "client: feature of TFDS shades: expected one of grade, image, label, got 'writer'"),
        ({"split": "test"}, "split: expected one of all, train, got 'test'"),
        ({"limit": 9}, "limit: expected 1..4 for split 'train', got 9"),
        ({"client": "grade"}, "clients: expected integers or texts, got float"),
    ],
)
def test_wrong_names_are_answered_with_those_there_are(prepared, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("tfds", data_dir=prepared, prepared="shades", **options)


def test_what_is_not_prepared_is_said(prepared):
    with pytest.raises(FileNotFoundError, match="found no 'kmnist'; prepared there: remarks, shades"):
        load_dataset("tfds", data_dir=prepared, prepared="kmnist")
