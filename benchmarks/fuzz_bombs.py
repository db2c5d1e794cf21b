"""Small files that would fill the memory: each announces or unpacks to six gigabytes."""

from __future__ import annotations

import functools
import io
import lzma
import random
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from fedjax_layers import data
from fedjax_layers.data.formats import archives, idx, text_files

_BLOCK = 2**24


def bomb(rng: random.Random, folder: Path) -> tuple[str, Callable[[], object]]:
    """A small file that would fill the memory."""
    kinds = {
        "npz": (_npz_bomb, lambda path: data.load("npz", path=path)),
        "npz, client": (_npz_bomb, lambda path: archives.read_npz(path, "x")),
        "gz": (_gz_bomb, idx.read_idx),
        "csv.gz": (_csv_bomb, lambda path: data.load("csv", path=path, label="a")),
        "text": (_csv_bomb, text_files.read_lines),
        "zip": (_zip_bomb, lambda path: list(archives.read_zip(path, lambda _: True))),
        "tar": (_tar_bomb, lambda path: list(archives.read_tar(path, lambda _: True))),
        "sqlite.lzma": (_lzma_bomb, lambda path: data.load("tff", path=path)),
        "arrow": (_arrow_bomb, lambda path: data.load("huggingface", path=path, label="a")),
        "lists.parquet": (_lists_bomb, lambda path: data.load("huggingface", path=path, label="a")),
        "pictures.parquet": (_pictures_bomb, lambda path: data.load("huggingface", path=path, label="a")),
        "parquet": (_parquet_bomb, lambda path: data.load("parquet", path=path, label="a")),
    }
    name = rng.choice(list(kinds))
    make, read = kinds[name]
    path = folder / f"own.{name}"
    path.write_bytes(_made(make))
    return name, lambda: read(path)


bomb.share = 0.35  # type: ignore[attr-defined]  (each may take many seconds)


@functools.cache
def _made(make: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "bomb")
        return (Path(folder) / "bomb").read_bytes()


@functools.cache
def _zeros(size: int, first: bytes = b"") -> tuple[bytes, int]:
    """Compress ``size`` zeros after ``first`` without making them: the same block again and again; also their CRC."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    start = stream.compress(first) + stream.flush(zlib.Z_FULL_FLUSH)
    block = stream.compress(bytes(_BLOCK)) + stream.flush(zlib.Z_FULL_FLUSH)
    crc, zeros = zlib.crc32(first), bytes(_BLOCK)
    for _ in range(size // _BLOCK):
        crc = zlib.crc32(zeros, crc)
    return start + block * (size // _BLOCK) + stream.flush(zlib.Z_FINISH), crc


def _zip_of(path: Path, name: str, first: bytes, size: int) -> None:
    """Write a zip archive whose one member is ``first`` and then zeros."""
    packed, crc = _zeros(size, first)
    whole = len(first) + size
    encoded, fields = name.encode(), struct.pack("<HHIII", 0, 33, crc, 0xFFFFFFFF, 0xFFFFFFFF)
    large = struct.pack("<HHQQ", 1, 16, whole, len(packed))
    local = b"PK\x03\x04" + struct.pack("<HHH", 45, 0, 8) + fields + struct.pack("<HH", len(encoded), len(large))
    content = local + encoded + large + packed
    central = b"PK\x01\x02" + struct.pack("<HHHH", 45, 45, 0, 8) + fields
    central += struct.pack("<HHHHHII", len(encoded), len(large), 0, 0, 0, 0, 0) + encoded + large
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(content), 0)
    path.write_bytes(content + central + end)


def _npz_bomb(path: Path) -> None:
    size = 6 * 2**30
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (size // 16, 4)})
    _zip_of(path, "x.npy", stream.getvalue(), size)
    with zipfile.ZipFile(path, "a") as box:
        labels = io.BytesIO()
        np.lib.format.write_array(labels, np.arange(24) % 2)
        box.writestr("y.npy", labels.getvalue())


def _zip_bomb(path: Path) -> None:
    _zip_of(path, "zeros.txt", b"", 6 * 2**30)


def _gz(path: Path, first: bytes, size: int) -> None:
    packed, crc = _zeros(size, first)
    ends = struct.pack("<II", crc, (len(first) + size) % 2**32)
    path.write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + packed + ends)


def _gz_bomb(path: Path) -> None:
    _gz(path, struct.pack(">BBBBIII", 0, 0, 8, 3, 6 * 2**20, 32, 32), 6 * 2**30)


def _csv_bomb(path: Path) -> None:
    _gz(path, b"a,b\n1,2\n", 6 * 2**30)


def _tar_bomb(path: Path) -> None:
    about = tarfile.TarInfo("zeros")
    about.size = 6 * 2**30
    _gz(path, about.tobuf(), 6 * 2**30)


def _parquet_bomb(path: Path) -> None:
    rows = 2**22
    one = pa.table({"a": pa.array(np.zeros(rows, np.int64)), "b": pa.array(np.zeros(rows, np.int64))})
    with parquet.ParquetWriter(path, one.schema) as writer:
        for _ in range(100):
            writer.write_table(one)


def _lzma_bomb(path: Path) -> None:
    packer = lzma.LZMACompressor(format=lzma.FORMAT_ALONE, preset=0)
    parts = [packer.compress(b"SQLite format 3\0")] + [packer.compress(bytes(_BLOCK)) for _ in range(96)]
    path.write_bytes(b"".join(parts) + packer.flush())


def _arrow_bomb(path: Path) -> None:
    nothing = pa.NullArray.from_buffers(pa.null(), 2**31 - 1, [None])  # ``pa.nulls`` would make room for it
    table = pa.table({"a": nothing, "b": nothing})
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)


def _lists_bomb(path: Path) -> None:
    rows, zeros = 2**9, pa.array(np.zeros(2**22, np.float32))
    one = pa.table({"a": np.zeros(rows, np.int64), "b": pa.FixedSizeListArray.from_arrays(zeros, len(zeros) // rows)})
    with parquet.ParquetWriter(path, one.schema) as writer:
        for _ in range(100):
            writer.write_table(one)


def _pictures_bomb(path: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (9000, 9000)).save(stream, "png", compress_level=9)
    picture = pa.array([{"bytes": stream.getvalue()}] * 100)
    parquet.write_table(pa.table({"a": np.arange(100) % 2, "b": picture}), path)


KINDS = {"bomb": bomb}
