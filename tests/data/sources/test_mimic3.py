"""Death in hospital from files in the form of MIMIC-III 1.4; names and texts are made up."""

import csv
import gzip
import io

import pytest

from fedjax_layers.data import DATASETS, load_dataset

ADMISSION_COLUMNS = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE", "ADMISSION_LOCATION",
    "DISCHARGE_LOCATION", "INSURANCE", "LANGUAGE", "RELIGION", "MARITAL_STATUS", "ETHNICITY", "EDREGTIME", "EDOUTTIME",
    "DIAGNOSIS", "HOSPITAL_EXPIRE_FLAG", "HAS_CHARTEVENTS_DATA",
)  # fmt: skip
NOTE_COLUMNS = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "STORETIME", "CATEGORY", "DESCRIPTION", "CGID",
    "ISERROR", "TEXT",
)  # fmt: skip
ADMISSIONS = [
    # HADM_ID, ADMITTIME, ADMISSION_TYPE, DIAGNOSIS, HOSPITAL_EXPIRE_FLAG
    (101, "2130-01-01 10:00:00", "EMERGENCY", "SEPSIS", 1),
    (102, "2130-01-02 10:00:00", "EMERGENCY", "STEMI", 0),
    (103, "2130-01-03 10:00:00", "ELECTIVE", "SEPSIS", 0),
    (104, "2130-01-04 10:00:00", "EMERGENCY", "BROKEN LEG", 0),
    (105, "2130-01-05 10:00:00", "EMERGENCY", "SUBDURAL HEMORRHAGE", 1),
    (106, "2130-01-06 10:00:00", "EMERGENCY", "UPPER GI BLEED", 0),
]
NOTES = [
    # HADM_ID, CHARTTIME, CATEGORY, ISERROR, TEXT
    (101, "2130-01-01 12:00:00", "Nursing", "", 'Short, "quoted"\nnote'),
    (101, "2130-01-02 10:00:00", "Nursing/other", "", "At the very end of the first day, long"),
    (101, "2130-01-02 10:00:01", "Nursing", "", "One second too late, although it is by far the longest of them"),
    (101, "2130-01-01 13:00:00", "Radiology", "", "Of another category, although it is by far the longest of them"),
    (102, "2130-01-02 08:00:00", "Physician ", "", "Before admission, by a physician"),
    (102, "2130-01-02 11:00:00", "Nursing", "", "By a nurse"),
    (102, "2130-01-02 11:00:00", "Nursing", "1", "Marked as an error, and the longest of this admission"),
    (102, "", "Nursing", "", "Without a time, and also longer than all other ones"),
    (103, "2130-01-03 11:00:00", "Nursing", "", "No emergency"),
    (104, "2130-01-04 11:00:00", "Nursing", "", "Of no group"),
    (105, "2130-01-05 11:00:00", "Nursing", "", "Head"),
    (106, "2130-01-09 11:00:00", "Nursing", "", "Days later"),
    ("", "2130-01-05 11:00:00", "Nursing", "", "Of no admission"),
]


def csv_text(columns, places, rows):
    """Rows with some cells filled, quoted as in the files."""
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(columns)
    for number, row in enumerate(rows, start=1):
        cells = dict.fromkeys(columns, "") | dict(zip(places, row, strict=True)) | {"ROW_ID": number}
        writer.writerow([cells[name] for name in columns])
    return stream.getvalue()


@pytest.fixture
def mimic(tmp_path):
    """A function that writes the two files, gzipped or not, and returns their folder."""
    folder = tmp_path / "mimic3_mortality"
    folder.mkdir()
    admitted = ("HADM_ID", "ADMITTIME", "ADMISSION_TYPE", "DIAGNOSIS", "HOSPITAL_EXPIRE_FLAG")
    noted = ("HADM_ID", "CHARTTIME", "CATEGORY", "ISERROR", "TEXT")

    def write(suffix="", admissions=ADMISSIONS, notes=NOTES):
        contents = {
            "ADMISSIONS": csv_text(ADMISSION_COLUMNS, admitted, admissions),
            "NOTEEVENTS": csv_text(NOTE_COLUMNS, noted, notes),
        }
        for name, text in contents.items():
            data = gzip.compress(text.encode()) if suffix else text.encode()
            (folder / f"{name}.csv{suffix}").write_bytes(data)
        return folder

    return write


def texts(data):
    return [bytes(row).rstrip(b"\0").decode() for row in data.inputs]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mimic3_mortality_small_files_of_the_official_layout(mimic, load_small, suffix):
    mimic(suffix)
    data = load_small(DATASETS["mimic3_mortality"], tokens="byte", length=60)
    assert texts(data) == ["At the very end of the first day, long", "Before admission, by a physician", "Head"]
    assert data.labels.tolist() == [1, 0, 1]
    assert data.class_names == ("survived", "died")
    assert data.client_names == ("myocardial infarction", "infection", "brain")
    assert data.clients.tolist() == [1, 0, 2]


def test_the_published_selection_differs_in_three_ways(mimic, load_small):
    mimic()
    data = load_small(DATASETS["mimic3_mortality"], tokens="byte", length=60, published_selection=True)
    assert texts(data) == [
        "At the very end of the first day, long",
        "Marked as an error, and the longest of this admission",
    ]
    assert data.client_names == ("myocardial infarction", "infection")


def test_of_equally_long_notes_the_first_is_taken(mimic, load_small):
    notes = [(101, "2130-01-01 12:00:00", "Nursing", "", text) for text in ("aé", "b2", "c")]
    mimic(notes=notes)
    assert texts(load_small(DATASETS["mimic3_mortality"], tokens="byte", length=9)) == ["aé"]


def test_words_are_numbered(mimic, load_small):
    mimic()
    data = load_small(DATASETS["mimic3_mortality"], length=3)
    assert data.inputs.shape == (3, 3)
    assert data.inputs[2].tolist()[1:] == [0, 0]  # "head" and padding


def test_no_note_at_all_is_an_error(mimic, load_small):
    mimic(notes=NOTES[-3:-2][:0])
    with pytest.raises(ValueError, match="mimic3_mortality: expected at least one emergency admission with a note"):
        load_small(DATASETS["mimic3_mortality"])


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("ADMISSIONS", '"DIAGNOSIS"', '"DX"', "ADMISSIONS.csv, line 1: expected columns .*, found no DIAGNOSIS"),
        ("ADMISSIONS", '"SEPSIS",1', '"SEPSIS",2', "line 2, column HOSPITAL_EXPIRE_FLAG: expected 0 or 1, found '2'"),
        ("ADMISSIONS", "2130-01-01 10", "2130-13-01 10", "line 2, column ADMITTIME: expected a time, found '2130-13"),
        ("ADMISSIONS", ',"SEPSIS",1,""', ',"SEPSIS",1', "line 2: expected 19 cells, found 18"),
        ("ADMISSIONS", '"",101,', '"","x",', "line 2, column HADM_ID: expected a whole number, found 'x'"),
        (
            "NOTEEVENTS",
            "2130-01-01 12:00:00",
            "noon",
            "NOTEEVENTS.csv, line 3, column CHARTTIME: expected a time, found",
        ),
        (
            "NOTEEVENTS",
            '"Of no admission"\n',
            '"Of no',
            "NOTEEVENTS.csv: expected a complete CSV file, found a broken one",
        ),
    ],
)
def test_other_files_are_refused(mimic, load_small, name, old, new, message):
    path = mimic() / f"{name}.csv"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        load_small(DATASETS["mimic3_mortality"])
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_is_refused(mimic, load_small):
    path = mimic(".gz") / "NOTEEVENTS.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"NOTEEVENTS.csv.gz: expected a complete CSV file, found a broken one"):
        load_small(DATASETS["mimic3_mortality"])


def test_where_to_apply_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ADMISSIONS.csv.gz, NOTEEVENTS.csv.gz or .*; apply for MIMIC-III"):
        load_dataset("mimic3_mortality", tmp_path)
