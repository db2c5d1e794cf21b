"""Beijing air: hourly air quality and weather at twelve stations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.text_files import HEADER_LINES, classes, numbers, read_csv, table
from fedjax_layers.data.tables.columns import Tables, label, number
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.options import unknown_name

STATIONS = (
    "Aotizhongxin", "Changping", "Dingling", "Dongsi", "Guanyuan", "Gucheng",
    "Huairou", "Nongzhanguan", "Shunyi", "Tiantan", "Wanliu", "Wanshouxigong",
)  # fmt: skip
MEASURES = ("PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM")
WINDS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
_NO_WIND = len(WINDS)
_DATE = ("year", "month", "day", "hour")
_HEADER = ("No", *_DATE, "PM2.5", *MEASURES[:-1], "wd", "WSPM", "station")
_MISSING = ("drop", "mean")
_NA = "NA"
_HOURS_PER_YEAR = 365.25 * 24


def _beijing_air(tables: Tables, provenance: str, *, missing: str = "drop", horizon: int = 0) -> Dataset:
    """Make the regression of PM2.5 in µg/m³ ``[N]`` on a station's other measurements in the hour, ``[N, 30]`` float32.

    Inputs: PM10, SO2, NO2, CO and O3 in µg/m³, temperature in °C, air pressure in hPa, dew point in °C, rain in mm,
    wind speed in m/s; wind direction one-hot (16 points of the compass, from north, clockwise); sine and cosine of the
    time of day and of the time of year. The natural clients are the twelve stations. Hours without a target are left
    out. Hours of one day resemble each other, so a random split of a station's hours is easier than a forecast.

    Args:
      tables: columns ``time``, ``pm25``, ``measures``, ``wind`` and ``station``.
      provenance: line on the source of the data.
      missing: ``"drop"`` leaves out hours in which an input is missing; ``"mean"`` leaves NaN in the inputs, to be
        replaced by the training examples' mean when they are standardised.
      horizon: hours from the inputs to the target; with 1 or more, PM2.5 of the inputs' hour is the 31st input.

    Raises:
      ValueError: an unknown ``missing``, or a negative ``horizon``.
    """
    if missing not in _MISSING:
        raise unknown_name("missing", missing, _MISSING)
    examples = take_parts(tables)
    station = examples.array("station")
    pm25 = examples.array("pm25")
    if not 0 <= horizon < len(station):
        raise ValueError(f"horizon: expected 0..{len(station) - 1} hours, got {horizon}")
    wind = np.eye(_NO_WIND, dtype=np.float32)[examples.array("wind") % _NO_WIND]
    wind[examples.array("wind") == _NO_WIND] = np.nan
    columns = [examples.array("measures"), wind, _calendar(examples.array("time"))]
    if horizon:
        columns.append(pm25[:, None])
    inputs = np.concatenate(columns, axis=1)
    # A station's hours follow one another without a gap, so the hour to predict is ``horizon`` rows later.
    target = np.full(len(pm25), np.nan, np.float32)
    here, there = slice(0, len(pm25) - horizon), slice(horizon, None)
    target[here] = np.where(station[here] == station[there], pm25[there], np.nan)
    kept = ~np.isnan(target)
    if missing == "drop":
        kept &= ~np.isnan(inputs).any(axis=1)
    return Dataset(
        name="beijing_air",
        inputs=inputs[kept],
        labels=target[kept],
        class_names=(),
        clients=station[kept].astype(np.int32),
        client_names=STATIONS,
        preprocess="standardise",
        source=provenance,
        licence=BEIJING_AIR.licence,
        example_ids=examples.ids[kept],
        task="regression",
    )


def _calendar(time: np.ndarray) -> np.ndarray:
    """Compute sine and cosine of the time of day and of the time of year, ``[N, 4]`` float32, from hours since 1970."""
    turns = np.stack([time % 24 / 24, time % _HOURS_PER_YEAR / _HOURS_PER_YEAR], axis=1)
    angles = 2 * np.pi * turns
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _read(files: Mapping[str, Path]) -> Tables:
    """Read all hours of all files, in the order of the stations."""
    parts = [_read_file(path) for _, path in sorted(files.items())]
    return {"train": {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}}


def _read_file(path: Path) -> dict[str, np.ndarray]:
    """Read one file, of one station or of several one after the other."""
    cells = read_csv(path, _HEADER)
    station = classes(path, cells, "station", STATIONS)
    year, month, day, hour = (numbers(path, cells, column).astype(np.int64) for column in _DATE)
    days = ((year - 1970) * 12 + month - 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    time = days * 24 + hour
    gaps = np.flatnonzero((np.diff(time) != 1) & (np.diff(station) == 0))
    if len(gaps):
        place = f"{path}, line {gaps[0] + 2 + HEADER_LINES}, columns year to hour"
        raise ValueError(f"{place}: expected the next hour, found one {time[gaps[0] + 1] - time[gaps[0]]} hours later")
    return {
        "time": time,
        "pm25": numbers(path, cells, "PM2.5", _NA).astype(np.float32),
        "measures": table(path, cells, MEASURES, _NA),
        "wind": classes(path, cells, "wd", (*WINDS, _NA)),
        "station": station,
    }


BEIJING_AIR = Source(
    name="beijing_air",
    title="hourly PM2.5 at twelve stations, 30 features",
    task="regression",
    licence="CC BY 4.0",
    citation="S. Chen, Beijing Multi-Site Air Quality (UCI, 2017)",
    build=_beijing_air,
    clients="station",
    columns={
        "time": number("int64"),  # hours since 1 January 1970, local time
        "pm25": number("float32"),
        "measures": number("float32", len(MEASURES)),
        "wind": label((*WINDS, "missing")),
        "station": label(STATIONS),
    },
    layouts=(
        Layout(
            tuple(
                SourceFile(f"PRSA_Data_20130301-20170228/PRSA_Data_{station}_20130301-20170228.csv")
                for station in STATIONS
            ),
            _read,
            {"train": 12 * 35_064},
        ),
        Layout(
            (
                SourceFile(
                    "PRSA_2016-03_2017-02.csv.gz", "4b4dbf22d2eaa624352dbf6fc87359ae7afd91a4a39996cd0acb532449f88504"
                ),
            ),
            _read,
            {"train": 12 * 8_760},
            "March 2016 to February 2017, the last of four years",
        ),
    ),
    obtain="the UCI Machine Learning Repository offers it as data set 501",
)
