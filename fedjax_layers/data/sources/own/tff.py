"""The reader of SQLite files of TensorFlow Federated (``tff.simulation.datasets``), in which every client is named.

Source: ``sql_client_data.py`` of TensorFlow Federated: a table ``examples`` of split_name, client_id and
serialized_example_proto, and a table ``client_metadata``.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.growth import check_growth
from fedjax_layers.data.formats.sqlite_files import check_columns, open_database, rows_of
from fedjax_layers.data.formats.tf_example import Values, parse_example
from fedjax_layers.data.sources.own.arrays import Missing, OwnTask, Scaling, from_arrays
from fedjax_layers.data.sources.own.held_out import chosen_splits
from fedjax_layers.data.sources.own.names import option_names
from fedjax_layers.data.sources.own.picture_files import Picture, are_grey, decode_pictures
from fedjax_layers.data.tables.source import Found, Source
from fedjax_layers.data.text.encoding import encode_rows

_COLUMNS = ("split_name", "client_id", "serialized_example_proto")
_EXAMPLES = "SELECT client_id, serialized_example_proto FROM examples NOT INDEXED WHERE split_name = ? ORDER BY rowid"
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")
_CHANNELS = (1, 3)


def _tff(
    *,
    path: str,
    split: tuple[str, ...] = (),
    input: str = "auto",  # noqa: A002  (as in the data set tfds)
    label: str = "label",
    shape: tuple[int, ...] = (),
    size: tuple[int, ...] = (),
    grey: bool | None = None,
    length: int = 128,
    tokens: str = "byte",
    vocabulary: int | None = None,
    task: str = "auto",
    missing: str = "error",
    classes: tuple[str, ...] = (),
    preprocess: str = "auto",
) -> Dataset:
    """Read an SQLite file of TensorFlow Federated; each of its clients is a natural client.

    The split test is set apart for testing. ``example_ids`` count the rows that are read, those of test last.

    Args:
      path: the file, ``.sqlite`` or ``.sqlite.lzma``.
      split: names of the splits to read; empty takes all if they are called train, validation or test.
      input: feature that a model reads; ``"auto"`` takes the only one besides the label, or else one called pixels or
        image.
      label: feature with the class or the target.
      shape: shape of the input's numbers; empty makes square pictures of a feature called pixels or image, and leaves
        others as they are stored, in one row.
      size: height and width to scale encoded pictures to; needed where they differ.
      grey: whether encoded pictures get one channel in place of three; ``None`` where all are stored in grey.
      length: T, the number of tokens of a text; longer ones are cut, shorter ones padded with 0.
      tokens: units of a text, as in ``huggingface``.
      vocabulary: largest number of different characters or words of texts.
      task: kind of prediction; ``"auto"`` takes a float label for a regression and all others for a classification.
      missing: what to do about NaN in the inputs: ``"error"``, ``"drop"`` or ``"mean"``.
      classes: the classes in order; empty takes the sorted labels.
      preprocess: how a model reads pictures and numbers: ``"auto"``, ``"none"``, ``"scale"`` or ``"standardise"``.

    Raises:
      FileNotFoundError: there is no file at ``path``.
      ValueError: the file is no such database, is damaged or would fill the memory; a split or feature is unknown; or
        examples differ in shape.
    """
    file = Path(str(path)).expanduser()
    rows = _read(file, option_names(split), str(input), str(label))
    scaling = cast(Scaling, preprocess)
    if isinstance(rows.inputs, np.ndarray):
        inputs = _shaped(rows.inputs, rows.input, shape)
    elif rows.inputs[0].startswith(_PICTURES):
        pictures = [Picture(rows.where(i), rows.where(i), content.__bytes__) for i, content in enumerate(rows.inputs)]
        packed = sum(map(len, rows.inputs))
        grey = are_grey(pictures) if grey is None else grey
        inputs = decode_pictures(pictures, size, grey, lambda size: check_growth(file, size, packed))
    else:
        inputs, scaling = _tokens(rows, length, str(tokens), vocabulary), "none"
    try:
        return from_arrays(
            inputs,
            _labels(rows),
            rows.clients,
            name="tff",
            task=cast(OwnTask, task),
            classes=option_names(classes),
            preprocess=scaling,
            missing=cast(Missing, missing),
            official_test=rows.test if rows.test.any() else None,
            source=str(file),
        )
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


class _Rows(NamedTuple):
    """The examples: input and label of each, its client, and whether it is for testing; and the input's name."""

    inputs: np.ndarray | list[bytes]
    labels: np.ndarray | list[bytes]
    clients: list[str]
    test: np.ndarray
    input: str
    file: Path

    def where(self, row: int) -> str:
        """Name an example for messages."""
        return f"{self.file}, client {self.clients[row]}, row {row + 1}"


def _read(path: Path, asked: Sequence[str], wanted: str, label: str) -> _Rows:
    """Read the examples of the asked splits, those for testing last."""
    with open_database(path) as database:
        check_columns(database, path, "examples", _COLUMNS)
        numbers = split_sizes(database, path)
        splits = chosen_splits(sorted(numbers), asked)
        inputs, labels, clients, test = _Column(path), _Column(path), list[str](), list[bool]()
        count = sum(numbers[name] for name in splits)
        for name in sorted(splits, key=lambda name: (splits[name], name != "train", name)):
            for client, content in rows_of(database, path, _EXAMPLES, name):
                where = f"{path}, split {name}, client {client}"
                if not isinstance(client, (str, int)) or not isinstance(content, bytes):
                    raise ValueError(f"{where}: expected the client's name and the bytes of an example, found others")
                example = parse_example(content, where)
                wanted = chosen_input(example, wanted, label, where) if not clients else wanted
                for role, feature, column in (("input", wanted, inputs), ("label", label, labels)):
                    if feature not in example:
                        found = ", ".join(example) or "none"
                        raise ValueError(f"{where}: expected a feature {feature!r} for the {role}, found {found}")
                    column.add(example[feature], f"{where}, feature {feature}", count)
                clients.append(str(client))
                test.append(splits[name])
    if not clients:
        raise ValueError(f"{path}, table examples: expected at least one example, found none")
    return _Rows(inputs.done(), labels.done(), clients, np.array(test, bool), wanted, path)


def describe(path: Path) -> Found:
    """Say which splits, clients and features are there; the features are those of the first example."""
    with open_database(path) as database:
        check_columns(database, path, "examples", _COLUMNS)
        splits = split_sizes(database, path)
        (clients,) = next(rows_of(database, path, "SELECT count(DISTINCT client_id) FROM examples"))
        first = next(rows_of(database, path, "SELECT serialized_example_proto FROM examples LIMIT 1"), (b"",))[0]
    example = parse_example(first, f"{path}, first example") if isinstance(first, bytes) else {}
    columns = {
        name: f"{len(values)} {'texts' if isinstance(values, list) else values.dtype}"
        for name, values in sorted(example.items())
    }
    return Found(splits, clients, columns)


def split_sizes(database: sqlite3.Connection, path: Path) -> dict[str, int]:
    """Count the examples of each split."""
    sizes = dict(rows_of(database, path, "SELECT split_name, count(*) FROM examples GROUP BY split_name"))
    for name in sizes:
        if not isinstance(name, str):
            raise ValueError(f"{path}, table examples: expected names of splits, found {str(name)[:100]!r}")
    return sizes


class _Column:
    """The values of one feature, row by row in one array, which grows by the number of a split's rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.numbers: np.ndarray | None = None
        self.texts: list[bytes] = []

    def add(self, values: Values, where: str, more: int) -> None:
        """Add a row, before which ``more`` rows are expected if there is no room."""
        if isinstance(values, list):
            if len(values) != 1 or self.numbers is not None:
                raise ValueError(
                    f"{where}: expected one text or the numbers of the first example, found {len(values)} texts"
                )
            self.texts.append(values[0])
        else:
            if self.texts or (self.numbers is not None and self.numbers.shape[1:] != values.shape):
                expected = "one text" if self.numbers is None else f"{self.numbers.shape[1]} numbers"
                raise ValueError(f"{where}: expected {expected} as in the first example, found {len(values)} numbers")
            if self.numbers is None or self.rows == len(self.numbers):
                self.numbers = self._grown(values, more)
            self.numbers[self.rows] = values
        self.rows += 1

    def _grown(self, values: np.ndarray, more: int) -> np.ndarray:
        check_growth(self.path, (self.rows + more) * values.nbytes)
        room = np.empty((self.rows + max(1, more), *values.shape), values.dtype)
        if self.numbers is not None:
            room[: self.rows] = self.numbers
        return room

    def done(self) -> np.ndarray | list[bytes]:
        """Return all rows: ``[N, n]`` numbers, or texts."""
        return self.texts if self.numbers is None else self.numbers[: self.rows]


def chosen_input(example: Mapping[str, Values], wanted: str, label: str, where: str) -> str:
    """Choose the feature that a model reads.

    Raises:
      ValueError: it is not clear which one.
    """
    if wanted != "auto":
        return wanted
    others = [name for name in example if name != label]
    pictures = [name for name in others if _is_picture(name)]
    found = pictures if len(others) > 1 and len(pictures) == 1 else others
    if len(found) != 1:
        raise ValueError(f"input: expected the name of a feature of {where}, which has {', '.join(example) or 'none'}")
    return found[0]


def _is_picture(name: str) -> bool:
    return any(word in ("pixels", "image") for word in name.lower().split("/"))


def _shaped(values: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Give numbers ``[N, n]`` the shape of the option, or that of a square picture; whole pixels become uint8."""
    number, picture = values.shape[1], _is_picture(name)
    if not shape and picture:
        sides = {channels: math.isqrt(number // channels) for channels in _CHANNELS}
        shape = next(((s, s, c) for c, s in sides.items() if s > 1 and s * s * c == number), ())
    if shape and math.prod(shape) != number:
        raise ValueError(f"shape: expected {number} numbers as feature {name} has, got {list(shape)}")
    if picture and values.dtype == np.int64 and 0 <= values.min(initial=0) <= values.max(initial=0) <= 255:
        values = values.astype(np.uint8)
    return values.reshape(len(values), *shape) if shape else values


def _labels(rows: _Rows) -> np.ndarray | list[str]:
    if isinstance(rows.labels, list):
        return [_text(content, rows, i, "label") for i, content in enumerate(rows.labels)]
    if rows.labels.shape[1] != 1:
        raise ValueError(f"{rows.file}: expected one label for each example, found {rows.labels.shape[1]}")
    return rows.labels[:, 0]


def _text(content: bytes, rows: _Rows, row: int, role: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{rows.where(row)}: expected UTF-8 in the {role}, found other bytes ({error})") from error


def _tokens(rows: _Rows, length: int, tokens: str, vocabulary: int | None) -> np.ndarray:
    """Encode texts, ``[N, T]`` tokens; words and characters are those of the rows for training."""
    texts = [_text(content, rows, i, "input") for i, content in enumerate(rows.inputs)]
    return encode_rows(texts, rows.test, length, tokens, vocabulary)


TFF = Source(
    name="tff",
    title="an SQLite file of TensorFlow Federated",
    task="classification",
    licence="that of the data set",
    citation="that of the data set",
    build=_tff,
    describe=describe,
    clients="client",
    own=True,
    obtain="path names a file .sqlite or .sqlite.lzma with the tables examples and client_metadata",
)
