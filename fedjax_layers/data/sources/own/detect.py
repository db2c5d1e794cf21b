"""Which reader a user's own data need, by the names and the contents of their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedjax_layers.data.formats.arrow_files import parquet_schema
from fedjax_layers.data.sources.own.held_out import part_folders
from fedjax_layers.data.sources.own.hugging_face.columns import features_of
from fedjax_layers.data.sources.own.hugging_face.pieces import ARROW, PARQUET, find_pieces
from fedjax_layers.data.sources.own.pfllib.convert import is_pickled_tree, refusal
from fedjax_layers.data.sources.own.picture_files import SUFFIXES, entries
from fedjax_layers.options import unknown_name

OWN = "own"
"""The name that stands for whichever reader fits."""
FORMATS = ("client_folder", "csv", "huggingface", "image_folder", "npz", "parquet", "tff")
_TEXTS = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".csv.lz4")
_DATABASES = (".sqlite", ".sqlite.lzma", ".sqlite.xz")


def resolve(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Replace the name ``own`` by that of the reader that fits the data; return other names unchanged.

    Args:
      name: name of the data set.
      options: its options, among them ``path`` and perhaps ``format``, which says the reader.

    Returns:
      The name of the reader, and the options without ``format``.

    Raises:
      FileNotFoundError: there is nothing at ``path``.
      ValueError: no path is given, the format is unknown, or nothing fits.
    """
    if name != OWN:
        return name, dict(options)
    bare = {key.removeprefix("data."): key for key in options}
    if "path" not in bare or not str(options[bare["path"]]):
        raise ValueError("path: expected the file or the folder of your own data, got none")
    given = options[bare["format"]] if "format" in bare else "auto"
    if given != "auto" and given not in FORMATS:
        raise unknown_name("format", given, ("auto", *FORMATS))
    found = detect(Path(str(options[bare["path"]])).expanduser()) if given == "auto" else str(given)
    return found, {key: value for key, value in options.items() if key != bare.get("format")}


def detect(path: Path) -> str:
    """Find the reader for a file or a folder.

    Raises:
      FileNotFoundError: there is nothing at ``path``.
      ValueError: no reader fits, or the files are pickled.
    """
    if not path.exists():
        raise FileNotFoundError(f"path: expected a file or a folder, found nothing at {path}")
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if not found:
        known = "a file .csv, .parquet, .arrow, .npz or .sqlite, or a folder of such files or of pictures"
        raise ValueError(f"{path}: expected {known}, found another; format (--format) says the reader")
    return found


def _of_file(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(PARQUET):
        schema, _ = parquet_schema(path)
        described = b"huggingface" in (schema.metadata or {}) or any(
            feature.form in ("pictures", "arrays") for feature in features_of(schema, path).values()
        )
        return "huggingface" if described else "parquet"
    endings = {_TEXTS: "csv", ARROW: "huggingface", (".npz",): "npz", _DATABASES: "tff"}
    return next((reader for ends, reader in endings.items() if name.endswith(ends)), "")


def _of_folder(folder: Path) -> str:
    if is_pickled_tree(folder):
        raise refusal(folder)
    inside = list(entries(folder, folder))
    parts = part_folders(inside)
    inner = [path for part in parts for path in entries(part, folder)] if parts else inside
    if inner and all(path.is_dir() for path in inner):
        for below in entries(inner[0], folder):
            if below.suffix.lower() in SUFFIXES and below.is_file():
                return "image_folder"
            if below.suffix.lower() in (".csv", ".npz") or (below.is_dir() and _has_pictures(below, folder)):
                return "client_folder"
    try:
        find_pieces(folder)
    except (ValueError, FileNotFoundError) as error:
        if "expected Parquet files" in str(error):
            return ""
    return "huggingface"


def _has_pictures(folder: Path, root: Path, depth: int = 1) -> bool:
    """Return whether a folder, or one in it, has pictures: classes, or the parts of a client with classes."""
    for path in entries(folder, root):
        if path.is_dir():
            return depth > 0 and _has_pictures(path, root, depth - 1)
        if path.suffix.lower() in SUFFIXES:
            return True
    return False
