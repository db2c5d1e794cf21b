"""Files of a data set: found, checked, and kept inside their folder."""

import hashlib
import zipfile

import pytest

from fedjax_layers.data.tables.files import (
    SourceFile,
    check_member_name,
    find_files,
    resolve_inside,
    safe_members,
    sha256_of,
    verify_files,
)

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-2, appendix B.1


@pytest.fixture
def folder(tmp_path):
    for name in ("one.txt", "part/all_data_1.json", "part/all_data_0.json", "part/other.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"abc")
    return tmp_path


def test_checksums_are_those_of_the_standard(folder):
    assert sha256_of(folder / "one.txt") == ABC
    (folder / "big").write_bytes(b"a" * 1_000_000)
    assert sha256_of(folder / "big") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"  # B.3


def test_files_are_found_by_name_and_by_pattern(folder):
    found, missing = find_files(folder, [SourceFile("one.txt"), SourceFile("part/all_data_*.json")])
    assert list(found) == ["one.txt", "part/all_data_0.json", "part/all_data_1.json"]
    assert found["part/all_data_1.json"] == folder / "part" / "all_data_1.json"
    assert missing == []


def test_missing_files_and_patterns_are_listed(folder):
    (folder / "two.txt").mkdir()  # a folder is no file
    files = [SourceFile(name) for name in ("two.txt", "one.txt", "part/none_*.json", "gone/x")]
    found, missing = find_files(folder, files)
    assert list(found) == ["one.txt"]
    assert missing == ["two.txt", "part/none_*.json", "gone/x"]
    assert find_files(folder / "nowhere", files) == ({}, [f.name for f in files])


def test_another_content_is_refused_with_both_sums_in_one_line(folder):
    expected = hashlib.sha256(b"abd").hexdigest()
    files = [SourceFile("one.txt", expected)]
    found, _ = find_files(folder, files)
    with pytest.raises(ValueError, match=rf"one\.txt: expected SHA-256 {expected}, found {ABC} \(3 bytes\)") as error:
        verify_files(found, files)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_right_content_and_content_without_a_checksum_pass(folder):
    files = [SourceFile("one.txt", ABC), SourceFile("part/all_data_*.json"), SourceFile("not found", ABC)]
    found, _ = find_files(folder, files)
    verify_files(found, files)


OUTSIDE = ["/etc/passwd", "../up", "a/../../up", "..", r"\windows", r"a\..\..\up", "C:/x", r"C:\x", "c:x", "//server/x"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_members_that_point_outside_an_archive_are_refused(tmp_path, name):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(zipfile.ZipInfo(name), "x")
    with (
        zipfile.ZipFile(path) as archive,
        pytest.raises(ValueError, match=r"set\.zip: expected members inside the archive, found '") as error,
    ):
        safe_members(archive, path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="expected members inside"):
        check_member_name(name, path)


def test_members_inside_are_listed_without_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("a/", "a/b..c.txt", "a/...", "a/12:00", "é.txt"):
            archive.writestr(name, "")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert [m.filename for m in safe_members(archive, "set.zip")] == ["a/b..c.txt", "a/...", "a/12:00", "é.txt"]


def test_paths_stay_inside_once_links_are_followed(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    (folder / "out").symlink_to(outside)
    (folder / "in").symlink_to(folder / "sub")
    (tmp_path / "other name").symlink_to(folder)
    assert resolve_inside(folder, "sub/x.png") == (folder / "sub" / "x.png").resolve()
    assert resolve_inside(folder, "in/x.png") == (folder / "sub" / "x.png").resolve()
    assert resolve_inside(folder, "sub/../y") == (folder / "y").resolve()
    assert resolve_inside(tmp_path / "other name", "y") == (folder / "y").resolve()
    for name in ("out/x.png", "../outside/x", "sub/../../x", str(outside), "../folder2"):
        with pytest.raises(ValueError, match=r"expected a path inside .*, got one outside it") as error:
            resolve_inside(folder, name)
        assert str(error.value).startswith(f"{name}: ")
