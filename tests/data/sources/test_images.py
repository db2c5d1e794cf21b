"""USPS, Omniglot and the digit domains: known facts of the real files; small files of the same form."""

import gzip
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from fedjax_layers.data import DATASETS, load_dataset

USPS_TRAIN = [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
USPS_TEST = [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]


def usps_line(digit, pixels):
    return " ".join([f"{digit:.4f}", *(f"{p:.3f}" for p in pixels)]) + "\n"


def write_text(path, lines):
    path.write_bytes(gzip.compress("".join(lines).encode()))
    return path


def usps_text(tmp_path, train, test):
    files = {"zip.train.gz": train, "zip.test.gz": test}
    return {name: write_text(tmp_path / name, lines) for name, lines in files.items()}


def test_usps_published_text(tmp_path):
    """Small files of the form of the published ``zip.train.gz``: -1 is paper, 1 is ink, three decimals."""
    rows = np.linspace(-1, 1, 256).round(3)
    lines = [usps_line(6, rows), usps_line(0, -rows)]
    tables = DATASETS["usps"].layouts[1].read(usps_text(tmp_path, lines, lines[:1]))
    assert {split: table["pixels"].shape for split, table in tables.items()} == {
        "train": (2, 16, 16, 1),
        "test": (1, 16, 16, 1),
    }
    expected = (1000 * (1 + rows)).round().astype(np.int16)
    np.testing.assert_array_equal(tables["train"]["pixels"][0].ravel(), expected)
    assert expected[[0, 255]].tolist() == [0, 2000]
    assert tables["train"]["pixels"][1, 0, 0, 0] == 2000
    assert tables["train"]["label"].tolist() == [6, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.0 0.5 0.5\n", r"zip\.test\.gz: expected 257 columns, found 3"),
        ("1.0 half\n", r"zip\.test\.gz: expected lines of numbers, found others .*half.*row 0, column 2"),
    ],
)
def test_usps_text_of_another_form_is_refused(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        DATASETS["usps"].layouts[1].read(usps_text(tmp_path, [usps_line(1, np.zeros(256))], [line]))


def test_usps_text_that_is_cut_off_is_refused(tmp_path):
    files = usps_text(tmp_path, [usps_line(1, np.zeros(256))], [usps_line(1, np.zeros(256))] * 50)
    files["zip.test.gz"].write_bytes(files["zip.test.gz"].read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"zip\.test\.gz: expected lines of numbers"):
        DATASETS["usps"].layouts[1].read(files)


@pytest.mark.data
def test_usps(data_folder):
    data = load_dataset("usps", data_folder, split="all")
    assert data.inputs.shape == (9298, 16, 16, 1)
    assert data.inputs.dtype == np.int16
    assert (data.inputs.min(), data.inputs.max()) == (0, 2000)
    assert np.bincount(data.labels[:7291]).tolist() == USPS_TRAIN
    assert np.bincount(data.labels[7291:]).tolist() == USPS_TEST
    assert data.official_test.sum() == 2007
    seen = data.preprocess(data.inputs[:7291]).astype(np.float64)
    assert (seen.mean(), seen.std()) == pytest.approx((0, 1), abs=1e-3)


@pytest.mark.data
def test_digit_domains_are_mnist_and_usps(data_folder):
    data = load_dataset("digit_domains", data_folder, split="all")
    assert data.inputs.shape == (79_298, 28, 28, 1)
    assert data.inputs.dtype == np.uint8
    assert data.client_names == ("mnist", "usps")
    assert np.bincount(data.clients).tolist() == [70_000, 9_298]
    assert np.bincount(data.clients[data.official_test]).tolist() == [10_000, 2_007]
    mnist, usps = load_dataset("mnist", data_folder), load_dataset("usps", data_folder)
    np.testing.assert_array_equal(data.inputs[:60_000], mnist.inputs)
    np.testing.assert_array_equal(data.labels[:60_000], mnist.labels)
    np.testing.assert_array_equal(data.labels[60_000:67_291], usps.labels)
    resized = data.inputs[60_000:67_291].mean(axis=(1, 2, 3)) / 255
    np.testing.assert_allclose(resized, usps.inputs.mean(axis=(1, 2, 3)) / 2000, atol=0.01)


@pytest.mark.data
def test_digit_domains_of_equal_size(data_folder):
    whole = load_dataset("digit_domains", data_folder)
    data = load_dataset("digit_domains", data_folder, limit_per_domain=500)
    assert np.bincount(data.clients).tolist() == [500, 500]
    np.testing.assert_array_equal(data.example_ids, [*range(500), *range(60_000, 60_500)])
    np.testing.assert_array_equal(data.inputs, whole.inputs[data.example_ids])
    np.testing.assert_array_equal(data.labels, whole.labels[data.example_ids])
    larger = load_dataset("digit_domains", data_folder, limit_per_domain=8_000)
    assert np.bincount(larger.clients).tolist() == [8_000, 7_291]
    with pytest.raises(ValueError, match="limit_per_domain: expected at least 1, got 0"):
        load_dataset("digit_domains", data_folder, limit_per_domain=0)


def test_digit_domains_say_where_their_files_belong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mnist/train-images-idx3-ubyte\.gz.*usps/usps\.npz"):
        load_dataset("digit_domains", tmp_path)


@pytest.mark.data
def test_omniglot(data_folder):
    data = load_dataset("omniglot", data_folder)
    # 5,840 drawings in the two archives, of which Greek and Latin (50 characters of 20 drawings) are in both.
    assert data.inputs.shape == (5_840 - 1_000, 105, 105, 1)
    assert data.inputs.dtype == np.uint8
    assert np.unique(data.inputs).tolist() == [0, 255]
    assert np.bincount(data.labels).tolist() == [20] * 242
    assert len({image.tobytes() for image in data.inputs}) == 4_840
    per_alphabet = {"Balinese": 24, "Early_Aramaic": 22, "Greek": 24, "Japanese_(katakana)": 47}
    per_alphabet |= {"Korean": 40, "Latin": 26, "Sanskrit": 42, "Tagalog": 17}
    assert len(data.client_names) == 160
    assert np.bincount(data.clients).tolist() == [n for n in per_alphabet.values() for _ in range(20)]
    seen = data.preprocess(data.inputs[:10])
    assert (seen[data.inputs[:10] == 0] == 1).all()  # ink
    assert (seen[data.inputs[:10] == 255] == 0).all()  # paper


@pytest.mark.data
@pytest.mark.parametrize(
    ("archive", "member", "character", "drawer"),
    [
        (1, "Balinese/character01/0108_01.png", "Balinese 01", "Balinese 01"),
        (1, "Korean/character40/0682_13.png", "Korean 40", "Korean 13"),
        (2, "Tagalog/character03/0895_07.png", "Tagalog 03", "Tagalog 07"),
        (2, "Latin/character26/0708_20.png", "Latin 26", "Latin 20"),
    ],
)
def test_omniglot_drawings_are_where_they_belong(data_folder, archive, member, character, drawer):
    folder = f"images_background_small{archive}"
    with zipfile.ZipFile(data_folder / "omniglot" / f"{folder}.zip") as opened:
        drawing = np.asarray(Image.open(io.BytesIO(opened.read(f"{folder}/{member}"))))
    data = load_dataset("omniglot", data_folder)
    ours = (data.labels == data.class_names.index(character)) & (data.clients == data.client_names.index(drawer))
    (row,) = np.flatnonzero(ours)
    np.testing.assert_array_equal(data.inputs[row, ..., 0], np.where(drawing, 255, 0))


@pytest.mark.data
def test_omniglot_made_smaller(data_folder):
    whole, small = load_dataset("omniglot", data_folder), load_dataset("omniglot", data_folder, size=28)
    assert small.inputs.shape == (4_840, 28, 28, 1)
    np.testing.assert_array_equal(small.labels, whole.labels)
    # A drawing keeps its share of ink.
    ink = 1 - whole.inputs.mean(axis=(1, 2, 3)) / 255
    np.testing.assert_allclose(1 - small.inputs.mean(axis=(1, 2, 3)) / 255, ink, atol=0.02)
    for size in (0, 106):
        with pytest.raises(ValueError, match=rf"size: expected 1\.\.105 pixels, got {size}"):
            load_dataset("omniglot", data_folder, size=size)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Klingon/character01/0001_01.png", b"", r"expected drawings .*, found '.*Klingon.*'"),
        ("Greek/character25/0418_01.png", b"", r"expected drawings .*, found '.*character25.*'"),
        ("Greek/character01/0394_21.png", b"", r"expected drawings .*, found '.*_21\.png'"),
        ("Greek/character01/0394_01.png", b"no png", r"0394_01\.png: expected a picture, found none"),
        ("Greek/character01/0394_01.png", png(np.zeros((9, 9), bool)), r"expected 105x105 pixels, found \(9, 9\)"),
        (
            "Greek/character01/0394_01.png",
            png(np.zeros((105, 105), bool)),
            "expected Balinese 01 by drawer 01, found no",
        ),
    ],
)
def test_omniglot_archives_of_another_kind_are_refused(tmp_path, name, content, message):
    path = tmp_path / "images_background_small1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"images_background_small1/{name}", content)
    with pytest.raises(ValueError, match=rf"images_background_small1\.zip.*{message}"):
        DATASETS["omniglot"].layouts[0].read({path.name: path})
