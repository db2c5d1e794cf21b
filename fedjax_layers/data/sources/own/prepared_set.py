"""The reader of classification or regression sets that the user has prepared with TFDS, without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.sources.own.arrays import OwnTask, Scaling, from_arrays
from fedjax_layers.data.tables.columns import Ragged, Tables
from fedjax_layers.data.tables.files import resolve_data_dir
from fedjax_layers.data.tables.parts import Examples, take_parts
from fedjax_layers.data.tables.prepared import newest, read_splits
from fedjax_layers.data.tables.source import Source
from fedjax_layers.data.text.encoding import encode, pad_to
from fedjax_layers.options import unknown_name


def _tfds(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    prepared: str,
    split: str = "train",
    input: str = "image",  # noqa: A002  (what TFDS calls the first of its supervised keys)
    label: str = "label",
    client: str = "",
    task: str = "auto",
    preprocess: str = "auto",
    length: int = 128,
    tokens: str = "byte",
    vocabulary: int | None = None,
    limit: int | None = None,
) -> Dataset:
    """Read a data set prepared by TFDS as array_record, e.g. ``prepared="kmnist"`` or ``prepared="emnist/balanced"``.

    Pictures of one size are ``[N, H, W, C]`` uint8, texts ``[N, T]`` tokens, tensors unchanged. TFDS shuffles
    what it writes: ``example_ids`` count its order. Nothing is downloaded.

    Args:
      data_dir: folder to which TFDS has written; see :func:`~fedjax_layers.data.resolve_data_dir`.
      prepared: name, configuration and version as in TFDS, the last two optional; the newest version is taken.
      split: official part, or ``"all"``.
      input: feature that a model reads.
      label: feature to predict.
      client: feature that names the natural client; empty where there is none.
      task: ``"auto"`` takes a float label for a regression and all others for a classification.
      preprocess: how a model reads pictures and tensors: ``"auto"``, ``"none"``, ``"scale"`` or ``"standardise"``.
      length: T, the number of tokens of a text; longer ones are cut, shorter ones padded with 0.
      tokens: units of a text: ``"byte"``, ``"char"`` or ``"word"``.
      vocabulary: largest number of different characters or words of texts.
      limit: number of first examples to take; ``None`` takes all.

    Raises:
      FileNotFoundError: nothing is prepared there, or not as array_record.
      ValueError: no such split or feature (the message names those there are), or pictures of several sizes.
    """
    folder = _prepared_folder(resolve_data_dir(data_dir), str(prepared))
    where = f"TFDS {prepared}"
    tables, names = _tables(folder, {"input": input, "label": label, "client": client}, where)
    examples = take_parts(tables, split, limit)
    inputs = examples.columns["input"]
    if isinstance(inputs, Ragged):
        # The vocabulary comes from the training part, whichever part is loaded.
        training = tables["train"]["input"] if "train" in tables else inputs
        assert isinstance(training, Ragged)
        texts, _ = encode(inputs, training, tokens, vocabulary)
        inputs, preprocess = pad_to(texts, length), "none"
    return from_arrays(
        inputs,
        _values(examples, "label"),
        _values(examples, "client") if client else None,
        name="tfds",
        task=cast(OwnTask, task),
        classes=names,
        preprocess=cast(Scaling, preprocess),
        example_ids=examples.ids,
        official_test=examples.official_test,
        source=f"{where} ({folder})",
        licence="that of the data set",
    )


def _prepared_folder(data_dir: Path, name: str) -> Path:
    folder = data_dir / name
    found = folder if (folder / "dataset_info.json").is_file() else newest(folder)
    if found is None:
        there = ", ".join(sorted(p.name for p in data_dir.iterdir() if newest(p))) if data_dir.is_dir() else ""
        raise FileNotFoundError(
            f"prepared: expected a data set prepared by TFDS in {data_dir}, found no {name!r}; "
            f"prepared there: {there or 'none'}"
        )
    return found


def _tables(folder: Path, wanted: Mapping[str, str], where: str) -> tuple[Tables, tuple[str, ...]]:
    """Read the wanted features of each split, and the classes' names where the label has names."""
    tables = {}
    for split, features in read_splits(folder).items():
        for option, feature in wanted.items():
            if feature and feature not in features:
                raise unknown_name(f"{option}: feature of {where}", feature, features)
        tables[split] = {
            option: _column(features[feature], f"{where}, {split}, feature {feature}")
            for option, feature in wanted.items()
            if feature
        }
    return tables, _class_names(folder, wanted["label"])


def _column(entries: list[Any], where: str) -> np.ndarray | Ragged:
    if not entries:
        raise ValueError(f"{where}: expected at least one example, found none")
    first = entries[0]
    if isinstance(first, (bytes, str)):
        return Ragged.of_texts(entry.decode() if isinstance(entry, bytes) else entry for entry in entries)
    if isinstance(first, (dict, list)):
        raise ValueError(f"{where}: expected a picture, a text or numbers, found a {type(first).__name__}")
    shapes = [np.shape(entry) for entry in entries]
    other = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is not None:
        expected = f"entries of one shape, {shapes[0]} as the first"
        raise ValueError(f"{where}: expected {expected}, found {shapes[other]} in row {other}")
    return np.stack(entries)


def _class_names(folder: Path, label: str) -> tuple[str, ...]:
    import tensorflow_datasets as tfds  # noqa: PLC0415  (slow to import)

    return tuple(getattr(tfds.builder_from_directory(folder).info.features[label], "names", None) or ())


def _values(examples: Examples, column: str) -> np.ndarray:
    entries = examples.columns[column]
    return np.array(entries.texts()) if isinstance(entries, Ragged) else entries


TFDS = Source(
    name="tfds",
    title="a set that you have prepared with TFDS",
    task="classification",
    licence="that of the data set",
    citation="that of the data set",
    build=_tfds,
    clients="feature",
    own=True,
    obtain="prepared names what TFDS has written to the data folder with file_format='array_record'",
)
