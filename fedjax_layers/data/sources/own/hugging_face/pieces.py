"""The files of a data set in the shapes of Hugging Face, each with its split and its client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedjax_layers.data.sources.own.held_out import part_of, part_of_split
from fedjax_layers.data.sources.own.picture_files import entries
from fedjax_layers.data.tables.files import resolve_inside

PARQUET = (".parquet", ".pq")
ARROW = (".arrow",)
_SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")
_PARTITION = re.compile(r"partition[_-]?(\d+)")
_DEPTH = 4  # folders below the named one in which files are looked for


class Piece(NamedTuple):
    """One file.

    Attributes:
      path: the file.
      split: name of its split; empty where nothing names it.
      client: the client that owns its examples; empty where nothing says.
      place: the folder of its split and client.
    """

    path: Path
    split: str
    client: str
    place: Path


def is_saved(folder: Path) -> bool:
    """Return whether a folder is one that ``datasets.save_to_disk`` wrote for one split."""
    return (folder / "state.json").is_file()


def find_pieces(root: Path) -> list[Piece]:
    """Find the files of a data set, in order.

    Args:
      root: a Parquet or Arrow file, or a folder: of Parquet shards, one of ``save_to_disk``, or one with such a folder
        for each split or each client.

    Raises:
      FileNotFoundError: there is nothing at ``root``.
      ValueError: no such file is there, a shard is missing, there are several configurations, a description is
        malformed, or a path leaves ``root``.
    """
    if not root.exists():
        raise FileNotFoundError(f"path: expected a file or a folder, found nothing at {root}")
    if not root.is_dir():
        if root.suffix.lower() not in (*PARQUET, *ARROW):
            raise ValueError(f"{root}: expected a Parquet file, an Arrow file or a folder, found another file")
        return [Piece(root, "", "", root.parent)]
    pieces = list(_saved(root, root, "", "", 0)) or _shards(root)
    if not pieces:
        found = ", ".join(path.name for path in list(entries(root, root))[:5]) or "an empty folder"
        expected = "Parquet files, or folders of datasets.save_to_disk (state.json, data-*.arrow)"
        raise ValueError(f"{root}: expected {expected}, found {found}")
    return pieces


def _saved(root: Path, folder: Path, split: str, client: str, depth: int) -> Iterator[Piece]:
    """Iterate over the Arrow files of ``save_to_disk`` folders."""
    if is_saved(folder):
        for path in _data_files(root, folder):
            yield Piece(path, split, client, folder)
        return
    if (folder / "dataset_dict.json").is_file():
        for name in _split_names(folder):
            inside = resolve_inside(root, (folder.relative_to(root) / name).as_posix())
            if not is_saved(inside):
                raise FileNotFoundError(f"{folder}: expected the split {name} with its state.json, found none")
            yield from _saved(root, folder / name, name, client, depth + 1)
        return
    found = [path for path in entries(folder, root) if path.is_dir()] if depth < _DEPTH else []
    parts = bool(found) and all(part_of(path.name) for path in found)
    for path in found:
        if parts and not split:
            yield from _saved(root, path, path.name, client, depth + 1)
        else:
            partition = _PARTITION.fullmatch(path.name)
            own = partition[1] if partition else path.name
            yield from _saved(root, path, split, f"{client}/{own}" if client else own, depth + 1)


def _data_files(root: Path, folder: Path) -> list[Path]:
    """List the Arrow files that a folder's ``state.json`` names."""
    file = folder / "state.json"
    state = read_json(file)
    listed = state.get("_data_files")
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in _list_of(listed)]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{file}: expected _data_files with a filename each, found {str(listed)[:100]!r}")
    if state.get("_indices_data_files"):
        raise ValueError(f"{file}: expected the rows themselves, found a choice of them; flatten_indices() makes it")
    return [_inside(root, folder, str(name)) for name in names]


def _inside(root: Path, folder: Path, name: str) -> Path:
    resolve_inside(folder, name)
    resolve_inside(root, (folder.relative_to(root) / name).as_posix())
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder}: expected the file {name}, which its state.json names, found none")
    return folder / name


def _split_names(folder: Path) -> list[str]:
    file = folder / "dataset_dict.json"
    names = _list_of(read_json(file).get("splits"))
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{file}: expected different names of splits, found {str(names)[:100]!r}")
    return names


def _list_of(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of a JSON file.

    Raises:
      ValueError: the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected JSON, could not read it ({reason})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object of JSON, found {type(content).__name__}")
    return content


def _shards(root: Path) -> list[Piece]:
    """Find the Parquet files below a folder, with the splits that their names say."""
    files = [path for path in _files(root, root, 0) if path.suffix.lower() in PARQUET]
    pieces = [Piece(path, _split_of(path), "", path.parent) for path in files]
    for piece in pieces:
        other = next(p for p in pieces if p.split == piece.split)
        if other.place != piece.place:
            raise ValueError(
                f"{root}: expected one configuration, found the split {piece.split} in {other.place.name} and in "
                f"{piece.place.name}; path can name one of these folders"
            )
    _check_complete(pieces)
    return sorted(pieces, key=lambda piece: (_order(piece.split), piece.split, piece.path.name))


def _files(root: Path, folder: Path, depth: int) -> Iterator[Path]:
    for path in entries(folder, root):
        if path.is_dir():
            yield from _files(root, path, depth + 1) if depth < _DEPTH else ()
        elif path.is_file():
            yield path


def _split_of(path: Path) -> str:
    """Return the split that a file's name says: ``train-00000-of-00002``, ``train``, or ``train/0000``."""
    shard = _SHARD.fullmatch(path.stem)
    name = shard["split"] if shard else path.stem
    return path.parent.name if name.isdigit() else name


def _check_complete(pieces: Sequence[Piece]) -> None:
    """Raise ``ValueError`` if a shard is missing."""
    numbers: dict[str, set[int]] = {}
    counts: dict[str, int] = {}
    for piece in pieces:
        shard = _SHARD.fullmatch(piece.path.stem)
        if shard:
            numbers.setdefault(piece.split, set()).add(int(shard["number"]))
            counts[piece.split] = int(shard["count"])
    for split, count in counts.items():
        missing = next((i for i in range(count) if i not in numbers[split]), None)
        if missing is not None:
            place = next(piece.place for piece in pieces if piece.split == split)
            expected = f"{count} files of the split {split}"
            raise ValueError(f"{place}: expected {expected}, found no {split}-{missing:05}-of-{count:05}")


def _order(split: str) -> int:
    return {"train": 0, "test": 2}.get(part_of_split(split) or "", 1)


def clients_of(pieces: Sequence[Piece], rows: Sequence[int]) -> np.ndarray | None:
    """Return the client of each row, ``[N]`` texts; ``None`` where no folder names clients."""
    names = [piece.client for piece in pieces]
    return np.repeat(names, rows) if any(names) else None
