"""Fed-ISIC2019 from files in FLamby's form."""

import numpy as np
import pytest
from PIL import Image

from fedjax_layers.data import DATASETS, load_dataset

CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
# Image, class, centre, part: twelve images of all centres
ROWS = [(f"ISIC_{i:07d}", i % 8, i % 6, "test" if i % 4 == 3 else "train") for i in range(12)]


@pytest.fixture
def isic(tmp_path):
    """Twelve pictures, higher than wide or the reverse, whose grey level is their number, and FLamby's list of them."""
    folder = tmp_path / "fed_isic2019"
    pictures = folder / "ISIC_2019_Training_Input_preprocessed"
    pictures.mkdir(parents=True)
    lines = [f"image,{','.join(CLASSES)},target,center,fold,fold2"]
    for i, (name, target, centre, part) in enumerate(ROWS):
        array = np.full((24, 30, 3) if i % 2 else (30, 24, 3), 16 * i, np.uint8)
        array[:2], array[:, :1] = 255, 255  # a margin that the square in the middle leaves out
        Image.fromarray(array).save(pictures / f"{name}.jpg", quality=95)
        onehot = ",".join(str(float(target == c)) for c in range(9))
        lines.append(f"{name},{onehot},{target},{centre},train,{part}_{centre}")
    (folder / "train_test_split").write_text("\n".join(lines) + "\n")
    return folder


def by_row(data):
    """Which of ``ROWS`` each example is, from its grey level."""
    return np.rint(data.inputs.astype(float).mean(axis=(1, 2, 3)) / 16).astype(int).tolist()


def test_fed_isic2019_small_files_of_the_official_layout(isic, load_small):
    data = load_small(DATASETS["fed_isic2019"], size=12)
    assert data.inputs.shape == (12, 12, 12, 3)
    assert data.inputs.dtype == np.uint8
    rows = by_row(data)
    assert rows == [i for i in range(12) if i % 4 != 3] + [3, 7, 11]
    assert int(np.ptp(data.inputs.astype(int), axis=(1, 2, 3)).max()) <= 2  # none of the margin
    assert data.class_names == CLASSES[:8]
    assert data.labels.tolist() == [ROWS[i][1] for i in rows]
    assert data.clients.tolist() == [ROWS[i][2] for i in rows]
    assert data.client_names[0] == "BCN"
    assert data.official_test.tolist() == [False] * 9 + [True] * 3
    assert load_small(DATASETS["fed_isic2019"], size=12, split="test").labels.tolist() == [3, 7, 3]


def test_player_fl_takes_four_centres_and_four_classes(isic, load_small):
    data = load_small(DATASETS["fed_isic2019"], size=12, centres=4, classes=("BCC", "BKL", "MEL", "NV"))
    rows = by_row(data)
    assert rows == [0, 1, 2, 8, 9]
    assert [data.class_names[c] for c in data.labels] == [CLASSES[ROWS[i][1]] for i in rows]
    assert data.labels.tolist() == [2, 3, 0, 2, 3]
    assert data.client_names == ("BCN", "HAM_vidir_molemax", "HAM_vidir_modern", "HAM_rosendahl")


def test_centres_are_cut_to_a_fixed_draw(isic, load_small):
    one, two = (load_small(DATASETS["fed_isic2019"], size=12, max_per_centre=1) for _ in range(2))
    assert np.bincount(one.clients).tolist() == [1] * 6
    assert one.example_ids.tolist() == two.example_ids.tolist()
    assert len(load_small(DATASETS["fed_isic2019"], size=12, max_per_centre=2)) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"centres": 7}, r"centres: expected 1..6, got 7"),
        ({"classes": ("BCC", "NEV")}, "classes: expected one of .*got 'NEV'; did you mean 'NV'"),
        ({"classes": ("NV", "NV")}, "classes: expected distinct names, got NV, NV"),
        ({"size": 25}, "size: expected at most 24, the shorter side of fed_isic2019, image 0, got 25"),
        ({"size": 0}, "size: expected at least 1, got 0"),
        ({"max_per_centre": 0}, "max_per_centre: expected at least 1, got 0"),
        ({"split": "val"}, "split: expected one of all, test, train, got 'val'"),
    ],
)
def test_options_out_of_range_are_refused(isic, load_small, options, message):
    with pytest.raises(ValueError, match=message):
        load_small(DATASETS["fed_isic2019"], **options)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ISIC_0000001,", "../x,", "train_test_split, line 3, column image: expected a file of .*, found no ../x.jpg"),
        (",1,1,train,train_1", ",8,1,train,train_1", r"line 3, column target: expected 0..7, found '8'"),
        (",1,1,train,train_1", ",1,6,train,train_6", r"line 3, column center: expected 0..5, found '6'"),
        (
            ",1,1,train,train_1",
            ",1,1,train,train_2",
            "line 3, column fold2: expected train_1 or test_1, found 'train_2'",
        ),
        (",1,1,train,train_1", ",1,1,train", "line 3: expected 14 cells, found another number"),
        ("target,center", "target,centre", "line 1: expected columns image, target, center, fold2, found no center"),
    ],
)
def test_other_lists_are_refused(isic, load_small, old, new, message):
    path = isic / "train_test_split"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_small(DATASETS["fed_isic2019"], size=12)


def test_broken_pictures_are_named(isic, load_small):
    path = isic / "ISIC_2019_Training_Input_preprocessed/ISIC_0000001.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="fed_isic2019, image 1: expected a picture"):
        load_small(DATASETS["fed_isic2019"], size=12)


def test_the_full_set_is_counted(isic, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDJAX_LAYERS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="fed_isic2019, train, column jpeg: expected 18597 examples, found 9"):
        load_dataset("fed_isic2019", tmp_path)
    (isic / "train_test_split").unlink()
    with pytest.raises(FileNotFoundError, match=r"files train_test_split \(the other 1 .*accept the licences of ISIC"):
        load_dataset("fed_isic2019", tmp_path)
