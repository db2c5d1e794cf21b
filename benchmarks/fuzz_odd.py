"""Files that are sound in form and odd in content: odd dtypes and shapes, odd cells and odd names."""

from __future__ import annotations

import datetime
import decimal
import functools
import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_files
import fuzz_samples
import fuzz_values
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from fedjax_layers import data
from fedjax_layers.data.formats import archives, idx

Case = tuple[str, Callable[[], object]]
_ODD_CELLS = ("--5", "-5", "5" * 5000, "٣", "²", "1e400", "nan", "", "inf", "0x1", "1_0", '"', "a,b", "\x00", "é", "-")
_HUGE = (2**16, 2**24, 2**31, 2**32, 2**40, 2**62)
_ODD_DTYPES = ("O", "c16", "M8[s]", "m8[s]", "U5", "S5", "?", "f2", "f8", "g", "i1", "u8", ">f4", "V3", "T", "i4,f4")


def npz(rng: random.Random, folder: Path) -> Case:
    """An npz file with one array that is odd in dtype, shape or content."""
    arrays: dict[str, Any] = dict(fuzz_samples.arrays())
    name, how = rng.choice(list(arrays)), rng.choice(["dtype", "shape", "content", "name", "length", "order"])
    array = arrays[name]
    if how == "dtype":
        dtype = rng.choice(_ODD_DTYPES)
        told = f"{name} as {dtype}"
        arrays[name] = _of_dtype(array, dtype)
    elif how == "shape":
        shape = rng.choice([(), (0,), (24,), (24, 0), (0, 4), (24, 4, 1), (1, 24, 4), (24, 1, 1, 1, 1, 1)])
        told = f"{name} of shape {shape}"
        arrays[name] = np.zeros(shape, array.dtype)
    elif how == "content":
        value = rng.choice([np.nan, np.inf, -1, 2**31, 2**40, -(2**62), 1e39, 0.5])
        told = f"{name} with {value}"
        arrays[name] = array.astype(np.float64 if value != int_or_none(value) else np.int64)
        arrays[name].flat[rng.randrange(array.size)] = value
    elif how == "name":
        other = rng.choice(["../x", "/x", "X", "", "x/../../y", "é", "x\\..\\y", "z", "x.npy"])
        told = f"{name} called {other!r}"
        arrays[other] = arrays.pop(name)
    elif how == "length":
        told = f"{name} shorter"
        arrays[name] = array[: rng.randrange(len(array))]
    else:
        told = f"{name} in another order"
        arrays[name] = np.asfortranarray(np.stack([array, array]))
    path = folder / "own.npz"
    _save(path, arrays)
    return told, lambda: data.load("npz", path=path)


def int_or_none(value: float) -> int | None:
    """Return the whole number that a value is."""
    return int(value) if np.isfinite(value) and value == int(value) and abs(value) < 2**63 else None


def _of_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    try:
        return array.astype(dtype)
    except (TypeError, ValueError):
        return np.zeros(array.shape, dtype)


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with zipfile.ZipFile(path, "w") as box:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
            box.writestr(f"{name}.npy", stream.getvalue())


def npz_header(rng: random.Random, folder: Path) -> Case:
    """An npz file whose arrays announce other shapes, dtypes or sizes than they have."""
    name, held = rng.choice(["x", "y", "client"]), fuzz_samples.arrays()
    path = folder / "own.npz"
    shape = tuple(rng.choice([24, 4, 0, 1, -1, -24, *_HUGE]) for _ in range(rng.choice([1, 2, 2, 3, 40])))
    descr = rng.choice(["<f4", "<f8", "<i8", "|u1", "|O", "<U9999999", "|V0", "<M8[s]", "|S0", "<f4'"])
    header = f"{{'descr': '{descr}', 'fortran_order': {rng.choice(['False', 'True', 'None'])}, 'shape': {shape}, }}"
    if rng.random() < 0.15:
        header = rng.choice(
            ["", "{}", "[" * 5000, "__import__('os')", "{'descr': 1}", header * 200, "\x00" * 20, "(" * 90]
        )
    body = held[name].tobytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        for other, array in held.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, array)
            content = stream.getvalue()
            if other == name:
                encoded = header.encode("latin-1") + b"\n"
                size = rng.choice([len(encoded), len(encoded), 2**16 - 1, 0])
                content = b"\x93NUMPY\x01\x00" + struct.pack("<H", size % 2**16) + encoded + body
            box.writestr(f"{other}.npy", content)
    return f"{name} announced as {header[:100]}", lambda: data.load("npz", path=path)


def idx_header(rng: random.Random, folder: Path) -> Case:
    """An IDX file with odd dimensions."""
    number = rng.choice([0, 1, 2, 3, 4, 100, 255])
    sizes = [rng.choice([0, 1, 4, 5, 2**16, 2**31, 2**32 - 1]) for _ in range(number)]
    kind = rng.choice([8, 9, 11, 12, 13, 14, 10, 0, 255])
    content = struct.pack(">BBBB", 0, 0, kind, number) + struct.pack(f">{number}I", *sizes) + bytes(rng.choice([0, 80]))
    path = folder / "images"
    path.write_bytes(content if rng.random() < 0.5 else gzip.compress(content))
    return f"kind {kind}, sizes {sizes[:5]}", lambda: idx.read_idx(path)


def _column(rng: random.Random) -> Any:
    n, kinds = 24, rng.randrange(22)
    now = datetime.datetime(2020, 1, 1)
    made: list[Callable[[], Any]] = [
        lambda: pa.array([[1, 2]] * n),
        lambda: pa.array([{"a": 1}] * n),
        lambda: pa.array([decimal.Decimal("1.5")] * n),
        lambda: pa.array([decimal.Decimal(10**37 + i) for i in range(n)]),
        lambda: pa.array([now] * n),
        lambda: pa.array([b"\xff\xfe"] * n),
        lambda: pa.nulls(n),
        lambda: pa.array([None, "a"] * (n // 2)),
        lambda: pa.array(["x" * 100_000] * n, pa.large_string()),
        lambda: pa.array([1, 2] * (n // 2)).dictionary_encode(),
        lambda: pa.array([b"a", b"b"] * (n // 2)).dictionary_encode(),
        lambda: pa.array([datetime.timedelta(1)] * n),
        lambda: pa.array([float("nan")] * n),
        lambda: pa.array([float("inf"), 1.0] * (n // 2)),
        lambda: pa.array([2**63 - 1 - i for i in range(n)]),
        lambda: pa.array([2**64 - 1 - i for i in range(n)], pa.uint64()),
        lambda: pa.array([1.5] * n, pa.float16()),
        lambda: pa.array([str(i) + "9" * 5000 for i in range(n)]),
        lambda: pa.array(["--5", "-5"] * (n // 2)),
        lambda: pa.array([[(1, "a")]] * n, pa.map_(pa.int64(), pa.string())),
        lambda: pa.array([datetime.time(1)] * n),
        lambda: pa.array(["a", "b"] * (n // 2), pa.string_view()),
    ]
    return made[kinds]()


def table(rng: random.Random, folder: Path) -> Case:
    """A Parquet file with a column of an odd type, in any role."""
    columns = {
        "a": pa.array(range(24)),
        "word": pa.array(["xyz"[i % 3] for i in range(24)]),
        "y": pa.array(["pq"[i % 2] for i in range(24)]),
        "who": pa.array([f"c{i % 3}" for i in range(24)]),
    }
    name = rng.choice(list(columns))
    column = _column(rng)
    columns[name] = column
    names = rng.choice([list(columns), ["a", "a", "y", "who"], ["", "word", "y", "who"]])
    path = folder / "own.parquet"
    whole = pa.Table.from_arrays(list(columns.values()), names)
    parquet.write_table(rng.choice([whole, whole, whole, whole.slice(0, 0), whole.slice(0, 1)]), path)
    missing, task = rng.choice(["error", "drop", "mean"]), rng.choice(["auto", "regression", "classification"])
    read = functools.partial(data.load, "parquet", path=path, label="y", client="who", missing=missing, task=task)
    return f"{name} as {column.type}, names {names}, {missing}, {task}", read


def cells(rng: random.Random, folder: Path) -> Case:
    """A CSV file with odd cells in a column, or of an odd form."""
    column, picked = rng.randrange(5), rng.sample(_ODD_CELLS, rng.choice([1, 2, 5]))
    rows = [line.split(",") for line in fuzz_samples.ROWS.splitlines()]
    for row in rows[rng.choice([0, 1, 1, 1]) :]:
        if rng.random() < 0.8:
            row[column] = rng.choice(picked)
    separator = rng.choice([",", ",", ";", "\t", "", ",,", '"', "\n", "é"])
    form = rng.choice(["rows", "rows", "rows", "wide", "long cell", "header alone", "many values"])
    lines = _in_form(rng, form, [(separator or ",").join(row) for row in rows])
    path = folder / "own.csv"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    options = {"label": rng.choice(["y", "y", "b", "who", "none", ""]), "client": rng.choice(["who", "who", "", "a"])}
    options |= {"missing": rng.choice(["error", "drop", "mean"]), "separator": separator if form == "rows" else ","}
    return f"{form}, column {column}: {picked}, {options}"[:200], lambda: data.load("csv", path=path, **options)


def _in_form(rng: random.Random, form: str, lines: list[str]) -> list[str]:
    if form == "wide":
        width = rng.choice([1000, 10_000])
        return [",".join([*(f"c{i}" for i in range(width)), "y", "who"]), *[",".join(["1"] * width + ["p", "c"])] * 4]
    if form == "long cell":
        lines[3] = '"' + rng.choice(["1", "1 ", "1,", "$", "a "]) * 300_000 + '",1,x,p,c0'
    elif form == "header alone":
        return lines[:1]
    elif form == "many values":
        number = rng.choice([500, 20_000])
        return ["a,b,word,y,who", *(f"v{i},{i} mg,{i}.{i}.2020,{i},{i}" for i in range(number))]
    return lines


def json_files(rng: random.Random, folder: Path) -> Case:
    """A JSON file, one place of which holds something else."""
    names = ["tokenizer", "tokenizer, pairs", "gpt2 config", "leaf", "leaf, texts", "leaf, users"]
    name = rng.choice(names)
    target = fuzz_files.TARGETS[name]
    path = target.make(folder)
    content = json.loads(path.read_text())
    for _ in range(rng.choice([1, 1, 2])):
        content = fuzz_values.changed(rng, content)
    path.write_text(fuzz_values.written(content))
    return name, lambda: target.read(path)


def partition(rng: random.Random, folder: Path) -> Case:
    """A partition file, one array or text of which is another."""
    target = fuzz_files.TARGETS["partition file"]
    path = target.make(folder)
    with np.load(path) as box:
        arrays: dict[str, Any] = {name: box[name] for name in box.files}
    name = rng.choice(list(arrays))
    if name == "about":
        about = fuzz_values.changed(rng, json.loads(arrays["about"].tobytes()))
        arrays["about"] = np.frombuffer(fuzz_values.written(about).encode(), np.uint8)
        told = "about"
    else:
        array = arrays[name]
        value = rng.choice([-2, -1, 0, 1, 5, 2**31 - 1, 2**40])
        array = array.astype(rng.choice([array.dtype, np.int64, np.float32, np.uint8]))
        if array.size:
            with np.errstate(all="ignore"):
                array[rng.randrange(len(array))] = np.array(value).astype(array.dtype)
        arrays[name] = rng.choice([array, array, array[:-1], array[:0], array[None], array[::-1]])
        told = f"{name} with {value}"
    np.savez(path, **arrays)
    return told, lambda: target.read(path)


def members(rng: random.Random, folder: Path) -> Case:
    """An archive with a member whose name leads outside, or that is a link."""
    name = rng.choice(["../guarded/mine.csv", "/tmp/x", "a/../../b", "..", "a\\..\\b", "C:/x", "~/x", "a\x01b", "a/"])
    path = folder / "box"
    if rng.random() < 0.5:
        with zipfile.ZipFile(path, "w") as box:
            box.writestr(name, "content")
            box.writestr("fine.txt", "content")
        return f"zip, {name!r}", lambda: list(archives.read_zip(path, lambda _: True))
    with tarfile.open(path, "w:gz") as box:
        about = tarfile.TarInfo(name)
        about.type = rng.choice([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
        about.linkname = rng.choice(["../guarded/mine.csv", "/etc/passwd", name])
        box.addfile(about)
    return f"tar, {name!r}", lambda: list(archives.read_tar(path, lambda _: True))


KINDS = {
    f"odd: {make.__name__.replace('_', ' ')}": make
    for make in (npz, npz_header, idx_header, table, cells, json_files, partition, members)
}
