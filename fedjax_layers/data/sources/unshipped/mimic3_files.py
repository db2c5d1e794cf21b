"""Readers of MIMIC-III 1.4: the first day's nursing and physician notes of emergency admissions."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fedjax_layers.data.formats.archives import check_plain
from fedjax_layers.data.tables.columns import Ragged, Tables

# Diagnoses at admission, by group; they are free text typed by the hospital's staff.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "myocardial infarction": (
        "ACUTE CORONARY SYNDROME",
        "ACUTE MYOCARDIAL INFARCTION",
        "ACUTE MYOCARDIAL INFARCTION\\CATH",
        "CHEST PAIN",
        "CHEST PAIN;TELEMETRY",
        "CORONARY ARTERY DISEASE",
        "CORONARY ARTERY DISEASE\\CATH",
        "MYOCARDIAL INFARCTION",
        "MYOCARDIAL INFARCTION\\CATH",
        "NON-ST SEGMENT ELEVATION MYOCARDIAL INFARCTION",
        "ST ELEVATED MYOCARDIAL INFARCTION",
        "STEMI",
        "UNSTABLE ANGINA",
        "UNSTABLE ANGINA\\CATH",
    ),
    "gastrointestinal": (
        "ABDOMINAL PAIN",
        "GASTROINTESTINAL BLEED",
        "LOWER GASTROINTESTINAL BLEED",
        "UPPER GASTROINTESTINAL BLEED",
        "UPPER GI BLEED",
    ),
    "infection": (
        "PNEUMONIA",
        "PNEUMONIA;CHRONIC OBST PULM DISEASE",
        "PNEUMONIA;TELEMETRY",
        "RESPIRATORY FAILURE",
        "SEPSIS",
        "SEPSIS;TELEMETRY",
        "SEPTIC SHOCK",
        "URINARY TRACT INFECTION",
        "URINARY TRACT INFECTION;PYELONEPHRITIS",
        "UTI/PYELONEPHRITIS",
    ),
    "brain": (
        "ACUTE SUBDURAL HEMATOMA",
        "CARDIAC ARREST",
        "CEREBROVASCULAR ACCIDENT",
        "INTRACRANIAL BLEED",
        "INTRACRANIAL HEMORRHAGE",
        "S/P CARDIAC ARREST",
        "STROKE",
        "STROKE/TIA",
        "STROKE;TELEMETRY",
        "STROKE;TELEMETRY;TRANSIENT ISCHEMIC ATTACK",
        "SUBARACHNOID HEMORRHAGE",
        "SUBDURAL HEMATOMA",
        "SUBDURAL HEMORRHAGE",
    ),
}
CATEGORIES = ("Nursing", "Nursing/other", "Physician")
_FIRST = datetime.timedelta(hours=24)
_ADMISSION_CELLS = ("HADM_ID", "ADMITTIME", "ADMISSION_TYPE", "DIAGNOSIS", "HOSPITAL_EXPIRE_FLAG")
_NOTE_CELLS = ("HADM_ID", "CHARTTIME", "CATEGORY", "ISERROR", "TEXT")
_LONGEST_CELL = 2**20  # characters; the longest note has some 55,000


@dataclasses.dataclass(frozen=True)
class Admission:
    """An emergency admission with a diagnosis of one of the groups."""

    admitted: datetime.datetime
    diagnosis: str
    group: int
    died: bool


def read_notes(admissions_path: Path, notes_path: Path) -> Tables:
    """Read all notes that may be chosen: nursing or physician, charted at most 24 hours after admission.

    They include notes charted before the admission, in the emergency department.

    Raises:
      ValueError: a column is missing, or a cell cannot be read; the message names file, line and column.
    """
    admissions = _read_admissions(admissions_path)
    texts: list[str] = []
    rows: list[tuple[int, int, int, bool, bool]] = []
    diagnoses: list[str] = []
    for where, cells in _rows(notes_path, _NOTE_CELLS):
        admission = admissions.get(cells["HADM_ID"])
        category = cells["CATEGORY"]
        if admission is None or not cells["CHARTTIME"] or category.strip() not in CATEGORIES:
            continue
        if _time(cells, "CHARTTIME", where) - admission.admitted > _FIRST:
            continue
        texts.append(cells["TEXT"])
        diagnoses.append(admission.diagnosis)
        stated = category in CATEGORIES
        rows.append(
            (int(cells["HADM_ID"]), admission.group, int(admission.died), stated, cells["ISERROR"] in ("1", "1.0"))
        )
    columns = np.array(rows, np.int64).reshape(-1, 5).T
    return {
        "train": {
            "note": Ragged.of_texts(texts),
            "diagnosis": Ragged.of_texts(diagnoses),
            "admission": columns[0],
            "group": columns[1],
            "died": columns[2],
            "category_as_listed": columns[3].astype(np.uint8),
            "error": columns[4].astype(np.uint8),
        }
    }


def _read_admissions(path: Path) -> dict[str, Admission]:
    group_of = {diagnosis: i for i, group in enumerate(GROUPS.values()) for diagnosis in group}
    admissions = {}
    for where, cells in _rows(path, _ADMISSION_CELLS):
        group = group_of.get(cells["DIAGNOSIS"])
        if group is None or cells["ADMISSION_TYPE"] != "EMERGENCY":
            continue
        if cells["HOSPITAL_EXPIRE_FLAG"] not in ("0", "1"):
            found = repr(cells["HOSPITAL_EXPIRE_FLAG"])
            raise ValueError(f"{where}, column HOSPITAL_EXPIRE_FLAG: expected 0 or 1, found {found}")
        if not cells["HADM_ID"].isdecimal():
            raise ValueError(f"{where}, column HADM_ID: expected a whole number, found {cells['HADM_ID']!r}")
        admitted = _time(cells, "ADMITTIME", where)
        died = cells["HOSPITAL_EXPIRE_FLAG"] == "1"
        admissions[cells["HADM_ID"]] = Admission(admitted, cells["DIAGNOSIS"], group, died)
    return admissions


def _time(cells: Mapping[str, str], column: str, where: str) -> datetime.datetime:
    with contextlib.suppress(ValueError):
        time = datetime.datetime.fromisoformat(cells[column])
        if time.tzinfo is None:  # times with a zone and without one cannot be compared
            return time
    raise ValueError(f"{where}, column {column}: expected a time, found {cells[column]!r}")


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Iterate over rows, place and wanted cells, one at a time, since the notes are four gigabytes."""
    check_plain(path)
    opened = gzip.open if path.suffix == ".gz" else open
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as stream:
            # A line of gigabytes, as in a file that was made to fill the memory, is read in parts.
            lines = csv.reader(iter(lambda: stream.readline(_LONGEST_CELL), ""), strict=True)
            header = next(lines, [])
            absent = [name for name in columns if name not in header]
            if absent:
                raise ValueError(f"{path}, line 1: expected columns {', '.join(columns)}, found no {absent[0]}")
            places = {name: header.index(name) for name in columns}
            for cells in lines:
                where = f"{path}, line {lines.line_num}"
                if len(cells) != len(header):
                    raise ValueError(f"{where}: expected {len(header)} cells, found {len(cells)}")
                yield where, {name: cells[place] for name, place in places.items()}
    except (EOFError, OSError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a complete CSV file, found a broken one ({error})") from error
    finally:
        csv.field_size_limit(limit)
