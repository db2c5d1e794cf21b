"""A user's arrays in an npz file."""

import zipfile

import numpy as np
import pytest

from fedjax_layers.data import Preprocess, load, load_dataset


@pytest.fixture
def write_npz(tmp_path):
    """A function that writes arrays to an npz file and returns its path."""

    def write(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.fixture
def arrays():
    """Twelve small grey pictures of two classes and three clients."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 4, 5), np.uint8)
    return {"x": x, "y": np.arange(12) % 2, "client": np.repeat(["ann", "bob", "cy"], 4)}


def test_pictures_with_clients(write_npz, arrays):
    data = load_dataset("npz", path=str(write_npz(**arrays)))
    np.testing.assert_array_equal(data.inputs, arrays["x"][..., None])
    assert data.inputs.dtype == np.uint8
    assert data.preprocess == Preprocess(scale=1 / 255)
    assert data.class_names == ("0", "1")
    assert data.client_names == ("ann", "bob", "cy")
    assert data.clients.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert load("npz", path=str(write_npz(**arrays))).num_clients == 3


def test_a_test_part_is_marked(write_npz, arrays):
    extra = {"x_test": arrays["x"][:3], "y_test": arrays["y"][:3], "client_test": arrays["client"][:3]}
    data = load_dataset("npz", path=str(write_npz(**arrays, **extra)))
    assert data.official_test.tolist() == [False] * 12 + [True] * 3
    assert data.example_ids.tolist() == list(range(15))
    np.testing.assert_array_equal(data.inputs[12:], data.inputs[:3])
    assert data.clients[12:].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "expected an array 'y', found x, client"),
        ({"z": np.zeros(12)}, "expected arrays x, y, client, .*found 'z'"),
        ({"y": np.arange(5)}, "array y: expected 12 entries as in x, found 5"),
        ({"client": np.arange(5)}, "array client: expected 12 entries as in x, found 5"),
        ({"y": np.array(3)}, "array y: expected one entry for each example, found a scalar"),
        ({"y": np.zeros(12, int)}, "labels: expected at least two classes, got only 0"),
        ({"x": np.full((12, 2), np.nan)}, r"inputs\[0, 0\]: expected a number, got NaN"),
        ({"client": np.array(["a", 1] * 6, object)}, "array client: expected a plain array, found Python objects"),
        ({"client": np.arange(12) / 2}, "clients: expected integers or texts, got float64"),
        ({"x_test": np.zeros((2, 4, 5), np.uint8)}, "expected an array 'y_test'"),
        ({"client": None, "client_test": np.array(["a"])}, "expected an array 'x_test'"),
        (
            {"x_test": np.zeros((2, 9), np.uint8), "y_test": np.zeros(2, int), "client_test": np.array(["a", "b"])},
            r"array x_test: expected entries like those of x, uint8 \(4, 5\), found uint8 \(9,\)",
        ),
    ],
)
def test_wrong_arrays_are_named(write_npz, arrays, change, message):
    changed = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    with pytest.raises(ValueError, match=f"data.npz.*{message}") as caught:
        load_dataset("npz", path=str(write_npz(**changed)))
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(tmp_path, write_npz, arrays):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    path = write_npz(**arrays | {"client": np.array([Trap()] * 12, object)})
    with pytest.raises(ValueError, match=r"array client: .* Python objects, which only unpickling could read"):
        load_dataset("npz", path=str(path))
    assert not (tmp_path / "trapped").exists()


def test_damaged_files_are_refused(tmp_path, write_npz, arrays):
    content = write_npz(**arrays).read_bytes()
    flipped = bytearray(content)
    flipped[content.index(b"NUMPY") + 200] ^= 0xFF  # inside the first array
    cases = {
        "empty": (b"", "expected an npz file, found an empty file"),
        "short": (content[: len(content) // 2], "expected an npz file, found another or a truncated one"),
        "other": (b"x,y\n1,2\n", "expected an npz file, found another or a truncated one"),
        "flipped": (bytes(flipped), "array x: expected a plain array, found a damaged one"),
    }
    for name, (data, message) in cases.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}.npz.*{message}"):
            load_dataset("npz", path=str(path))
    with pytest.raises(FileNotFoundError, match=r"path: expected a file, found none at .*none.npz"):
        load_dataset("npz", path=str(tmp_path / "none.npz"))


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/../../x.npy"])
def test_members_that_leave_the_archive_are_refused(tmp_path, name):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(ValueError, match=r"data.npz: expected members inside the archive, found "):
        load_dataset("npz", path=str(path))


def test_a_member_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"hello")
    with pytest.raises(ValueError, match="array x: expected a plain array, found a file of another form"):
        load_dataset("npz", path=str(path))
