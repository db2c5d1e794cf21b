import gzip
import re

import numpy as np
import pytest

from fedjax_layers.data import federate, load_dataset
from fedjax_layers.data.formats.text_files import numbers, read_csv, read_text
from fedjax_layers.data.sources.beijing_air import BEIJING_AIR, MEASURES, STATIONS, WINDS
from fedjax_layers.data.sources.fed_tcga_brca import FEATURES as TCGA_FEATURES
from fedjax_layers.data.sources.fed_tcga_brca import FED_TCGA_BRCA
from fedjax_layers.data.sources.parkinsons import FEATURES as VOICE_FEATURES
from fedjax_layers.data.sources.parkinsons import PARKINSONS

# --- the real files


@pytest.mark.data
def test_tcga_has_flamby_s_patients_in_its_regions_and_parts(data_folder):
    data = load_dataset("fed_tcga_brca", data_folder)
    assert data.inputs.shape == (1088, 39)
    assert data.client_names == ("Northeast", "South", "West", "Midwest", "Europe", "Canada")
    # FLamby's figures: patients of the six centres, and of their training parts.
    assert np.bincount(data.clients).tolist() == [311, 196, 206, 162, 162, 51]
    assert np.bincount(data.clients[~data.official_test]).tolist() == [248, 156, 164, 129, 129, 40]
    assert len(load_dataset("fed_tcga_brca", data_folder, split="test")) == 222


@pytest.mark.data
def test_tcga_patients_are_those_of_the_file(data_folder):
    data = load_dataset("fed_tcga_brca", data_folder)
    lines = (data_folder / "fed_tcga_brca/train_test_split.csv").read_text().splitlines()
    trained = {line.split(",")[0] for line in lines if ",train," in line}
    rows = [line.rsplit(",", 41) for line in (data_folder / "fed_tcga_brca/brca.csv").read_text().splitlines()[1:]]
    first = next(row for row in rows if row[0] in trained)  # FLamby keeps the order of the file
    assert data.inputs[0].tolist() == [float(cell) for cell in first[1:40]]
    assert data.labels[0].tolist() == [float(first[41]), float(first[40])]  # days, then the event
    assert data.labels.dtype == np.float32
    assert set(data.labels[:, 1].tolist()) == {0.0, 1.0}
    assert (data.labels[:, 0].min(), data.labels[:, 0].max()) == (0, 8605)


@pytest.mark.data
def test_parkinsons_patients_and_targets(data_folder):
    total = load_dataset("parkinsons", data_folder)
    motor = load_dataset("parkinsons", data_folder, target="motor_updrs")
    sizes = np.bincount(total.clients)
    assert (len(sizes), sizes.min(), sizes.max(), sizes.sum()) == (42, 101, 168, 5875)
    assert total.client_names[41] == "patient 42"
    assert (total.labels[0], motor.labels[0]) == (np.float32(34.398), np.float32(28.199))
    np.testing.assert_allclose(total.inputs[0, [0, 1, 2, 3, 18]], [72, 0, 5.6431, 0.00662, 0.16006], rtol=1e-6)
    # Neither score is an input, which would give the target away.
    assert total.inputs.shape == motor.inputs.shape == (5875, 19)
    correlation = [abs(np.corrcoef(total.labels, column)[0, 1]) for column in total.inputs.T]
    assert max(correlation) < 0.5


@pytest.mark.data
def test_air_leaves_out_hours_with_a_missing_value(data_folder):
    data = load_dataset("beijing_air", data_folder)
    assert data.inputs.shape == (97_951, 30)  # of 105,120 hours
    assert np.isfinite(data.inputs).all()
    assert data.client_names == STATIONS
    assert np.bincount(data.clients)[0] == 8211
    first = [83, 20, 72, 1200, 15, 0.4, 1023.9, -14.8, 0, 1.4]
    np.testing.assert_allclose(data.inputs[0, : len(MEASURES)], first, rtol=1e-6)
    assert WINDS[int(data.inputs[0, 10:26].argmax())] == "S"
    assert (data.inputs[:, 10:26].sum(axis=1) == 1).all()
    assert data.labels[:3].tolist() == [63, 77, 85]
    assert data.labels.min() == 2


@pytest.mark.data
def test_air_with_missing_inputs_left_to_the_mean(data_folder):
    data = load_dataset("beijing_air", data_folder, missing="mean")
    assert len(data) == 105_120 - 2_367  # only hours without a target are left out
    gaps = np.isnan(data.inputs)
    assert gaps[:, :26].any(axis=0).all()
    assert not gaps[:, 26:].any()  # the time is always known
    np.testing.assert_array_equal(gaps[:, 10:26].any(axis=1), gaps[:, 10:26].all(axis=1))
    assert not gaps[np.isin(data.example_ids, load_dataset("beijing_air", data_folder).example_ids)].any()


@pytest.mark.data
def test_air_some_hours_ahead(data_folder):
    now = load_dataset("beijing_air", data_folder)
    later = load_dataset("beijing_air", data_folder, horizon=3)
    assert later.inputs.shape[1] == 31
    assert later.labels[0] == now.labels[now.example_ids == later.example_ids[0] + 3]
    same = np.isin(now.example_ids, later.example_ids)
    np.testing.assert_array_equal(later.inputs[np.isin(later.example_ids, now.example_ids), 30], now.labels[same])
    # No station's last hours are told from the next station's first ones.
    assert not np.isin(np.arange(1, 13)[:, None] * 8760 - np.arange(1, 4), later.example_ids).any()


@pytest.mark.data
@pytest.mark.parametrize("name", ["fed_tcga_brca", "parkinsons", "beijing_air"])
def test_tables_are_standardised_by_training_examples_when_they_are_federated(name, data_folder):
    data = load_dataset(name, data_folder, **({"missing": "mean"} if name == "beijing_air" else {}))
    clients = federate(data, data.clients, client_names=data.client_names)
    start, count = clients.ranges["train"]
    trained = np.concatenate([np.arange(s, s + n) for s, n in zip(start, count, strict=True)])
    seen = clients.preprocess(clients.inputs).astype(np.float64)
    assert np.isfinite(seen).all()
    np.testing.assert_allclose(seen[trained].mean(axis=0), 0, atol=1e-3)


# --- small files


def write_air(path, change=None, hours=30, stations=("Changping", "Dingling")):
    """Hours from 31 December 2016, 20:00 on; ``change(row)`` alters the cells of a row in place."""
    lines = ['"No","year","month","day","hour","PM2.5",' + ",".join(f'"{m}"' for m in (*MEASURES[:-1], "wd", "WSPM"))]
    lines[0] += ',"station"'
    for s, station in enumerate(stations):
        for hour in range(hours):
            time = np.datetime64("2016-12-31T20") + hour
            year, month, day = str(time)[:10].split("-")
            cells = [
                str(hour),
                year,
                month.lstrip("0"),
                day.lstrip("0"),
                str(int(str(time)[11:13])),
                str(100 * s + hour),
            ]
            cells += [str(10 * k + hour / 4) for k in range(9)] + ['"NNW"', "1.5", f'"{station}"']
            if change:
                change(s * hours + hour, cells)
            lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path


def read_air(path):
    return BEIJING_AIR.layouts[1].read({path.name: path})


def test_air_reads_gzipped_and_plain_files_alike(tmp_path):
    plain = write_air(tmp_path / "air.csv")
    zipped = tmp_path / "air.csv.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    first, second = read_air(plain)["train"], read_air(zipped)["train"]
    assert first["time"][0] == np.datetime64("2016-12-31T20").astype("datetime64[h]").astype(int)
    for column in first:
        np.testing.assert_array_equal(first[column], second[column])


def test_air_wind_and_values_that_are_missing(tmp_path):
    def change(row, cells):
        if row == 1:
            cells[-3] = "NA"
        if row == 2:
            cells[5] = "NA"
        if row == 3:
            cells[6] = "NA"

    tables = read_air(write_air(tmp_path / "air.csv", change))
    kept = BEIJING_AIR.build(tables, "a test", missing="drop")
    assert not {1, 2, 3} & set(kept.example_ids.tolist())
    assert len(kept) == 57
    filled = BEIJING_AIR.build(tables, "a test", missing="mean")
    assert 2 not in filled.example_ids  # no target
    assert np.isnan(filled.inputs[filled.example_ids == 1, 10:26]).all()
    assert np.isnan(filled.inputs[filled.example_ids == 3, 0]).all()
    assert np.isnan(filled.inputs).sum() == 17


def test_air_calendar_turns_with_the_day_and_the_year(tmp_path):
    data = BEIJING_AIR.build(read_air(write_air(tmp_path / "air.csv")), "a test")
    sines, cosines = data.inputs[:30, 26:28], data.inputs[:30, 28:30]
    np.testing.assert_allclose(sines**2 + cosines**2, 1, rtol=1e-6)
    np.testing.assert_allclose(data.inputs[4, [26, 28]], [0, 1], atol=1e-6)  # midnight
    np.testing.assert_allclose(data.inputs[10, [26, 28]], [1, 0], atol=1e-6)  # six in the morning
    np.testing.assert_allclose(data.inputs[4, [27, 29]], [0, 1], atol=0.02)  # New Year
    np.testing.assert_allclose(data.inputs[24:28, 26], data.inputs[:4, 26], atol=1e-5)


def test_air_refuses_a_gap_in_a_station_s_hours(tmp_path):
    path = write_air(tmp_path / "air.csv")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:6] + lines[7:]))
    with pytest.raises(
        ValueError, match=r"air\.csv, line 7, columns year to hour: expected the next hour, found one 2"
    ):
        read_air(path)


@pytest.mark.parametrize(
    ("position", "cell", "column", "expected"),
    [
        (5, "many", "PM2.5", "a number, found 'many'"),
        (7, "", "SO2", "a number, found ''"),
        (6, "nan", "PM10", "a number, found 'nan'"),
        (-3, '"NNX"', "wd", "one of N, NNE"),
        (-1, '"Paris"', "station", "one of Aotizhongxin"),
    ],
)
def test_air_names_line_and_column_of_a_wrong_cell(tmp_path, position, cell, column, expected):
    def change(row, cells):
        if row == 7:
            cells[position] = cell

    path = write_air(tmp_path / "air.csv", change)
    with pytest.raises(ValueError, match=re.escape(f"air.csv, line 9, column {column}: expected {expected}")):
        read_air(path)


def test_air_reads_the_twelve_full_files_too(tmp_path):
    paths = {}
    for file, station in zip(BEIJING_AIR.layouts[0].files, STATIONS, strict=True):
        paths[file.name] = write_air(tmp_path / f"{station}.csv", hours=2, stations=(station,))
    tables = BEIJING_AIR.layouts[0].read(paths)
    assert tables["train"]["station"].tolist() == np.repeat(np.arange(12), 2).tolist()


def test_air_options_out_of_range(tmp_path):
    tables = read_air(write_air(tmp_path / "air.csv"))
    with pytest.raises(ValueError, match="missing: expected one of drop, mean, got 'means'; did you mean 'mean'"):
        BEIJING_AIR.build(tables, "a test", missing="means")
    with pytest.raises(ValueError, match=r"horizon: expected 0\.\.59 hours, got -1"):
        BEIJING_AIR.build(tables, "a test", horizon=-1)


def write_tcga(folder, **changes):
    """Three patients of the Northeast (BH) and of Canada (G4), two of them for training; a fourth in neither part."""
    features = ",".join("1" for _ in TCGA_FEATURES[1:])
    header = ",".join(f'"{name}"' for name in ("pid", *TCGA_FEATURES, "E", "T"))
    texts = {
        "brca": f"{header}\nTCGA-BH-0001,61,{features},0.0,10.0\nTCGA-G4-0002,62,{features},1.0,20.0\n"
        f"TCGA-XX-0003,63,{features},0.0,30.0\nTCGA-BH-0004,64,{features},1.0,40.0\n",
        "centers": "TSS Code,Source Site,Country,State,Region\nBH,a,USA,PA,Northeast\nG4,b,Canada,ON,Canada",
        "train_test_split": "pid,fold,fold2\nTCGA-G4-0002,train,train_5\nTCGA-BH-0001,train,train_0\n"
        "TCGA-BH-0004,test,test_0\n",
    }
    files = {}
    for name, content in texts.items():
        old, new = changes.get(name, ("", ""))
        assert old in content
        path = folder / f"{name}.csv"
        path.write_text(content.replace(old, new, 1))
        files[path.name] = path
    return files


def test_tcga_keeps_the_patients_of_the_split_in_the_order_of_the_data(tmp_path):
    tables = FED_TCGA_BRCA.layouts[0].read(write_tcga(tmp_path))
    data = FED_TCGA_BRCA.build(tables, "a test")
    assert data.inputs[:, 0].tolist() == [61, 62, 64]
    assert data.labels.tolist() == [[10, 0], [20, 1], [40, 1]]
    assert data.clients.tolist() == [0, 5, 0]
    assert data.official_test.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("brca", '"age_at_index",', "", "brca.csv, line 1: expected columns pid, age_at_index"),
        ("brca", "0.0,30.0", "0.0", "brca.csv, line 4: expected 42 cells, found 41 (the last is column E)"),
        ("brca", "1.0,20.0", "2,20.0", "brca.csv, line 3, column E: expected one of 0.0, 1.0, found '2'"),
        ("brca", "1.0,20.0", "1.0,x", "brca.csv, line 3, column T: expected a number, found 'x'"),
        ("train_test_split", "BH-0004", "BH-0005", "line 4, column pid: expected a patient of brca.csv"),
        ("train_test_split", "BH-0004", "BH-0001", "line 4, column pid: expected each patient once"),
        ("train_test_split", "test,test_0", "train,test_0", "line 4, column fold: expected test, as in fold2"),
        ("train_test_split", "test_0", "test_9", "line 4, column fold2: expected one of train_0"),
        ("centers", "PA,Northeast", "PA,South", "line 3, column fold2: expected the region of centers.csv, South"),
    ],
)
def test_tcga_names_the_place_of_damage(tmp_path, name, old, new, expected):
    files = write_tcga(tmp_path, **{name: (old, new)})
    with pytest.raises(ValueError, match=re.escape(expected)):
        FED_TCGA_BRCA.layouts[0].read(files)


def write_voices(path, patient="7", cell="0.5"):
    header = ["subject#", *VOICE_FEATURES[:3], "motor_UPDRS", "total_UPDRS", *VOICE_FEATURES[3:]]
    row = [patient, "70", "1", "-3.5", "20.5", "30.5", *["0.5"] * 15, cell]
    path.write_text("\n".join([",".join(header), ",".join(row)]) + "\n")
    return {"parkinsons_updrs.data": path}


def test_parkinsons_tells_the_scores_apart(tmp_path):
    tables = PARKINSONS.layouts[0].read(write_voices(tmp_path / "voices"))
    data = PARKINSONS.build(tables, "a test", target="motor_updrs")
    assert data.labels.tolist() == [20.5]
    assert data.inputs[0].tolist() == [70, 1, -3.5] + 16 * [0.5]
    assert data.clients.tolist() == [6]  # patients count from 1
    with pytest.raises(ValueError, match="target: expected one of motor_updrs, total_updrs, got 'motor'"):
        PARKINSONS.build(tables, "a test", target="motor")


def test_parkinsons_names_the_place_of_damage(tmp_path):
    read = PARKINSONS.layouts[0].read
    with pytest.raises(ValueError, match="voices, line 2, column subject#: expected one of 1, 2"):
        read(write_voices(tmp_path / "voices", patient="43"))
    with pytest.raises(ValueError, match="voices, line 2, column PPE: expected a number, found 'inf'"):
        read(write_voices(tmp_path / "voices", cell="inf"))


# --- comma-separated files in general


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "t.csv, line 1: expected columns a, b, found no column a, b"),
        (b"a,c\n1,2\n", "t.csv, line 1: expected columns a, b, found no column b"),
        (b"b,a\n1,2\n", "t.csv, line 1: expected columns a, b, found b, a"),
        (b"a,b\n1,2\n3\n", "t.csv, line 3: expected 2 cells, found 1 (the last is column a)"),
        (b"a,b\n1,2\n\n", "t.csv, line 3: expected 2 cells, found 0"),
        (b"a,b\n1,2,3\n", "t.csv, line 2: expected 2 cells, found 3"),
        (b'a,b\n1,"2\n', "expected comma-separated cells, found unexpected end of data"),
        (b"a,b\n1,\xff\n", "t.csv, line 2: expected UTF-8 text, found byte 0xff"),
        (gzip.compress(b"a,b\n1,2\n" * 50, mtime=0)[:-9], "t.csv: expected a complete gzip stream, found a broken one"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, expected):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        read_csv(path, ("a", "b"))
    assert "\n" not in str(caught.value)


def test_numbers_are_read_as_python_reads_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n0.1\n-3.38e-005\n?\n1e300\n")
    values = numbers(path, read_csv(path, ("a",)), "a", missing="?")
    assert values.tolist()[:2] == [0.1, -3.38e-5]
    assert np.isnan(values[2])
    with pytest.raises(ValueError, match=r"line 4, column a: expected a number, found '\?'"):
        numbers(path, read_csv(path, ("a",)), "a")


def test_text_keeps_its_line_ends(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"a\r\nb\x0c\xc2\x85c\n")
    assert read_text(path) == "a\r\nb\x0c\x85c\n"
