"""The reader of a user's own data in the shapes of Hugging Face."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.arrow_files import (
    parquet_schema,
    read_parquet_table,
    read_stream_table,
    stream_schema,
)
from fedjax_layers.data.sources.own.arrays import Missing, OwnTask, Scaling
from fedjax_layers.data.sources.own.held_out import chosen_splits
from fedjax_layers.data.sources.own.hugging_face.cells import stacked_arrays, stacked_pictures, with_class_names
from fedjax_layers.data.sources.own.hugging_face.columns import Feature, checked_features, features_of
from fedjax_layers.data.sources.own.hugging_face.pieces import (
    PARQUET,
    Piece,
    clients_of,
    find_pieces,
    read_json,
)
from fedjax_layers.data.sources.own.names import option_names
from fedjax_layers.data.sources.own.table import Table, join_tables, table_of
from fedjax_layers.data.sources.own.table_dataset import (
    MAX_CATEGORIES,
    TableOptions,
    labelled_dataset,
    table_dataset,
)
from fedjax_layers.data.tables.source import Found, Source
from fedjax_layers.data.text.encoding import encode_rows

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "huggingface"


def _hugging_face(
    *,
    path: str,
    split: tuple[str, ...] = (),
    input: str = "auto",  # noqa: A002  (the word of TFDS, as in the data set tfds)
    label: str = "auto",
    client: str = "",
    size: tuple[int, ...] = (),
    grey: bool | None = None,
    length: int = 128,
    tokens: str = "byte",
    vocabulary: int | None = None,
    features: tuple[str, ...] = (),
    task: str = "auto",
    missing: str = "error",
    missing_values: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    max_categories: int = MAX_CATEGORIES,
    preprocess: str = "auto",
) -> Dataset:
    """Read Parquet shards, folders of ``datasets.save_to_disk``, or one such folder for each client (flwr-datasets).

    Models read pictures ``[N, H, W, 1 or 3]`` uint8, arrays ``[N, ...]``, texts ``[N, T]`` tokens, or a table of
    columns ``[N, D]`` float32, standardised. The split test is set apart for testing. ``example_ids`` count the rows of
    all splits that are read, in the files' order, those of test last.

    Args:
      path: a Parquet or Arrow file, or a folder of shards, of ``save_to_disk``, or of such folders by split or client.
      split: names of the splits to read; empty takes all if they are called train, validation or test.
      input: column that a model reads; ``"auto"`` takes the only one of pictures, or else of arrays, or else of texts
        that is no label or client if no column has numbers; where there is none, all columns are a table.
      label: column with the class or the target; ``"auto"`` takes the only one of named classes, or else ``label``.
      client: column with the natural client, read as text.
      size: height and width to scale pictures to; needed where they differ.
      grey: whether pictures get one channel in place of three; ``None`` where all are stored in grey.
      length: T, the number of tokens of a text; longer ones are cut, shorter ones padded with 0.
      tokens: units of a text: ``"byte"``, ``"char"`` or ``"word"``, or the path of a ``tokenizer.json``.
      vocabulary: largest number of different characters or words of texts.
      features: columns of a table that are inputs; empty takes all but label and client.
      task: kind of prediction, as in ``csv``; named classes are always a classification.
      missing: what to do about missing values, as in ``csv``.
      missing_values: further texts that stand for a missing value in columns of texts.
      kinds: overrides for columns of a table, like ``"age:number"`` and ``"ward:category"``.
      classes: the classes in order; empty takes those that the files name, or else the sorted labels.
      max_categories: largest number of values of one category column.
      preprocess: how a model reads pictures and arrays: ``"auto"``, ``"none"``, ``"scale"`` or ``"standardise"``.

    Raises:
      FileNotFoundError: there is nothing at ``path``, or a file that a description names is missing.
      ValueError: a file is damaged, would fill the memory or leads out of ``path``; files differ in columns; a column,
        split or class is unknown; or a cell does not fit its column.
    """
    root = Path(str(path)).expanduser()
    pieces, of_test = _chosen(root, option_names(split))
    known = described(pieces[0])
    roles = choose_roles(known, str(input), str(label), str(client), option_names(features), pieces)
    _check_alike(pieces, known, roles.columns)
    read = [_read(piece, roles.columns) for piece in pieces]
    rows = [table.num_rows for table in read]
    if not sum(rows):
        raise ValueError(f"{root}: expected at least one row, found none")
    filled = [(piece.path, table) for piece, table in zip(pieces, read, strict=True) if table.num_rows]
    shown = [table_of(file, table.select(roles.beside), option_names(missing_values)) for file, table in filled]
    whole, clients = join_tables([with_class_names(table, known) for table in shown]), clients_of(pieces, rows)
    options = TableOptions(
        label=roles.label,
        client=roles.client,
        features=roles.features,
        task=cast(OwnTask, task),
        missing=cast(Missing, missing),
        kinds=option_names(kinds),
        classes=option_names(classes) or known[roles.label].names,
        max_categories=max_categories,
        test_column="none",
    )
    test = np.repeat(of_test, rows)
    if not roles.input:
        return table_dataset(NAME, whole, options, clients, test)
    parts = [(file, table.column(roles.input)) for file, table in filled]
    form, scaling = known[roles.input].form, cast(Scaling, preprocess)
    if form == "pictures":
        inputs = stacked_pictures(parts, roles.input, size, grey)
    elif form == "texts":
        inputs, scaling = _texts(whole, roles.input, test, length, str(tokens), vocabulary), "none"
    else:
        inputs = stacked_arrays(parts, roles.input, known[roles.input].shape)
    gaps = {roles.input: np.isnan(inputs).any(axis=tuple(range(1, inputs.ndim)))} if inputs.dtype.kind == "f" else {}
    return labelled_dataset(NAME, whole, options, inputs, gaps, clients, test, scaling)


def _chosen(root: Path, asked: Sequence[str]) -> tuple[list[Piece], list[bool]]:
    """Find the pieces of the asked splits, with flags on those that are set apart for testing, which come last."""
    found = find_pieces(root)
    splits = chosen_splits(list(dict.fromkeys(piece.split for piece in found)), asked)
    pieces = sorted((piece for piece in found if piece.split in splits), key=lambda piece: splits[piece.split])
    return pieces, [splits[piece.split] for piece in pieces]


def describe(path: Path) -> Found:
    """Say which splits, clients and columns are there."""
    pieces = find_pieces(path)
    splits: dict[str, int] = {}
    for piece in pieces:
        is_parquet = piece.path.suffix.lower() in PARQUET
        rows = parquet_schema(piece.path)[1] if is_parquet else _read(piece, ()).num_rows
        splits[piece.split or "data"] = splits.get(piece.split or "data", 0) + rows
    columns = {name: feature.told for name, feature in described(pieces[0]).items()}
    return Found(splits, len({piece.client for piece in pieces} - {""}), columns)


class Roles(NamedTuple):
    """The columns to read.

    Attributes:
      input: the column that a model reads; empty for a table.
      label: the column to predict.
      client: the column that names clients; empty where there is none.
      features: the columns of a table.
      columns: all of them.
      beside: those that are read as a table.
    """

    input: str
    label: str
    client: str
    features: tuple[str, ...]
    columns: tuple[str, ...]
    beside: tuple[str, ...]


def described(piece: Piece) -> dict[str, Feature]:
    """Describe the columns of a file, from its schema and from a ``dataset_info.json`` beside it."""
    if piece.path.suffix.lower() in PARQUET:
        return features_of(parquet_schema(piece.path)[0], piece.path)
    info = piece.place / "dataset_info.json"
    declared = checked_features(read_json(info).get("features"), info) if info.is_file() else {}
    return features_of(stream_schema(piece.path), piece.path, declared)


def choose_roles(
    known: Mapping[str, Feature],
    wanted: str,
    label: str,
    client: str,
    features: tuple[str, ...],
    pieces: Sequence[Piece],
) -> Roles:
    """Choose the columns of input, label and client.

    Raises:
      ValueError: a name is unknown, no column or several could have a role, or a column has two.
    """
    where, told = pieces[0].path, ", ".join(f"{name} ({feature.told})" for name, feature in known.items())
    named = {"input": wanted if wanted != "auto" else "", "label": label if label != "auto" else "", "client": client}
    for role, names in {**{role: (name,) for role, name in named.items()}, "features": features}.items():
        for name in names:
            if name and name not in known:
                raise ValueError(f"{role}: expected a column of {where}, got {name!r}; its columns are {told}")
    if client and any(piece.client for piece in pieces):
        raise ValueError(
            f"client: expected no column beside folders of clients ({pieces[0].client}, ...), got {client!r}"
        )
    label = named["label"] or _found_label(known, (named["input"], client, *features))
    if not label:
        raise ValueError(f"label: expected the name of a column of {where}, whose columns are {told}")
    taken = [name for name in (named["input"], label, client) if name]
    if len(set(taken)) < len(taken) or set(taken) & set(features):
        raise ValueError(
            f"input, label, client, features: expected different columns, got {', '.join((*taken, *features))}"
        )
    chosen = named["input"] or ("" if features else _found_input(known, (label, client)))
    if chosen and known[chosen].form not in ("pictures", "arrays", "texts"):
        chosen, features = "", (chosen, *features)
    beside = tuple(name for name in (label, client) if name)
    if not chosen:
        beside = (*beside, *features) if features else tuple(known)
    elif known[chosen].form == "texts":
        beside = (*beside, chosen)
    return Roles(chosen, label, client, features, tuple({*beside, chosen} - {""}), beside)


def _found_label(known: Mapping[str, Feature], taken: Collection[str]) -> str:
    """Find the only column of named classes, or else one called label."""
    classes = [name for name, feature in known.items() if feature.form == "classes" and name not in taken]
    return classes[0] if len(classes) == 1 else "label" if "label" in known and "label" not in taken else ""


def _found_input(known: Mapping[str, Feature], taken: Collection[str]) -> str:
    """Find the only column of pictures, or else of arrays, or else of texts if no other column could be an input."""
    left = {name: feature.form for name, feature in known.items() if name not in taken}
    for form in ("pictures", "arrays", "texts"):
        found = [name for name, one in left.items() if one == form]
        if form == "texts" and set(left.values()) - {"texts", "other"}:
            return ""
        if len(found) == 1:
            return found[0]
        if found and form != "texts":
            raise ValueError(f"input: expected the name of one column of {form}, found {', '.join(found)}")
    return ""


def _check_alike(pieces: Sequence[Piece], known: Mapping[str, Feature], columns: Collection[str]) -> None:
    """Raise ``ValueError`` if a file has other columns than the first one."""
    for piece in pieces[1:]:
        own = described(piece)
        for name in columns:
            if name not in own:
                raise ValueError(f"{piece.path}: expected the columns of {pieces[0].path}, found no {name!r}")
            if (own[name].form, own[name].names) != (known[name].form, known[name].names):
                expected = f"{known[name].told} as in {pieces[0].path}"
                raise ValueError(f"{piece.path}, column {name}: expected {expected}, found {own[name].told}")


def _read(piece: Piece, columns: Collection[str]) -> pa.Table:
    reader: Any = read_parquet_table if piece.path.suffix.lower() in PARQUET else read_stream_table
    return reader(piece.path, columns)


def _texts(table: Table, column: str, test: np.ndarray, length: int, tokens: str, vocabulary: int | None) -> np.ndarray:
    """Encode a column of texts, ``[N, T]`` tokens; words and characters are those of the rows for training."""
    cells = table.columns[column].to_pylist()
    for row, cell in enumerate(cells):
        if cell is None:
            raise ValueError(f"{table.where(row, column)}: expected a text, found none")
    return encode_rows(cells, test, length, tokens, vocabulary)


HUGGINGFACE = Source(
    name=NAME,
    title="data of your own in Hugging Face's shapes: Parquet shards, save_to_disk, flwr partitions",
    task="classification",
    licence="the user's own",
    citation="the user's own",
    build=_hugging_face,
    describe=describe,
    clients="column or folder",
    own=True,
    obtain="path names a Parquet file or a folder: of shards, of datasets.save_to_disk, or of partition_<i>",
)
