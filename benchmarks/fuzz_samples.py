"""Small sound files of every kind that a user can give, which are changed afterwards."""

from __future__ import annotations

import functools
import gzip
import io
import json
import struct
import tarfile
import wave
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from fedjax_layers import data, ops
from fedjax_layers.data.federated.partition_file import save_partition
from fedjax_layers.data.sources import fsdd
from fedjax_layers.models.params_file import save_params

ROWS = "a,b,word,y,who\n" + "".join(f"{i},{i / 7:.3f},{'xyz'[i % 3]},{'pq'[i % 2]},c{i % 3}\n" for i in range(24))
DENSE = {"dense": {"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.float32)}}
ROW = {"dense": {"w": np.zeros(2, np.float32), "b": np.zeros((), np.float32)}}


def written(folder: Path, name: str, content: bytes | str) -> Path:
    """Write a file, with its folder, and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_idx(folder: Path, *, zipped: bool = False) -> Path:
    """Write an IDX file, perhaps gzipped."""
    content = struct.pack(">BBBBIII", 0, 0, 8, 3, 5, 4, 4) + bytes(range(80))
    return written(folder, "images", gzip.compress(content, mtime=0) if zipped else content)


def arrays() -> dict[str, np.ndarray]:
    """Make the arrays of a small npz file."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 4)).astype(np.float32)
    return {"x": x, "y": np.arange(24) % 3, "client": np.arange(24) % 2, "x_test": x[:6], "y_test": np.arange(6) % 3}


def write_npz(folder: Path, *, packed: bool = False) -> Path:
    """Write the arrays of :func:`arrays`."""
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, **arrays())
    return written(folder, "own.npz", stream.getvalue())


def write_parquet(folder: Path, **options: Any) -> Path:
    """Write a Parquet file with a column of each usual type."""
    columns = {
        "a": list(range(24)),
        "b": [i / 7 for i in range(24)],
        "word": pa.array(["xyz"[i % 3] for i in range(24)]).dictionary_encode(),
        "y": ["pq"[i % 2] for i in range(24)],
        "who": [f"c{i % 3}" for i in range(24)],
        "flag": [i % 4 == 0 for i in range(24)],
    }
    parquet.write_table(pa.table(columns), folder / "own.parquet", **options)
    return folder / "own.parquet"


def write_picture(folder: Path, form: str) -> Path:
    """Write six pictures of two classes."""
    from PIL import Image  # noqa: PLC0415

    for kind in ("cat", "dog"):
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
            place = folder / "pictures" / kind / f"{i}.{form}"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place)
    return folder / "pictures" / "cat" / f"0.{form}"


def write_clients_npz(folder: Path) -> Path:
    """Write a folder with two clients' npz files."""
    for client in ("one", "two"):
        stream = io.BytesIO()
        np.savez(stream, x=arrays()["x"], y=arrays()["y"])
        written(folder, f"clients/{client}/part.npz", stream.getvalue())
    return folder / "clients" / "one" / "part.npz"


def write_clients_csv(folder: Path) -> Path:
    """Write a folder with two clients' CSV files."""
    for client in ("one", "two"):
        written(folder, f"clients/{client}/part.csv", ROWS)
    return folder / "clients" / "one" / "part.csv"


def write_zip(folder: Path) -> Path:
    """Write an archive with two texts."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as box:
        for name in ("a.txt", "deep/b.txt"):
            box.writestr(name, "some text\n" * 20)
    return written(folder, "box.zip", stream.getvalue())


def write_tar(folder: Path, members: Mapping[str, bytes]) -> Path:
    """Write a gzipped archive with these members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as box:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            box.addfile(about, io.BytesIO(content))
    return written(folder, "box.tar.gz", stream.getvalue())


def write_safetensors(folder: Path) -> Path:
    """Write a model of one layer."""
    save_params(folder / "model.safetensors", DENSE, ops.layer_map(DENSE))
    return folder / "model.safetensors"


def write_tokenizer(folder: Path) -> Path:
    """Write a tokenizer that knows whole words."""
    model = {"type": "WordLevel", "vocab": {"the": 0, "day": 1, "[UNK]": 2}, "unk_token": "[UNK]"}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    split = {"type": "WhitespaceSplit"}
    content = {"version": "1.0", **parts, "added_tokens": [], "pre_tokenizer": split, "model": model}
    return written(folder, "tokenizer.json", json.dumps(content))


def write_bpe(folder: Path) -> Path:
    """Write a tokenizer that joins pairs."""
    letters = {letter: i for i, letter in enumerate("thedayg ")}
    model = {"type": "BPE", "vocab": letters | {"th": 8, "the": 9}, "merges": ["t h", "th e"], "unk_token": "g"}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder", "pre_tokenizer"))
    content = {"version": "1.0", **parts, "added_tokens": [], "model": model}
    return written(folder, "tokenizer.json", json.dumps(content))


def write_gpt2(folder: Path, changed: str) -> Path:
    """Write a small GPT-2, and return the path of the file to be changed."""
    source = Path(__file__).parent.parent / "tests" / "models" / "gpt2"
    for name in ("config.json", "model.safetensors"):
        written(folder, name, (source / name).read_bytes())
    return folder / changed


def write_leaf(folder: Path, inputs: Any, labels: Any) -> Path:
    """Write a file of LEAF with two users."""
    users = {name: {"x": inputs, "y": labels} for name in ("ann", "bob")}
    content = {"users": list(users), "num_samples": [len(labels)] * 2, "user_data": users}
    return written(folder, "all_data.json", json.dumps(content))


def write_wav(folder: Path) -> Path:
    """Write a recording of zeros."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(fsdd.RATE)
        sound.writeframes(bytes(400))
    return written(folder, "0_george_0.wav", stream.getvalue())


def write_notes(folder: Path) -> Path:
    """Write an admission and its notes, of which the path is returned."""
    stay = "HADM_ID,ADMITTIME,ADMISSION_TYPE,DIAGNOSIS,HOSPITAL_EXPIRE_FLAG\n7,2100-01-01 10:00:00,EMERGENCY,STROKE,0\n"
    written(folder, "ADMISSIONS.csv", stay)
    text = "HADM_ID,CHARTTIME,CATEGORY,ISERROR,TEXT\n" + '7,2100-01-01 12:00:00,Nursing,,"slept well"\n' * 3
    return written(folder, "NOTEEVENTS.csv", text)


def write_isic(folder: Path) -> Path:
    """Write a table of folds, and files beside it."""
    row = "image,extension,target,center,fold,fold2\n" + "".join(
        f"I{i},I{i}.jpg,{i},0,train,train_0\n" for i in range(3)
    )
    for i in range(3):
        written(folder, f"I{i}.jpg", b"picture")
    return written(folder, "train_test_split.csv", row)


def write_usps(folder: Path) -> Path:
    """Write two digits of USPS as lines of text."""
    lines = "".join(f"{digit} " + " ".join(["0.5"] * 256) + "\n" for digit in (1, 2))
    return written(folder, "zip.train", lines)


@functools.cache
def digits() -> Any:
    """Load the digits with four clients, once."""
    return data.load("digits", partition="iid", clients=4)


def write_partition(folder: Path) -> Path:
    """Write their partition file."""
    save_partition(digits(), folder / "partition.npz")
    return folder / "partition.npz"
