"""Fed-ISIC2019: skin lesions from six hospitals' dermatoscopes, as FLamby prepares them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset, present_clients
from fedjax_layers.data.formats.pictures import decode_picture
from fedjax_layers.data.formats.text_files import read_text
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.sources.own.names import option_names
from fedjax_layers.data.tables.columns import Ragged, Tables, label, tokens
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import Examples, take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.options import unknown_name

CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
CENTRES = ("BCN", "HAM_vidir_molemax", "HAM_vidir_modern", "HAM_rosendahl", "MSK", "HAM_vienna_dias")
_SPLIT_FILE = "train_test_split"
_FOLDER = "ISIC_2019_Training_Input_preprocessed"
_CELLS = ("image", "target", "center", "fold2")
_DRAW_SEED = 42  # seed of the draw of the images that ``max_per_centre`` keeps


def _fed_isic2019(
    tables: Tables,
    provenance: str,
    *,
    split: str = "all",
    centres: int = 6,
    classes: tuple[str, ...] = (),
    max_per_centre: int | None = None,
    size: int = 200,
) -> Dataset:
    """Make the set of dermatoscopic pictures ``[N, size, size, 3]`` uint8, eight kinds of lesion, from six centres.

    FLamby's pictures have a shorter side of 224 and keep their proportions; the square in the middle is taken. The
    natural clients are the centres.

    PLayer-FL takes the first four centres, four classes and 5,000 images per centre at most: ``centres=4``,
    ``classes=("BCC", "BKL", "MEL", "NV")``, ``max_per_centre=5_000``. Its draw of the 5,000 (only the first centre
    has more) depends on an order of the files that is not published; here it is a draw with a fixed seed. Mean and
    standard deviation are that paper's.

    Args:
      tables: columns ``jpeg`` (the file's bytes), ``label`` and ``centre``.
      provenance: line on the source of the data.
      split: official part, FLamby's by centre: ``"train"`` (18,597), ``"test"`` (4,650) or ``"all"``.
      centres: number of first centres to take.
      classes: kinds of lesion to take, in the order that numbers them; empty takes all eight.
      max_per_centre: largest number of images of a centre; ``None`` takes all.
      size: side of the square, in pixels.

    Raises:
      ValueError: an unknown split or class, or a number out of range.
    """
    if not 1 <= centres <= len(CENTRES):
        raise ValueError(f"centres: expected 1..{len(CENTRES)}, got {centres}")
    names = option_names(classes) or CLASSES
    for name in names:
        if name not in CLASSES:
            raise unknown_name("classes", name, CLASSES)
    if len(set(names)) < len(names):
        raise ValueError(f"classes: expected distinct names, got {', '.join(names)}")
    examples = take_parts(tables, split)
    place = np.array([names.index(name) if name in names else -1 for name in CLASSES])
    labels = place[examples.array("label")]
    rows = np.flatnonzero((labels >= 0) & (examples.array("centre") < centres))
    rows = _at_most(rows, examples.array("centre"), max_per_centre)
    clients, client_names = present_clients(examples.array("centre")[rows], CENTRES)
    test = examples.official_test
    return Dataset(
        name="fed_isic2019",
        inputs=_squares(examples, rows, size),
        labels=labels[rows].astype(np.int32),
        class_names=names,
        clients=clients,
        client_names=client_names,
        preprocess=Preprocess(scale=1 / 255, mean=(0.585, 0.500, 0.486), std=(0.229, 0.224, 0.225)),
        source=provenance,
        licence=FED_ISIC2019.licence,
        example_ids=examples.ids[rows],
        official_test=None if test is None else test[rows],
    )


def _at_most(rows: np.ndarray, centre: np.ndarray, limit: int | None) -> np.ndarray:
    """Draw at most ``limit`` rows of each centre, and return them in order."""
    if limit is None:
        return rows
    if limit < 1:
        raise ValueError(f"max_per_centre: expected at least 1, got {limit}")
    kept = []
    for number in np.unique(centre[rows]):
        own = rows[centre[rows] == number]
        draw = np.random.default_rng((_DRAW_SEED, int(number))).permutation(len(own))[:limit]
        kept.append(own[np.sort(draw)])
    return np.sort(np.concatenate(kept)) if kept else rows


def _squares(examples: Examples, rows: np.ndarray, size: int) -> np.ndarray:
    """Cut the middle ``size x size`` pixels from each picture, ``[n, size, size, 3]`` uint8."""
    if size < 1:
        raise ValueError(f"size: expected at least 1, got {size}")
    files = examples.ragged("jpeg")
    squares = np.empty((len(rows), size, size, 3), np.uint8)
    for i, row in enumerate(rows.tolist()):
        where = f"fed_isic2019, image {examples.ids[row]}"
        picture = decode_picture(files[row].tobytes(), "RGB", where)
        height, width = picture.shape[:2]
        if min(height, width) < size:
            raise ValueError(f"size: expected at most {min(height, width)}, the shorter side of {where}, got {size}")
        top, left = (height - size) // 2, (width - size) // 2
        squares[i] = picture[top : top + size, left : left + size]
    return squares


def _read(files: Mapping[str, Path]) -> Tables:
    """Read FLamby's list of images with class, centre and fold, and the JPEG files unchanged."""
    parts: dict[str, dict[str, list]] = {part: {"jpeg": [], "label": [], "centre": []} for part in ("train", "test")}
    for where, cells in _rows(files[_SPLIT_FILE]):
        path = files.get(f"{_FOLDER}/{cells['image']}.jpg")
        if path is None:
            raise ValueError(f"{where}, column image: expected a file of {_FOLDER}, found no {cells['image']}.jpg")
        target = _number(cells, "target", len(CLASSES), where)
        centre = _number(cells, "center", len(CENTRES), where)
        part, _, fold_centre = cells["fold2"].partition("_")
        if part not in parts or fold_centre != str(centre):
            found = repr(cells["fold2"])
            raise ValueError(f"{where}, column fold2: expected train_{centre} or test_{centre}, found {found}")
        parts[part]["jpeg"].append(np.fromfile(path, np.uint8))
        parts[part]["label"].append(target)
        parts[part]["centre"].append(centre)
    return {
        part: {
            "jpeg": Ragged.of(columns["jpeg"], "uint8"),
            "label": np.array(columns["label"], np.int64),
            "centre": np.array(columns["centre"], np.int64),
        }
        for part, columns in parts.items()
    }


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Iterate over the lines below the header: place and cells."""
    lines = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        absent = [name for name in _CELLS if name not in (lines.fieldnames or ())]
        if absent:
            raise ValueError(f"{path}, line 1: expected columns {', '.join(_CELLS)}, found no {absent[0]}")
        for cells in lines:
            where = f"{path}, line {lines.line_num}"
            if None in cells or None in cells.values():
                raise ValueError(f"{where}: expected {len(lines.fieldnames or ())} cells, found another number")
            yield where, cells
    except csv.Error as error:
        raise ValueError(f"{path}, line {lines.line_num}: expected quoted cells, found {error}") from error


def _number(cells: Mapping[str, str], name: str, limit: int, where: str) -> int:
    if not cells[name].isdecimal() or int(cells[name]) >= limit:
        raise ValueError(f"{where}, column {name}: expected 0..{limit - 1}, found {cells[name]!r}")
    return int(cells[name])


FED_ISIC2019 = Source(
    name="fed_isic2019",
    title="skin lesions, RGB, from six centres (FLamby)",
    task="classification",
    licence="CC BY-NC 4.0 (ISIC 2019, HAM10000)",
    citation="J. Ogier du Terrail et al., FLamby (2022); P. Tschandl et al. (2018), N. Codella et al. (2017), "
    "M. Combalia et al. (2019)",
    build=_fed_isic2019,
    classes=len(CLASSES),
    clients="centre",
    columns={"jpeg": tokens("uint8"), "label": label(CLASSES), "centre": label(CENTRES)},
    layouts=(
        Layout(
            (SourceFile(_SPLIT_FILE), SourceFile(f"{_FOLDER}/*.jpg")),
            _read,
            {"train": 18_597, "test": 4_650},
        ),
    ),
    obtain="accept the licences of ISIC 2019 and HAM10000, then run FLamby's download_isic.py and resize_images.py; "
    "train_test_split is in its repository",
)
