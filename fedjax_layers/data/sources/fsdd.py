"""FSDD: ten digits, spoken by six people."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.archives import read_zip
from fedjax_layers.data.formats.logmel import WINDOW, log_mel
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.columns import Ragged, Tables, label, number, tokens
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.options import unknown_name

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
RATE = 8000  # samples per second
_FEATURES = ("logmel", "waveform")
_TEST = 5  # the project's rule: recordings 0 to 4 of each digit and speaker are for testing
_NAME = re.compile(r"recordings/([0-9])_([a-z]+)_([0-9]+)\.wav")


def _fsdd(
    tables: Tables,
    provenance: str,
    *,
    split: str = "all",
    features: str = "logmel",
    samples: int = RATE,
    bands: int = 40,
) -> Dataset:
    """Make the set of spoken digits, ten classes, with the six speakers as natural clients.

    Recordings last about half a second; they are cut, or extended with silence, to one length. Inputs are log-mel
    energies ``[N, 1 + (samples - 200) // 80, bands]`` float32, see :mod:`fedjax_layers.data.formats.logmel`, or
    waveforms ``[N, samples, 1]`` int16, which are scaled to -1..1 for a model.

    Args:
      tables: columns ``waveform``, ``digit``, ``speaker`` and ``index``.
      provenance: line on the source of the data.
      split: official part: ``"train"``, ``"test"`` (recordings 0 to 4 of each digit and speaker) or ``"all"``.
      features: form of the inputs, ``"logmel"`` or ``"waveform"``.
      samples: length of an example in samples of 1/8000 s, at least 200 (a window of 25 ms).
      bands: number of mel bands.

    Raises:
      ValueError: an unknown split or name of features, or a number out of range.
    """
    if features not in _FEATURES:
        raise unknown_name("features", features, _FEATURES)
    if samples < WINDOW * RATE:
        raise ValueError(f"samples: expected at least {WINDOW * RATE:.0f}, got {samples}")
    if bands < 1:
        raise ValueError(f"bands: expected at least 1, got {bands}")
    examples = take_parts(tables, split)
    waves = _of_length(examples.ragged("waveform"), samples)
    mel = features == "logmel"
    return Dataset(
        name="fsdd",
        inputs=log_mel(waves.astype(np.float32) / 2**15, RATE, bands) if mel else waves[..., None],
        labels=examples.array("digit").astype(np.int32),
        class_names=FSDD.columns["digit"].names,
        clients=examples.array("speaker").astype(np.int32),
        client_names=SPEAKERS,
        preprocess="standardise" if mel else Preprocess(scale=1 / 2**15),
        source=provenance,
        licence=FSDD.licence,
        example_ids=examples.ids,
        official_test=examples.official_test,
    )


def _of_length(sounds: Ragged, samples: int) -> np.ndarray:
    """Cut each sound or extend it with silence, ``[N, samples]`` int16."""
    waves = np.zeros((len(sounds), samples), np.int16)
    for row, sound in enumerate(sounds):
        waves[row, : len(sound)] = sound[:samples]
    return waves


def _read_folder(files: Mapping[str, Path]) -> Tables:
    """Read the repository's own files, ``recordings/*.wav``."""
    return _tables((name, path.read_bytes(), str(path)) for name, path in files.items())


def _read_zip(files: Mapping[str, Path]) -> Tables:
    (path,) = files.values()
    members = read_zip(path, lambda name: name.endswith(".wav"))
    return _tables((name, content, f"{path}, {name}") for name, content in members)


def _tables(sounds: Iterable[tuple[str, bytes, str]]) -> Tables:
    """Make the tables, by digit, speaker and index, from name, content and (for messages) place of each recording."""
    rows = {}
    for name, content, where in sounds:
        match = _NAME.fullmatch(name)
        if not match or match[2] not in SPEAKERS:
            raise ValueError(f"{where}: expected recordings/<digit>_<speaker>_<index>.wav of {', '.join(SPEAKERS)}")
        rows[int(match[1]), SPEAKERS.index(match[2]), int(match[3])] = _samples(content, where)
    parts = {
        "train": sorted(key for key in rows if key[2] >= _TEST),
        "test": sorted(key for key in rows if key[2] < _TEST),
    }
    return {
        split: {
            "waveform": Ragged.of((rows[key] for key in keys), "int16"),
            **{
                name: np.array([key[i] for key in keys], np.int64)
                for i, name in enumerate(("digit", "speaker", "index"))
            },
        }
        for split, keys in parts.items()
    }


def _samples(content: bytes, where: str) -> np.ndarray:
    """Read the samples of a wav file, ``[T]`` int16."""
    try:
        with wave.open(io.BytesIO(content)) as sound:
            form = (sound.getnchannels(), 8 * sound.getsampwidth(), sound.getframerate())
            length = sound.getnframes()
            found = sound.readframes(length)
    except Exception as error:  # damaged bytes raise errors of several kinds, a RuntimeError without words among them
        raise ValueError(f"{where}: expected a wav file, found another or a broken one ({error})") from error
    if form != (1, 16, RATE):
        raise ValueError(
            f"{where}: expected 1 channel of 16 bits at {RATE} Hz, found {form[0]} of {form[1]} at {form[2]}"
        )
    if len(found) != 2 * length:
        raise ValueError(f"{where}: expected {length} samples, found {len(found) // 2} (truncated)")
    return np.frombuffer(found, "<i2")


FSDD = Source(
    name="fsdd",
    title="spoken digits, 8 kHz",
    task="classification",
    licence="CC BY-SA 4.0",
    citation="Z. Jackson et al., Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset",
    build=_fsdd,
    classes=10,
    clients="speaker",
    columns={
        "waveform": tokens("int16"),
        "digit": label(str(d) for d in range(10)),
        "speaker": label(SPEAKERS),
        "index": number("int64"),
    },
    layouts=(
        Layout((SourceFile("recordings/*.wav"),), _read_folder, {"train": 2700, "test": 300}),
        Layout(
            (
                SourceFile(
                    "fsdd_recordings_0-9.zip", "28e15be704e0194872632f29fd9332ad4b10f08fa1d30f559f519e912e377494"
                ),
            ),
            _read_zip,
            {"train": 300, "test": 300},
            "subset: recordings 0 to 9 of 50 of each digit and speaker",
        ),
    ),
    obtain="git clone https://github.com/Jakobovski/free-spoken-digit-dataset fsdd",
)
