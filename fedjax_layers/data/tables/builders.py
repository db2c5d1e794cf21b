"""TFDS builders for the registered data sets, which write array_record files without TensorFlow."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fedjax_layers.data.tables.columns import Column, Ragged, Table, Tables
from fedjax_layers.data.tables.files import SourceFile, find_files, sha256_of
from fedjax_layers.data.tables.prepared import PREFIX
from fedjax_layers.data.tables.source import Layout, Source

# TFDS has checksums of its own for some addresses, but for none with a fragment, which is not sent to the server. With
# a fragment, files are compared with our checksum only, and errors are ours.
_FRAGMENT = "#ours"
_PATIENCE = 20.0  # seconds to wait for a server's answer


class FederatedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The builder that writes the tables of one data set; :func:`prepare` makes it.

    Every record has the columns of the set (natural client and group among them) and ``id``, its row in the split.
    Pictures are passed as PIL images, since TFDS needs TensorFlow to encode arrays.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # otherwise TFDS looks for its own source with importlib_resources, which may be missing

    def __init__(self, source: Source, tables: Tables, data_dir: Path) -> None:
        self.name = PREFIX + source.name
        self._source = source
        self._tables = tables
        super().__init__(data_dir=data_dir, version=source.version, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {name: _feature(column) for name, column in self._source.columns.items()}
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self._source.title}. Licence: {self._source.licence}.",
            citation=self._source.citation,
            features=tfds.features.FeaturesDict({"id": tfds.features.Scalar(np.int64), **features}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # files have been found, downloaded and checked already
        return {split: self._generate_examples(table) for split, table in self._tables.items()}

    def _generate_examples(self, table: Table) -> Iterator[tuple[int, dict[str, Any]]]:
        columns = self._source.columns
        for row in range(len(next(iter(table.values())))):
            entries = {name: _encode(table[name], row, column) for name, column in columns.items()}
            yield row, {"id": row, **entries}


def prepare(source: Source, data_dir: Path, out: Path) -> FederatedBuilder:
    """Write a data set as TFDS array_record data, unless it exists already.

    Args:
      source: the data set.
      data_dir: folder with the set's files, see :meth:`Source.tables`.
      out: folder to which TFDS writes, ``<out>/federated_<name>/<version>``. An interrupted call leaves nothing there.

    Returns:
      The builder, whose ``as_data_source(split)`` reads the written data.

    Raises:
      FileNotFoundError: files are missing.
      ValueError: a file is damaged.
    """
    tables, _ = source.tables(data_dir)
    final = out / (PREFIX + source.name) / source.version
    if not final.is_dir():
        _no_progress_bar_in_files()
        out.mkdir(parents=True, exist_ok=True)
        # Everything is written under another name first, including the empty folders that TFDS makes.
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as unfinished:
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints the path of the unfinished data
                FederatedBuilder(source, tables, Path(unfinished)).download_and_prepare()
            final.parent.mkdir(exist_ok=True)
            try:
                (Path(unfinished) / final.relative_to(out)).rename(final)
            except OSError:
                if not final.is_dir():  # if it exists, another process has written it
                    raise
    return FederatedBuilder(source, tables, out)


def download(source: Source, data_dir: Path) -> Layout:
    """Download with TFDS the missing files of the first layout whose addresses are known.

    Files appear in ``data_dir`` one by one under their final names, each after its checksum has been compared.

    Raises:
      FileNotFoundError: no layout has an address for every missing file, or a download failed.
      ValueError: a downloaded file has another checksum than the registered one.
    """
    folder = source.place(data_dir)
    for layout in source.layouts:
        missing = set(find_files(folder, layout.files)[1])
        wanted = [file for file in layout.files if file.name in missing]
        if all(file.url for file in wanted):
            break
    else:
        raise FileNotFoundError(source.missing(data_dir))
    if wanted:
        _no_progress_bar_in_files()
        data_dir.mkdir(parents=True, exist_ok=True)
        beside = folder if folder.is_dir() else data_dir  # makes no folder that might stay empty
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=beside) as unfinished:
            manager = tfds.download.DownloadManager(download_dir=unfinished, dataset_name=source.name)
            for file in wanted:
                fetched = _fetch(manager, file)
                (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
                fetched.rename(folder / file.name)
    return layout


def _fetch(manager: tfds.download.DownloadManager, file: SourceFile) -> Path:
    try:
        _check_reachable(file.url)
        fetched = Path(manager.download(file.url + _FRAGMENT))
    except Exception as error:  # TFDS passes on errors of requests, urllib and servers
        reason = " ".join(str(error).replace(_FRAGMENT, "").split())[:200]
        raise FileNotFoundError(f"{file.url}: expected to download {file.name}, failed ({reason})") from error
    digest = sha256_of(fetched)
    if digest != file.sha256:
        size = fetched.stat().st_size
        raise ValueError(f"{file.url}: expected SHA-256 {file.sha256}, found {digest} ({size} bytes)")
    return fetched


def _check_reachable(url: str) -> None:
    """Raise an error at once if there is no network, where TFDS would retry for three minutes."""
    parts = urllib.parse.urlsplit(url)
    if not {parts.scheme, "all"} & urllib.request.getproxies().keys():  # a proxy connects to the server itself
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE).close()


def _no_progress_bar_in_files() -> None:
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()


def _feature(column: Column) -> Any:
    if column.kind == "image":
        return tfds.features.Image(shape=column.shape, encoding_format="png")
    if column.kind == "label":
        return tfds.features.ClassLabel(names=list(column.names))
    if column.kind == "text":
        return tfds.features.Text()
    # As bytes: TFDS would keep float64 as float32 otherwise, and takes a sequence apart, which is ten times slower.
    shape = (None,) if column.kind == "tokens" else column.shape
    return tfds.features.Tensor(shape=shape, dtype=np.dtype(column.dtype).type, encoding=tfds.features.Encoding.BYTES)


def _encode(entries: np.ndarray | Ragged, row: int, column: Column) -> Any:
    entry = entries[row]
    if column.kind == "image":
        return Image.fromarray(entry[..., 0] if column.shape[-1] == 1 else entry)
    if column.kind == "text":
        return entry.tobytes().decode()
    if column.kind == "label":
        return int(entry)
    return entry


def counts(builder: FederatedBuilder) -> Mapping[str, int]:
    """Return the number of examples of each prepared split."""
    return {name: info.num_examples for name, info in builder.info.splits.items()}
