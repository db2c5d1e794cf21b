"""Decoded tables kept as memory-mapped arrays: read instead of made, whole or not at all, whoever else is writing."""

import json
import os
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from fedjax_layers.data.tables.cache import CACHE_VARIABLE, cache_dir, cache_key, cached_tables
from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.tables.files import sha256_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def make():
    table = {
        "x": np.arange(12, dtype=np.float32).reshape(3, 4),
        "bits": np.array([0x7FF8000000000001, 0xFFF0000000000000, 0x8000000000000000], np.uint64).view(np.float64),
        "text": Ragged.of_texts(["é", "", "北京"]),
        "nothing": Ragged.of_texts(["", "", ""]),
    }
    empty = {name: column[:0] for name, column in table.items() if not isinstance(column, Ragged)}
    return {"train": table, "test": {**empty, "text": Ragged.of_texts([]), "nothing": Ragged.of_texts([])}}, "made up"


def unmade():
    raise AssertionError("made again")


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_the_second_read_is_memory_mapped_and_makes_nothing(cache, assert_identical):
    first, _ = cached_tables("toy", "key", make)
    second, provenance = cached_tables("toy", "key", unmade)
    assert provenance == "made up"
    for tables in (first, second):
        assert_identical(tables, make()[0])
        for array in (tables["train"]["x"], tables["train"]["text"].values, tables["train"]["text"].offsets):
            assert isinstance(array, np.memmap)
            assert not array.flags.writeable
            assert str(array.filename).startswith(str(cache / "toy" / "key"))
    assert os.listdir(cache / "toy") == ["key"]  # nothing unfinished


def test_entries_are_apart_by_name_and_key():
    cached_tables("toy", "key", make)
    other = {"train": {"x": np.zeros(1)}}, "other"
    for name, key in (("toy", "key2"), ("toy2", "key")):
        assert cached_tables(name, key, lambda: other)[1] == "other"
    assert cached_tables("toy", "key", unmade)[1] == "made up"


def index(entry):
    return entry / "index.json"


def flip_last_byte(entry):
    path = entry / "train.x.array.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "one bit": flip_last_byte,
    "cut": lambda entry: (entry / "train.text.values.npy").write_bytes(b"\x93NUMPY"),
    "gone": lambda entry: (entry / "train.text.offsets.npy").unlink(),
    "index cut": lambda entry: index(entry).write_text(index(entry).read_text()[:-20]),
    "index of another form": lambda entry: index(entry).write_text("{}"),
    "index no table": lambda entry: index(entry).write_text('{"provenance": "x", "tables": [1]}'),
    "index without sums": lambda entry: index(entry).write_text(index(entry).read_text().replace("sha256", "md5")),
    "index no text": lambda entry: index(entry).write_bytes(b"\xff\xfe"),
    "index gone": lambda entry: index(entry).unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_entry_is_made_again_with_a_warning(cache, kind, assert_identical):
    cached_tables("toy", "key", make)
    DAMAGE[kind](cache / "toy" / "key")
    with pytest.warns(UserWarning, match="^cache: .*; making the entry again$") as warned:
        tables, _ = cached_tables("toy", "key", make)
    assert "\n" not in str(warned[0].message)
    assert_identical(tables, make()[0])
    assert_identical(cached_tables("toy", "key", unmade)[0], make()[0])


def test_the_warning_names_the_file_and_its_sum(cache):
    cached_tables("toy", "key", make)
    flip_last_byte(cache / "toy" / "key")
    with pytest.warns(UserWarning, match=r"cache: expected .*/toy/key/train\.x\.array\.npy with SHA-256 [0-9a-f]{64},"):
        cached_tables("toy", "key", make)


def test_pickled_objects_are_not_read(cache, tmp_path, assert_identical):
    """Not even with a checksum that fits."""
    cached_tables("toy", "key", make)
    entry = cache / "toy" / "key"
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (entry / "train.x.array.npy").write_bytes((tmp_path / "objects.npy").read_bytes())
    listed = json.loads(index(entry).read_text())
    listed["tables"]["train"]["x"]["array"]["sha256"] = sha256_of(entry / "train.x.array.npy")
    index(entry).write_text(json.dumps(listed))
    with pytest.warns(UserWarning, match="cache: .*; making the entry again"):
        assert_identical(cached_tables("toy", "key", make)[0], make()[0])


@pytest.mark.parametrize("stop", [RuntimeError("out of paper"), KeyboardInterrupt()])
def test_what_is_interrupted_leaves_nothing(cache, monkeypatch, stop, assert_identical):
    saved = []

    def save(path, array, **options):
        saved.append(path)
        if len(saved) == 3:
            path.write_bytes(b"half")
            raise stop
        return real(path, array, **options)

    real = np.save
    monkeypatch.setattr(np, "save", save)
    with pytest.raises(type(stop)):
        cached_tables("toy", "key", make)
    monkeypatch.undo()
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    assert len(saved) == 3
    assert files(cache) == ["toy"]
    assert_identical(cached_tables("toy", "key", make)[0], make()[0])


def test_what_cannot_be_made_leaves_nothing(cache):
    with pytest.raises(AssertionError, match="made again"):
        cached_tables("toy", "key", unmade)
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_is_a_warning(cache, assert_identical):
    cache.write_text("a file where the folder should be")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"^cache: expected to write .*cache/toy/key, could not .*; going on") as w:
            tables, provenance = cached_tables("toy", "key", make)
        assert_identical(tables, make()[0])
        assert provenance == "made up"
        assert "\n" not in str(w[0].message)
    assert cache.read_text() == "a file where the folder should be"


def test_a_damaged_entry_that_cannot_be_removed_is_done_without(cache, monkeypatch, assert_identical):
    cached_tables("toy", "key", make)
    flip_last_byte(cache / "toy" / "key")
    monkeypatch.setattr("shutil.rmtree", lambda *args, **options: None)
    with (
        pytest.warns(UserWarning, match="making the entry again"),
        pytest.warns(UserWarning, match="expected to write .*, could not .*; going on without it"),
    ):
        assert_identical(cached_tables("toy", "key", make)[0], make()[0])


def test_another_process_that_is_done_while_ours_makes_the_tables_wins(cache, assert_identical):
    def slow():
        cached_tables("toy", "key", make)
        return make()[0], "ours"

    tables, provenance = cached_tables("toy", "key", slow)  # without a warning
    assert provenance == "made up"
    assert_identical(tables, make()[0])
    assert os.listdir(cache / "toy") == ["key"]


def test_another_process_that_is_done_while_ours_writes_wins(cache, monkeypatch):
    real = np.save
    saved = []

    def save(path, array, **options):
        saved.append(path)
        if len(saved) == 3:
            cached_tables("toy", "key", make)
        return real(path, array, **options)

    monkeypatch.setattr(np, "save", save)
    assert cached_tables("toy", "key", lambda: (make()[0], "ours"))[1] == "made up"
    assert os.listdir(cache / "toy") == ["key"]


def test_two_processes_that_write_the_same_entry(cache, tmp_path):
    """Both are sure that there is no entry before either writes; both end with the same tables, without a warning."""
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        import numpy as np
        from fedjax_layers.data.tables.cache import cached_tables

        here, me = Path(sys.argv[1]), sys.argv[2]
        def make():
            (here / me).touch()
            until = time.monotonic() + 60
            while not all((here / other).exists() for other in "ab"):
                assert time.monotonic() < until
                time.sleep(0.001)
            return {"train": {"x": np.arange(1000), "y": np.arange(3.0)}}, "made up"
        tables, _ = cached_tables("toy", "key", make)
        assert tables["train"]["x"].sum() == 499500 and isinstance(tables["train"]["x"], np.memmap)
        """
    )
    running = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code, str(tmp_path), me], stderr=subprocess.PIPE)
        for me in "ab"
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    assert os.listdir(cache / "toy") == ["key"]
    assert cached_tables("toy", "key", unmade)[0]["train"]["y"].tolist() == [0, 1, 2]


def test_entries_have_the_permissions_of_any_file(cache, tmp_path):
    """A cache may be shared by the people of a group."""
    cached_tables("toy", "key", make)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    entry = cache / "toy" / "key"
    for ours, usual in ((entry, tmp_path / "folder"), (index(entry), tmp_path / "file")):
        assert stat.S_IMODE(ours.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_the_folder_is_the_variable_then_that_of_the_user(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, "~/elsewhere")
    assert cache_dir() == tmp_path / "elsewhere"
    monkeypatch.setenv(CACHE_VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "fedjax_layers"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / ".cache" / "fedjax_layers"


def test_keys_differ_with_what_they_stand_for():
    base = {"version": "1.0.0", "columns": [["x", "number", [2]]], "counts": {"train": 3}}
    key = cache_key(**base)
    assert key == cache_key(**dict(reversed(base.items())))
    assert len(key) == 24
    assert key.isalnum()
    changed = [{**base, "version": "1.0.1"}, {**base, "columns": []}, {**base, "counts": {"train": 4}}]
    assert len({key, *(cache_key(**parts) for parts in changed)}) == 4
