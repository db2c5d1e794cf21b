"""MIMIC-III: death in hospital, from one note of the first day; access to the data needs an application."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset, present_clients
from fedjax_layers.data.sources.unshipped.mimic3_files import GROUPS, read_notes
from fedjax_layers.data.tables.columns import Ragged, Tables, label, number, text
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import Examples, take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.data.text.encoding import encode, pad_to, words

_LABELS = ("survived", "died")
_MISSED = ("STROKE;TELEMETRY", "SUBDURAL HEMORRHAGE")  # not found by the published selection


def _mimic3_mortality(
    tables: Tables,
    provenance: str,
    *,
    tokens: str = "word",
    length: int = 512,
    vocabulary: int | None = None,
    published_selection: bool = False,
) -> Dataset:
    """Make the set of emergency admissions, ``[N, length]`` token numbers, and whether the patient died in hospital.

    As in PLayer-FL: of each emergency admission with one of 42 diagnoses the longest nursing or physician note that was
    charted until 24 hours after admission; the natural clients are the four groups of diagnoses. Length is counted in
    characters, the first of equally long notes is taken. There is no official split, so the vocabulary is that of all
    admissions. A patient may have several admissions, on both sides of a split.

    The files are confidential: who has them has signed a data use agreement. What is read of them, the notes included,
    is kept in the cache folder, which has to be as well protected as the files.

    Args:
      tables: columns ``note``, ``diagnosis``, ``admission``, ``group``, ``died``, ``category_as_listed``, ``error``;
        one row per note.
      provenance: line on the source of the data.
      tokens: unit of texts: ``"word"`` for words and punctuation marks in lower case, ``"char"``, ``"byte"`` (of
        UTF-8).
      length: T, the number of tokens of a note that are kept; PLayer-FL keeps 512 of ClinicalBERT's.
      vocabulary: V, the largest number of tokens, ``<pad>`` and ``<unk>`` included; ``None`` is 20,000 for words and
        all characters.
      published_selection: select notes as PLayer-FL's released script does: without the two diagnoses that a missing
        comma joins into one, without the notes whose category is spelled with a blank at its end (the physicians'), and
        with those that were marked as errors.

    Raises:
      ValueError: an unknown kind of token, a number out of range, or no admission with a note.
    """
    examples = take_parts(tables)
    rows = _chosen(examples, published_selection)
    if not len(rows):
        raise ValueError("mimic3_mortality: expected at least one emergency admission with a note, found none")
    notes = Ragged.of((examples.ragged("note")[row] for row in rows.tolist()), "uint8")
    usual = 20_000 if tokens == "word" else None
    encoded, _ = encode(notes, notes, tokens, usual if vocabulary is None else vocabulary, _split_words)
    clients, names = present_clients(examples.array("group")[rows], tuple(GROUPS))
    return Dataset(
        name="mimic3_mortality",
        inputs=pad_to(encoded, length),
        labels=examples.array("died")[rows].astype(np.int32),
        class_names=_LABELS,
        clients=clients,
        client_names=names,
        preprocess=None,
        source=provenance,
        licence=MIMIC3_MORTALITY.licence,
        example_ids=examples.ids[rows],
    )


def _chosen(examples: Examples, published: bool) -> np.ndarray:
    """Find the row of each admission's longest note, in the order of the notes."""
    if published:
        missed = np.array([diagnosis in _MISSED for diagnosis in examples.ragged("diagnosis").texts()], bool)
        allowed = (examples.array("category_as_listed") == 1) & ~missed
    else:
        allowed = examples.array("error") == 0
    rows = np.flatnonzero(allowed)
    lengths = np.array([len(examples.ragged("note")[row].tobytes().decode()) for row in rows.tolist()], np.int64)
    admissions = examples.array("admission")[rows]
    order = np.lexsort((rows, -lengths, admissions))
    first = np.ones(len(order), bool)
    first[1:] = admissions[order][1:] != admissions[order][:-1]
    return np.sort(rows[order[first]])


def _split_words(note: str) -> list[str]:
    return words(note.lower())


def _read(suffix: str, files: Mapping[str, Path]) -> Tables:
    return read_notes(files[f"ADMISSIONS.csv{suffix}"], files[f"NOTEEVENTS.csv{suffix}"])


MIMIC3_MORTALITY = Source(
    name="mimic3_mortality",
    title="death in hospital from a note of the first day (MIMIC-III)",
    task="classification",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    citation="A. Johnson et al., MIMIC-III, a freely accessible critical care database (2016)",
    build=_mimic3_mortality,
    classes=2,
    clients="diagnosis group",
    columns={
        "note": text(),
        "diagnosis": text(),
        "admission": number("int64"),
        "group": label(GROUPS),
        "died": label(_LABELS),
        "category_as_listed": number("uint8"),
        "error": number("uint8"),
    },
    layouts=tuple(
        Layout(
            (SourceFile(f"ADMISSIONS.csv{suffix}"), SourceFile(f"NOTEEVENTS.csv{suffix}")),
            functools.partial(_read, suffix),
        )
        for suffix in (".gz", "")
    ),
    obtain="apply for MIMIC-III Clinical Database 1.4 at https://physionet.org/content/mimiciii/1.4/",
)
