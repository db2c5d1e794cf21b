"""Archives are read without unpacking; unsafe and broken ones are refused, and named."""

import io
import tarfile
import zipfile

import numpy as np
import pytest

from fedjax_layers.data.formats.archives import read_npz, read_tar, read_zip
from fedjax_layers.data.formats.pictures import decode_picture, resize_grey
from fedjax_layers.data.tables.files import safe_members


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path, members):
    """``members``: name -> content, or -> another name to link to."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


ARCHIVES = pytest.mark.parametrize(("write", "read"), [(write_zip, read_zip), (write_tar, read_tar)])


@ARCHIVES
def test_wanted_members_come_with_their_content(tmp_path, write, read):
    path = write(tmp_path / "a", {"x/1.bin": b"one", "x/2.bin": b"two", "notes.txt": b"not wanted"})
    assert list(read(path, lambda name: name.endswith(".bin"))) == [("x/1.bin", b"one"), ("x/2.bin", b"two")]


@ARCHIVES
@pytest.mark.parametrize("name", ["../up.bin", "x/../../up.bin", "/etc/absolute.bin", "C:/drive.bin", "..\\up.bin"])
def test_members_outside_the_archive_are_refused(tmp_path, write, read, name):
    path = write(tmp_path / "a", {"x/1.bin": b"one", name: b"two"})
    with pytest.raises(ValueError, match=r"a: expected members inside the archive, found ") as error:
        list(read(path, lambda _: True))
    assert repr(name.replace("\\", "/"))[1:-1] in str(error.value).replace("\\\\", "/")


@ARCHIVES
@pytest.mark.parametrize("part", [0.0, 0.5, 0.9])
def test_the_beginning_of_an_archive_is_refused(tmp_path, write, read, part):
    content = {f"{i}.bin": np.random.default_rng(i).bytes(20_000) for i in range(3)}
    path = write(tmp_path / "some.archive", content)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(ValueError, match=r"some\.archive: expected a complete .* archive, found a broken one"):
        list(read(path, lambda _: True))


def test_a_link_in_a_tar_archive_is_not_followed(tmp_path):
    path = write_tar(tmp_path / "a", {"secret.bin": b"one", "data.bin": "secret.bin"})
    with pytest.raises(ValueError, match=r"a: expected data\.bin to be a plain file"):
        list(read_tar(path, lambda name: name == "data.bin"))


def test_arrays_of_an_npz_archive(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(3), y=np.eye(2))
    y, x = read_npz(path, "y", "x").values()
    np.testing.assert_array_equal(x, [0, 1, 2])
    np.testing.assert_array_equal(y, np.eye(2))
    with pytest.raises(ValueError, match=r"a\.npz: expected an array 'z', found x, y"):
        read_npz(path, "x", "z")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a\.npz: expected an npz file, found another or a truncated one"):
        read_npz(path, "x")
    with path.open("wb") as stream:
        np.save(stream, np.arange(3))
    with pytest.raises(ValueError, match=r"a\.npz: expected an npz file, found another or a truncated one"):
        read_npz(path, "x")


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"an": "object"}], object))
    with pytest.raises(ValueError, match=r"a\.npz, array x: expected a plain array, found Python objects"):
        read_npz(tmp_path / "a.npz", "x")


def test_a_broken_picture_is_refused():
    with pytest.raises(ValueError, match="here: expected a picture, found none or a broken one"):
        decode_picture(b"no picture at all", "L", "here")


def test_resizing_is_bilinear_between_pixel_centres():
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    centres = (np.arange(28) + 0.5) * 16 / 28 - 0.5
    by_row = np.stack([[np.interp(centres, np.arange(16), column) for column in im[..., 0].T] for im in images])
    expected = np.stack([[np.interp(centres, np.arange(16), line) for line in im.T] for im in by_row])
    found = resize_grey(images, 28, "bilinear")
    assert found.shape == (3, 28, 28, 1)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[..., 0], expected, atol=1.01)


def test_a_member_without_a_name_is_refused(tmp_path):
    with zipfile.ZipFile(write_zip(tmp_path / "a", {"x": b"one"})) as archive:
        archive.infolist()[0].filename = ""  # as a damaged list of members has it
        with pytest.raises(ValueError, match="a: expected members inside the archive, found ''"):
            safe_members(archive, "a")
