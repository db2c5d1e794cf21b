"""A user's folders: one per class, or one per client."""

import numpy as np
import pytest
from PIL import Image

from fedjax_layers.data import Preprocess, load_dataset


def paint(path, value, size=(6, 4), mode="RGB"):
    """A picture of one colour, ``size`` pixels high and wide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), value).save(path)


@pytest.fixture
def pictures(tmp_path):
    """A folder with two classes of pictures, lossless."""
    for name, value in {"dog/b.png": (9, 8, 7), "dog/a.bmp": (1, 2, 3), "cat/z.webp": (200, 100, 50)}.items():
        paint(tmp_path / "pets" / name, value)
    (tmp_path / "pets/dog/.DS_Store").write_bytes(b"x")
    (tmp_path / "pets/cat/Thumbs.db").write_bytes(b"x")
    return tmp_path / "pets"


def test_a_folder_per_class(pictures):
    Image.new("RGB", (4, 6), (200, 100, 50)).save(pictures / "cat/z.webp", lossless=True)
    data = load_dataset("image_folder", path=str(pictures))
    assert data.inputs.shape == (3, 6, 4, 3)
    assert data.inputs.dtype == np.uint8
    np.testing.assert_array_equal(data.inputs[:, 0, 0], [[200, 100, 50], [1, 2, 3], [9, 8, 7]])
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 1, 1]
    assert data.clients is None
    assert data.preprocess == Preprocess(scale=1 / 255)


def test_size_and_grey(pictures):
    data = load_dataset("image_folder", path=str(pictures), size=(5, 7), grey=True)
    assert data.inputs.shape == (3, 5, 7, 1)
    # ITU-R 601-2 luma of (9, 8, 7)
    assert abs(int(data.inputs[2, 0, 0, 0]) - (9 * 299 + 8 * 587 + 7 * 114) / 1000) <= 1


def test_pictures_of_several_sizes_need_the_option(pictures):
    paint(pictures / "dog/c.png", 0, size=(8, 4))
    with pytest.raises(ValueError, match=r"c.png: expected 6 x 4 pixels \(H x W\) as z.webp has, found 8 x 4; .* size"):
        load_dataset("image_folder", path=str(pictures))
    assert load_dataset("image_folder", path=str(pictures), size=(6, 4)).inputs.shape == (4, 6, 4, 3)


def test_broken_pictures_are_named(pictures):
    content = (pictures / "dog/b.png").read_bytes()
    (pictures / "dog/b.png").write_bytes(content[: len(content) - 30])
    with pytest.raises(ValueError, match=r"b.png: expected a picture, could not read it"):
        load_dataset("image_folder", path=str(pictures))
    (pictures / "dog/b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b.png: expected a picture, could not read it"):
        load_dataset("image_folder", path=str(pictures))


def test_sixteen_bits_are_refused_not_clipped(pictures):
    paint(pictures / "dog/c.png", 4000, mode="I;16")
    with pytest.raises(ValueError, match=r"c.png: expected 8 bits a channel, found mode I;16"):
        load_dataset("image_folder", path=str(pictures))


def test_other_files_and_empty_folders_are_named(pictures, tmp_path):
    (pictures / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"pets: expected a folder for each class, found the file notes.txt"):
        load_dataset("image_folder", path=str(pictures))
    (pictures / "notes.txt").rename(pictures / "dog/notes.txt")
    with pytest.raises(ValueError, match=r"dog: expected pictures \(.*\), found notes.txt"):
        load_dataset("image_folder", path=str(pictures))
    (pictures / "dog/notes.txt").unlink()
    (pictures / "cow").mkdir()
    with pytest.raises(ValueError, match="cow: expected pictures, found an empty folder"):
        load_dataset("image_folder", path=str(pictures))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="nothing: expected a folder for each class, found an empty folder"):
        load_dataset("image_folder", path=str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match=r"path: expected a folder, found none at .*nowhere"):
        load_dataset("image_folder", path=str(tmp_path / "nowhere"))


def test_one_class_only_is_refused(pictures):
    (pictures / "cat").rename(pictures.parent / "cat")
    with pytest.raises(ValueError, match="labels: expected at least two classes, got only dog"):
        load_dataset("image_folder", path=str(pictures))


@pytest.mark.parametrize("link", ["dog/c.png", "cow"])
def test_links_out_of_the_folder_are_refused(pictures, tmp_path, link):
    target = tmp_path / "outside"
    paint(target / "x.png", 0)
    (pictures / link).symlink_to(target if link == "cow" else target / "x.png")
    with pytest.raises(ValueError, match=f"{link}: expected a path inside .*pets, got one outside it"):
        load_dataset("image_folder", path=str(pictures))


def test_links_within_the_folder_are_followed(pictures):
    (pictures / "cat/y.png").symlink_to(pictures / "dog/b.png")
    data = load_dataset("image_folder", path=str(pictures))
    assert data.inputs[0, 0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize("size", [(5,), (0, 4), (5.5, 4), (1, 2, 3)])
def test_a_size_is_two_whole_numbers(pictures, size):
    with pytest.raises(ValueError, match="size: expected height and width"):
        load_dataset("image_folder", path=str(pictures), size=size)


def test_a_folder_per_client_of_pictures(tmp_path):
    for place, value in {"site10/a/1.png": 1, "site10/b/1.png": 2, "site2/a/1.png": 3}.items():
        paint(tmp_path / "sites" / place, (value, 0, 0))
    data = load_dataset("client_folder", path=str(tmp_path / "sites"))
    assert data.inputs[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert data.labels.tolist() == [0, 1, 0]
    assert data.client_names == ("site10", "site2")
    assert data.clients.tolist() == [0, 0, 1]


@pytest.fixture
def tables(tmp_path):
    """Two clients with a CSV file each, one of them with two."""
    for name, text in {"a/1.csv": "x,y\n1,p\n2,q\n", "a/2.csv": "x,y\n3,p\n", "b/1.csv": "x,y\n4,q\n5,q\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_folder_per_client_of_tables(tables):
    data = load_dataset("client_folder", path=str(tables), label="y")
    assert data.inputs.tolist() == [[1], [2], [3], [4], [5]]
    assert data.labels.tolist() == [0, 1, 0, 1, 1]
    assert data.clients.tolist() == [0, 0, 0, 1, 1]
    assert data.preprocess == "standardise"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n4,q\n,q\n", r"b/1.csv, row 2, column x: expected a value"),
        (
            "x,z,y\n4,1,q\n",
            r"b/1.csv, column z: expected the columns of all files alike, got string where .*1.csv has none",
        ),
        ("y\nq\n", r"b/1.csv, column x: expected the columns of all files alike, got none where"),
    ],
)
def test_a_client_whose_table_differs_is_named(tables, text, message):
    (tables / "b/1.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_dataset("client_folder", path=str(tables), label="y")


def test_tables_need_a_label(tables):
    with pytest.raises(ValueError, match=r"label: expected a column of the CSV files in .*, got none"):
        load_dataset("client_folder", path=str(tables))


def test_a_folder_per_client_of_arrays(tmp_path):
    for k, name in enumerate(("u", "v")):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "data.npz", x=np.full((2, 3), k, np.float32), y=np.arange(2))
    data = load_dataset("client_folder", path=str(tmp_path))
    assert data.inputs[:, 0].tolist() == [0, 0, 1, 1]
    assert data.clients.tolist() == [0, 0, 1, 1]
    assert data.official_test is None
    np.savez(tmp_path / "v/data.npz", x=np.zeros((2, 4), np.float32), y=np.arange(2))
    with pytest.raises(ValueError, match=r"v/data.npz, array x: expected entries float32 \(3,\) .* float32 \(4,\)"):
        load_dataset("client_folder", path=str(tmp_path))


def test_mixed_forms_are_refused(tables):
    paint(tables / "c/p/1.png", 0)
    with pytest.raises(ValueError, match=r"c: expected .csv as in a, found pictures"):
        load_dataset("client_folder", path=str(tables), label="y")
    (tables / "c/t.csv").write_text("x,y\n1,p\n")
    with pytest.raises(
        ValueError, match=r"c: expected class folders, CSV files or npz files alone, found .csv, pictures"
    ):
        load_dataset("client_folder", path=str(tables), label="y")
    (tables / "b/1.csv").unlink()
    with pytest.raises(ValueError, match=r"b: expected .* alone, found an empty folder"):
        load_dataset("client_folder", path=str(tables), label="y")
