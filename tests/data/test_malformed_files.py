"""Files that no reader should choke on: each is refused in one line that names it, quickly and with little memory."""

import csv
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from fedjax_layers.cli.vary import _read_grid
from fedjax_layers.data import load, load_dataset
from fedjax_layers.data.formats.archives import read_bytes, read_npz, read_tar, read_zip
from fedjax_layers.data.formats.idx import read_idx
from fedjax_layers.data.formats.pictures import decode_picture
from fedjax_layers.data.sources import fsdd, usps
from fedjax_layers.data.sources.own.tables import describe
from fedjax_layers.data.sources.unshipped import fed_isic2019, femnist, leaf, mimic3_files, sent140
from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.text.encoding import encode
from fedjax_layers.models.gpt2 import gpt2_options
from fedjax_layers.models.params_file import read_tensors
from fedjax_layers.storage import StorageError, read_json

TEXTS = Ragged.of_texts(["the day"])
DEEP = b"[" * 100_000


def refused(read, path, *parts):
    with pytest.raises((ValueError, FileNotFoundError, StorageError)) as error:
        read(path)
    message = str(error.value)
    assert "\n" not in message
    for part in (str(path), "expected", *parts):
        assert part in message, message


JSON_READERS = {
    "leaf": lambda path: list(leaf.read_users(path)),
    "tokenizer": lambda path: encode(TEXTS, TEXTS, str(path)),
    "gpt2": lambda path: gpt2_options(path.parent),
    "grid": lambda path: _read_grid(str(path)),
    "run": read_json,
}


@pytest.mark.parametrize(
    "content", [DEEP, b"\xff\xfe{}", b'{"a":', b"9" * 5000], ids=["deep", "no UTF-8", "cut", "long"]
)
@pytest.mark.parametrize("reader", JSON_READERS)
def test_json_that_is_broken_or_nested_too_deeply(tmp_path, reader, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    refused(JSON_READERS[reader], path)


@pytest.mark.parametrize("reader", [name for name in JSON_READERS if name != "run"])
def test_a_pipe_is_not_waited_for(tmp_path, reader):
    path = tmp_path / "config.json"
    os.mkfifo(path)
    refused(JSON_READERS[reader], path)
    refused(lambda _: usps._read_text({"zip.train.gz": path}), path)
    refused(lambda _: list(read_zip(path, lambda _: True)), path)
    refused(lambda _: list(read_tar(path, lambda _: True)), path)
    refused(lambda _: sent140._read_csv({sent140._CSV: path}), path)
    refused(lambda _: mimic3_files.read_notes(path, path), path)
    refused(read_tensors, path)
    refused(lambda _: list(fed_isic2019._rows(path)), path)


USER = {"x": [[0.0] * 784], "y": [1]}
LEAF = {"users": ["a"], "num_samples": [1], "user_data": {"a": USER}}


@pytest.mark.parametrize(
    "change",
    [
        {"users": 3},
        {"num_samples": 1},
        {"user_data": [1]},
        {"users": [["a"]]},
        {"user_data": {"a": 1}},
        {"user_data": {"a": {"x": 1, "y": [1]}}},
        {"user_data": {"a": {"x": [3], "y": [1]}}},
        {"user_data": {"a": {"x": [["0"] * 784], "y": [1]}}},
        {"user_data": {"a": {"x": [[[0]] * 784], "y": [1]}}},
        {"user_data": {"a": {"x": [[10**400] * 784], "y": [1]}}},
    ],
    ids=range(10),
)
def test_other_types_in_files_of_leaf(tmp_path, change):
    path = tmp_path / "all_data_0.json"
    path.write_text(json.dumps(LEAF))
    assert femnist._table([path])["label"].tolist() == [1]
    path.write_text(json.dumps(LEAF | change))
    refused(lambda path: femnist._table([path]), path)


def test_tweets_that_are_no_lists(tmp_path):
    path = tmp_path / "all_data_0.json"
    path.write_text(json.dumps(LEAF | {"user_data": {"a": {"x": [3], "y": [1]}}}))
    refused(lambda path: sent140._table([path]), path, "no cells")


@pytest.mark.parametrize("content", ["[]", "3", '"a"'])
def test_gpt2s_configuration_is_an_object(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    refused(JSON_READERS["gpt2"], tmp_path / "config.json")


@pytest.mark.parametrize("largest", [2**31, 2**24])
def test_a_tokenizer_with_a_number_that_would_fill_the_memory(tmp_path, largest):
    model = {"type": "WordLevel", "vocab": {"the": 0, "day": largest}, "unk_token": "the"}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder", "pre_tokenizer"))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", **parts, "added_tokens": [], "model": model}))
    refused(JSON_READERS["tokenizer"], path, str(largest))


def test_a_tokenizer_on_which_the_library_panics(tmp_path):
    """Its merges join a token that is shorter than the mark which continues a word."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "continuing_subword_prefix": "abc"}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder", "pre_tokenizer"))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", **parts, "added_tokens": [], "model": model}))
    refused(JSON_READERS["tokenizer"], path)


def save_npz(path, header, body=b"\0" * 96, name="x.npy"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        encoded = header.encode() + b"\n"
        box.writestr(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(encoded)) + encoded + body)


@pytest.mark.parametrize("shape", [(2**40,), (24, 2), (-24, -1), (2**62, 2**62), (24, 1, -1)])
def test_an_array_that_announces_another_size(tmp_path, shape):
    path = tmp_path / "own.npz"
    save_npz(path, f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}")
    refused(read_npz, path, "array x: expected a plain array")


def test_an_array_of_no_bytes_a_long_header_and_another_form(tmp_path):
    path = tmp_path / "own.npz"
    for header in ("{'descr': '|V0', 'fortran_order': False, 'shape': (9,), }", "{'descr': '<f4'}" + " " * 30_000):
        save_npz(path, header)
        refused(read_npz, path, "array x: expected a plain array")
    path.write_bytes(b"\x00" + path.read_bytes())  # a zip archive after another byte, which NumPy took for a pickle
    refused(read_npz, path)


def test_an_npz_file_of_the_usual_kinds_is_read_as_numpy_does(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yy"]), "c": np.asfortranarray(np.eye(3))}
    arrays |= {"scalar": np.array(3), "none": np.zeros((0, 4), np.int8)}
    np.savez_compressed(tmp_path / "own.npz", **arrays)
    for name, array in read_npz(tmp_path / "own.npz").items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype


@pytest.mark.parametrize(("number", "sizes"), [(100, [1] * 100), (3, [0, 2**31, 2**32 - 1])])
def test_idx_dimensions_that_no_array_has(tmp_path, number, sizes):
    path = tmp_path / "images"
    path.write_bytes(struct.pack(f">BBBB{number}I", 0, 0, 14, number, *sizes) + bytes(8 * int(np.prod(sizes))))
    refused(read_idx, path, "dimensions")


def write_gz(path, zeros):
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" + bytes(zeros)))


def write_zip(path, zeros):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        box.writestr("a.npy", bytes(zeros))


def write_tar(path, zeros):
    with tarfile.open(path, "w:gz") as box:
        about = tarfile.TarInfo("a")
        about.size = zeros
        box.addfile(about, io.BytesIO(bytes(zeros)))


def write_parquet(path, zeros):
    parquet.write_table(pa.table({"a": np.zeros(zeros // 8, np.int64)}), path)


def write_texts(path, zeros):
    parquet.write_table(pa.table({"a": ["x" * 10_000] * (zeros // 10_000)}), path)


def write_lists(path, zeros):
    numbers = pa.array(np.zeros(zeros // 4, np.float32))
    lists = pa.ListArray.from_arrays(pa.array(range(0, len(numbers) + 1, 1024), pa.int32()), numbers)
    parquet.write_table(pa.table({"a": lists, "label": np.arange(len(lists)) % 2}), path)


def write_one_list(path, zeros):
    """All numbers are in one row, so that they would be read at once."""
    write_lists(path, zeros)
    numbers = parquet.read_table(path)["a"].combine_chunks().flatten()
    lists = pa.ListArray.from_arrays(pa.array([0, len(numbers), len(numbers)], pa.int32()), numbers)
    parquet.write_table(pa.table({"a": lists, "label": [0, 1]}), path)


def write_pictures(path, zeros):
    """One picture a hundred times, which Parquet stores once."""
    stream = io.BytesIO()
    Image.new("L", (400, 400)).save(stream, "png")
    pictures = pa.array([{"bytes": stream.getvalue()}] * (zeros // 160_000))
    parquet.write_table(pa.table({"a": pictures, "label": np.arange(len(pictures)) % 2}), path)


def write_lzma(path, zeros):
    path.write_bytes(lzma.compress(b"SQLite format 3\0" + bytes(zeros)))


def read_shards(path):
    return load_dataset("huggingface", path=str(path))


BOMBS = {
    "sqlite.xz": (write_lzma, lambda path: load_dataset("tff", path=str(path))),
    "lists.parquet": (write_lists, read_shards),
    "one_list.parquet": (write_one_list, read_shards),
    "pictures.parquet": (write_pictures, read_shards),
    "gz": (write_gz, read_bytes),
    "csv.gz": (write_gz, describe),
    "zip": (write_zip, lambda path: list(read_zip(path, lambda _: True))),
    "npz": (write_zip, read_npz),
    "tar.gz": (write_tar, lambda path: list(read_tar(path, lambda _: True))),
    "parquet": (write_parquet, describe),
    "texts.parquet": (write_texts, describe),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_that_would_fill_the_memory(tmp_path, monkeypatch, kind):
    """The limits are a gigabyte and a hundred times the file; here a megabyte stands for the gigabyte."""
    write, read = BOMBS[kind]
    path = tmp_path / f"own.{kind}"
    write(path, 2**22)
    monkeypatch.setattr("fedjax_layers.data.formats.growth._LARGE", 2**20)
    refused(read, path, "100 times the file's size once unpacked")
    monkeypatch.setattr("fedjax_layers.data.formats.growth._MOST_TIMES", 10**6)
    monkeypatch.setattr("fedjax_layers.data.formats.growth.free_host_memory", lambda: 2**21)
    refused(read, path, "2.1 MB of free memory")


def test_several_gzip_streams_are_one_file(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one ") + gzip.compress(b"two") + bytes(7))
    assert read_bytes(tmp_path / "a.gz") == b"one two"


def test_a_zip_archive_that_is_encrypted_or_of_an_unknown_kind(tmp_path):
    path = tmp_path / "a.zip"
    for at, value in ((6, 1), (8, 99)):  # in the member's header: its flags, its kind of compression
        write_zip(path, 100)
        content = bytearray(path.read_bytes())
        content[at] = content[content.index(b"PK\x01\x02") + at + 2] = value
        path.write_bytes(content)
        refused(lambda path: list(read_zip(path, lambda _: True)), path, "zip archive")


@pytest.mark.parametrize(
    "content", [b"P6 \xd7\xab\x89\xca\xc2x\x1e\x1e\x1e\x1e\x1e 1 255\n", b"P6\n99999 99999\n255\n"]
)
def test_pictures_that_raise_other_errors(tmp_path, content):
    folder = tmp_path / "kinds" / "cat"
    folder.mkdir(parents=True)
    (folder / "a.ppm").write_bytes(content)
    refused(lambda _: load("image_folder", path=tmp_path / "kinds"), folder / "a.ppm", "expected a picture")
    refused(lambda path: decode_picture(path.read_bytes(), "RGB", str(path)), folder / "a.ppm", "expected a picture")


def test_a_circle_of_links(tmp_path):
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / kind / "a.png")
    (tmp_path / "cat" / "b.png").symlink_to("b.png")
    refused(lambda _: load("image_folder", path=tmp_path, grey=True), tmp_path, "b.png")


def table_of(path, **columns):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


@pytest.mark.parametrize("names", [["--5", "-5"], ["9" * 5000, "1"], ["-", "5"]], ids=["signs", "long", "sign"])
def test_names_that_are_nearly_whole_numbers(tmp_path, names):
    path = table_of(tmp_path / "own.csv", a=range(24), y=["p", "q"] * 12, who=names * 12)
    data = load("csv", path=path, label="y", client="who", partition="natural")
    assert sorted(data.client_names) == sorted(names)


def test_separators_and_texts_of_other_alphabets(tmp_path):
    path = table_of(tmp_path / "own.csv", a=[1, 2])
    with pytest.raises(ValueError, match="separator: expected one character of ASCII, got 'é'"):
        describe(path, separator="é")
    path.write_bytes(b"\xc4,b\n1,2\n")
    refused(describe, path)


@pytest.mark.parametrize("content", [b"image,target\n\xff,1\n", b'image,extension,target,center,fold,fold2\n"a'])
def test_a_table_of_folds_that_is_broken(tmp_path, content):
    (tmp_path / "train_test_split").write_bytes(content)
    refused(lambda path: list(fed_isic2019._rows(path)), tmp_path / "train_test_split")


BROKEN_WAV = b"RIFF\xb4\x01\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\x002\x9a\x10\0data\x90\x01"


@pytest.mark.parametrize("content", [BROKEN_WAV + bytes(400), BROKEN_WAV])
def test_recordings_that_raise_other_errors(content):
    with pytest.raises(ValueError, match="a: expected a wav file, found another or a broken one"):
        fsdd._samples(content, "a")


def test_times_with_a_zone(tmp_path):
    stays, notes = tmp_path / "ADMISSIONS.csv", tmp_path / "NOTEEVENTS.csv"
    stays.write_text(
        "HADM_ID,ADMITTIME,ADMISSION_TYPE,DIAGNOSIS,HOSPITAL_EXPIRE_FLAG\n7,2100-01-01 10:00:00,EMERGENCY,STROKE,0\n"
    )
    notes.write_text("HADM_ID,CHARTTIME,CATEGORY,ISERROR,TEXT\n7,2100-01-01 12:00:00+00:00,Nursing,,slept\n")
    refused(lambda path: mimic3_files.read_notes(stays, path), notes, "CHARTTIME")
