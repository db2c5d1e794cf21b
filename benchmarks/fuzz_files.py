"""The files that a user can give, each with a small sound one and the reader that it is for."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fuzz_samples as samples

from fedjax_layers import data, models, ops
from fedjax_layers.data.federated.partition_file import apply_partition
from fedjax_layers.data.formats import archives, cifar, idx, text_files
from fedjax_layers.data.formats.pictures import decode_picture
from fedjax_layers.data.sources import fsdd, uci_har, usps
from fedjax_layers.data.sources.own.tables import describe
from fedjax_layers.data.sources.unshipped import fed_isic2019, femnist, leaf, mimic3_files, sent140
from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.text.encoding import encode
from fedjax_layers.experiment.setup.initial import load_start
from fedjax_layers.models.params_file import load_stacked_params


class Target(NamedTuple):
    """A kind of file.

    Attributes:
      make: writes a sound file, and perhaps others beside it, into a folder; returns the one that is changed.
      read: reads it.
      text: whether mutations of texts make sense.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    text: bool = False


def _read_isic(path: Path) -> object:
    return list(fed_isic2019._rows(path))


def _loaded(name: str, **options: Any) -> Callable[[Path], object]:
    return lambda path: data.load(name, path=path, clients=None, **options)


_TABLE = {"label": "y", "client": "who"}
TARGETS: dict[str, Target] = {
    "idx": Target(samples.write_idx, lambda path: idx.read_idx(path, (None, 4, 4))),
    "idx, any shape": Target(samples.write_idx, idx.read_idx),
    "idx.gz": Target(functools.partial(samples.write_idx, zipped=True), idx.read_idx),
    "npz": Target(samples.write_npz, _loaded("npz")),
    "npz, compressed": Target(functools.partial(samples.write_npz, packed=True), _loaded("npz", missing="drop")),
    "csv": Target(lambda folder: samples.written(folder, "own.csv", samples.ROWS), _loaded("csv", **_TABLE), text=True),
    "csv, regression": Target(
        lambda folder: samples.written(folder, "own.csv", samples.ROWS),
        _loaded("csv", label="b", missing="mean", task="regression", partition="iid"),
        text=True,
    ),
    "csv, described": Target(lambda folder: samples.written(folder, "own.csv", samples.ROWS), describe, text=True),
    "csv.gz": Target(
        lambda folder: samples.written(folder, "own.csv.gz", gzip.compress(samples.ROWS.encode(), mtime=0)),
        _loaded("csv", **_TABLE),
    ),
    "parquet": Target(samples.write_parquet, _loaded("parquet", **_TABLE)),
    "parquet, zstd": Target(
        functools.partial(samples.write_parquet, compression="zstd", write_page_checksum=True),
        _loaded("parquet", **_TABLE),
    ),
    "parquet, described": Target(samples.write_parquet, describe),
    **{
        f"picture, {form}": Target(functools.partial(samples.write_picture, form=form), _loaded_pictures)
        for form, _loaded_pictures in (
            (form, lambda path: data.load("image_folder", path=path.parent.parent, clients=2, partition="iid"))
            for form in ("png", "jpg", "webp", "gif", "tiff", "bmp", "ppm")
        )
    },
    "picture, decoded": Target(
        functools.partial(samples.write_picture, form="png"),
        lambda path: decode_picture(_content(path), "RGB", str(path)),
    ),
    "client folder, npz": Target(
        samples.write_clients_npz, lambda path: data.load("client_folder", path=path.parent.parent)
    ),
    "client folder, csv": Target(
        samples.write_clients_csv,
        lambda path: data.load("client_folder", path=path.parent.parent, label="y"),
        text=True,
    ),
    "zip": Target(samples.write_zip, lambda path: list(archives.read_zip(path, lambda name: True))),
    "tar.gz": Target(
        lambda folder: samples.write_tar(folder, {"a.bin": bytes(3073), "b.bin": bytes(3073)}),
        lambda path: cifar.read_binary(path, {"train": ["a.bin"], "test": ["b.bin"]}, ["label"]),
    ),
    "text columns": Target(
        lambda folder: samples.written(folder, "own.csv", samples.ROWS),
        lambda path: text_files.numbers(path, text_files.read_csv(path, ["a", "b", "word", "y", "who"]), "b"),
        text=True,
    ),
    "text lines": Target(
        lambda folder: samples.written(folder, "lines.txt", samples.ROWS), text_files.read_lines, text=True
    ),
    "wav": Target(samples.write_wav, lambda path: fsdd._samples(_content(path), str(path))),
    "leaf": Target(
        lambda folder: samples.write_leaf(folder, [[0.0] * 784] * 2, [1, 2]),
        lambda path: femnist._table([path]),
        text=True,
    ),
    "leaf, texts": Target(
        lambda folder: samples.write_leaf(folder, [["1", "d", "q", "u", "hello"]] * 2, [0, 1]),
        lambda path: sent140._table([path]),
        text=True,
    ),
    "leaf, users": Target(
        lambda folder: samples.write_leaf(folder, [1, 2], [1, 2]), lambda path: list(leaf.read_users(path)), text=True
    ),
    "tweets": Target(
        lambda folder: samples.written(
            folder, sent140._CSV, '"0","1","d","q","ann","hello"\n"4","2","d","q","bob","hi"\n'
        ),
        lambda path: sent140._read_csv({sent140._CSV: path}),
        text=True,
    ),
    "notes": Target(
        samples.write_notes, lambda path: mimic3_files.read_notes(path.with_name("ADMISSIONS.csv"), path), text=True
    ),
    "admissions": Target(
        lambda folder: samples.write_notes(folder).with_name("ADMISSIONS.csv"),
        lambda path: mimic3_files.read_notes(path, path.with_name("NOTEEVENTS.csv")),
        text=True,
    ),
    "folds": Target(samples.write_isic, _read_isic, text=True),
    "signals": Target(
        lambda folder: samples.written(folder, "x.txt", "1 2 3\n4 5 6\n"),
        lambda path: uci_har._numbers(_content(path), 3, str(path)),
        text=True,
    ),
    "usps": Target(
        samples.write_usps,
        lambda path: usps._read_text({f"zip.{part}.gz": path for part in ("train", "test")}),
        text=True,
    ),
    "safetensors": Target(samples.write_safetensors, lambda path: load_start(str(path), ops.layer_map(samples.DENSE))),
    "safetensors, stacked": Target(
        samples.write_safetensors, lambda path: load_stacked_params(path, ops.layer_map(samples.ROW), 1)
    ),
    "tokenizer": Target(samples.write_tokenizer, lambda path: encode(_texts(), _texts(), str(path)), text=True),
    "tokenizer, pairs": Target(samples.write_bpe, lambda path: encode(_texts(), _texts(), str(path)), text=True),
    "gpt2 config": Target(
        functools.partial(samples.write_gpt2, changed="config.json"),
        lambda path: models.gpt2.gpt2_options(path.parent),
        text=True,
    ),
    "gpt2 weights": Target(
        functools.partial(samples.write_gpt2, changed="model.safetensors"),
        lambda path: models.gpt2.load_gpt2(path.parent),
    ),
    "partition file": Target(samples.write_partition, lambda path: apply_partition(data.load_dataset("digits"), path)),
}


def _content(path: Path) -> bytes:
    """Read a file for a reader of bytes, whose callers take plain files alone."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file")
    return path.read_bytes()


def _texts() -> Ragged:
    return Ragged.of_texts(["the day", "the the"])
