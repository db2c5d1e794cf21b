import gzip
import struct

import numpy as np
import pytest

from fedjax_layers.data import read_idx

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array):
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def write(tmp_path):
    def write(content, name="x-idx3-ubyte"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("packed", [False, True])
def test_every_element_type_comes_back(write, kind, packed):
    array = (np.arange(24).reshape(2, 3, 4) - (0 if kind == "u1" else 12)).astype(kind)
    content = idx_bytes(array)
    read = read_idx(write(gzip.compress(content) if packed else content), (None, 3, 4))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


GOOD = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
# Without a time in its header: tests are named after their bytes, and every worker must collect the same names.
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX magic number 0000ttdd, found an empty file"),
        (b"\x01" + GOOD[1:], "magic number 0000ttdd, found 01000802"),
        (b"\0\0\x0a" + GOOD[3:], "magic number 0000ttdd, found 00000a02"),
        (GOOD[:7], r"expected a header of 12 bytes, found 7 bytes \(truncated\)"),
        (GOOD[:-1], r"expected 18 bytes for its dimensions, found 17 \(truncated\)"),
        (GOOD + b"\0", r"expected 18 bytes for its dimensions, found 19 \(trailing bytes\)"),
        (PACKED[:-9], "expected a complete gzip stream, found a broken one"),
        (PACKED[:-8] + bytes(8), "expected a complete gzip stream, found a broken one"),
    ],
)
def test_damaged_files_are_refused(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("shape", [(2,), (3, 3), (None, 4), (2, 3, 1)])
def test_other_dimensions_are_refused(write, shape):
    with pytest.raises(ValueError, match=r"expected dimensions .*, found 2 x 3"):
        read_idx(write(GOOD), shape)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.gz: expected an IDX file, found none"):
        read_idx(tmp_path / "nowhere.gz")
