"""Data sets written by TFDS: identical when read back, without a network or TensorFlow, whole or not at all."""

import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fedjax_layers.data import DATASETS, load_dataset
from fedjax_layers.data.tables import builders
from fedjax_layers.data.tables.cache import CACHE_VARIABLE

pytestmark = pytest.mark.usefixtures("offline")

# Examples of each official split, from the README of the data folder: images, rows, sentences, recordings, hours. Of
# Omniglot's drawings 1,000 are in both archives; FLamby's split leaves out 8 of 1,096 patients; WikiText's are articles
# and, in training, 29 pieces without a title; Tiny Shakespeare's are blocks of one speaker.
COUNTS = {
    "beijing_air": {"train": 12 * 8_760},
    "cifar10": {"train": 10_000, "test": 2_000},
    "cifar100": {"train": 5_000, "test": 1_000},
    "fashion_mnist": {"train": 60_000, "test": 10_000},
    "fed_tcga_brca": {"train": 866, "test": 1_088 - 866},
    "fsdd": {"train": 300, "test": 300},
    "heart": {"train": 303 + 294 + 123 + 200},
    "mnist": {"train": 60_000, "test": 10_000},
    "office_caltech": {"train": 958 + 1_123 + 157 + 295},
    "omniglot": {"train": 2_720 + 3_120 - 1_000},
    "parkinsons": {"train": 5_875},
    "sentiment": {"train": 3 * 1_000},
    "tiny_shakespeare": {"train": 7_097},
    "uci_har": {"train": 7_352, "test": 2_947},
    "ud_english_ewt": {"train": 12_544, "val": 2_001, "test": 2_077},
    "usps": {"train": 7_291, "test": 2_007},
    "wikitext2": {"train": 600 + 29, "val": 60, "test": 60},
    "digit_domains": {"train": 60_000 + 7_291, "test": 10_000 + 2_007},
}
SLOW = {"beijing_air", "cifar10", "digit_domains", "fashion_mnist", "mnist"}  # 60 s; all others together take 12 s


@pytest.mark.data
def test_every_folder_of_the_data_folder_is_listed(data_folder):
    """Seventeen sets; digit_domains is made of two of them."""
    folders = {DATASETS[name].place(data_folder) for name in COUNTS if name != "digit_domains"}
    assert len(folders) == 17
    assert folders == {path for path in data_folder.iterdir() if path.is_dir()}
    found = {name for name, source in DATASETS.items() if source.locate(source.place(data_folder))}
    assert found == set(COUNTS)


@pytest.mark.data
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in COUNTS]
)
def test_a_prepared_set_comes_back_bit_for_bit(name, data_folder, tmp_path, monkeypatch, assert_identical):
    source = DATASETS[name]
    expected, provenance = source.tables(data_folder)
    assert provenance.startswith(f"checked files of {name}")
    assert {split: len(next(iter(table.values()))) for split, table in expected.items()} == COUNTS[name]
    out = tmp_path / "out"
    builder = builders.prepare(source, data_folder, out)
    assert dict(builders.counts(builder)) == COUNTS[name]
    assert os.listdir(out) == [f"federated_{name}"]
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))  # what was prepared here is read by no other test
    read, provenance = source.tables(out)
    assert provenance == f"TFDS federated_{name}/1.0.0"
    assert_identical(read, expected)
    shutil.rmtree(out)
    shutil.rmtree(tmp_path / "cache")


def test_a_process_without_network_and_tensorflow_prepares_and_reads(tmp_path):
    """From its first import on. Heart's files are inside the package, so this needs no data folder."""
    code = """
        import socket, sys
        from importlib.machinery import PathFinder
        from pathlib import Path

        def find(name, path=None, target=None, real=PathFinder.find_spec):
            return None if name.partition(".")[0] == "tensorflow" else real(name, path, target)

        def refuse(*args, **options):
            raise OSError("the network is off")

        PathFinder.find_spec = find
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
        from fedjax_layers.data import DATASETS, load_dataset
        from fedjax_layers.data.tables import builders

        out = Path(sys.argv[1])
        builders.prepare(DATASETS["heart"], out, out)
        data = load_dataset("heart", out)
        print(data.source, len(data), data.inputs.sum(dtype="float64"), "tensorflow" in sys.modules)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        env={**os.environ, CACHE_VARIABLE: str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    total = load_dataset("heart", tmp_path).inputs.sum(dtype="float64")
    assert ran.stdout == f"TFDS federated_heart/1.0.0 740 {total} False\n"


def test_every_kind_of_column_comes_back(toy_source, tmp_path, assert_identical):
    expected, _ = toy_source.tables(tmp_path / "raw")
    bits = {hex(b) for b in expected["train"]["dose"].view(np.uint64)}
    assert bits > {"0x7ff8000000000000", "0x7ff8000000000001", "0xfff8000000000000", "0x8000000000000000"}
    builders.prepare(toy_source, tmp_path / "raw", tmp_path / "new" / "folder")
    read, _ = toy_source.tables(tmp_path / "new" / "folder")
    assert_identical(read, expected)


def test_what_is_prepared_is_a_tfds_data_set_like_any_other(toy_source, tmp_path):
    builders.prepare(toy_source, tmp_path / "raw", tmp_path)
    builder = tfds.builder_from_directory(tmp_path / "federated_toy" / "1.0.0")
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {
        "train": 50,
        "val": 3,
        "test": 9,
    }
    assert builder.info.file_format.value == "array_record"
    assert builder.info.features["class"].names == ["no", "yes, but", "perhaps"]
    assert "Licence: none." in builder.info.description
    assert builder.info.citation == "made up"
    records = builder.as_data_source(split="train")
    tables, _ = toy_source.tables(tmp_path / "raw")
    ids = [int(record["id"]) for record in records]
    assert sorted(ids) == list(range(50))
    assert ids != sorted(ids)  # TFDS shuffles
    for record in (records[0], records[49]):
        row = record["id"]
        np.testing.assert_array_equal(record["colour"], tables["train"]["colour"][row])
        assert record["note"].decode() == tables["train"]["note"].texts()[row]
        assert record["class"] == tables["train"]["class"][row]


def contents(folder):
    return {path.relative_to(folder): (path.stat().st_mtime_ns, path.is_dir()) for path in folder.rglob("*")}


def test_the_second_time_nothing_is_done(toy_source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    builders.prepare(toy_source, tmp_path / "raw", out)
    before = contents(tmp_path)
    monkeypatch.setattr(builders.FederatedBuilder, "_generate_examples", None)
    again = builders.prepare(toy_source, tmp_path / "raw", out)
    assert dict(builders.counts(again)) == {"train": 50, "val": 3, "test": 9}
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_what_is_interrupted_leaves_nothing(toy_source, tmp_path, monkeypatch, stop, assert_identical):
    real, encoded = builders._encode, []

    def encode(entries, row, column):
        encoded.append(row)
        if len(encoded) == 200:
            raise stop("out of paper")
        return real(entries, row, column)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(builders, "_encode", encode)
        with pytest.raises(stop):
            builders.prepare(toy_source, tmp_path / "raw", out)
    assert len(encoded) == 200
    assert os.listdir(out) == []
    builders.prepare(toy_source, tmp_path / "raw", out)
    assert_identical(toy_source.tables(out)[0], toy_source.tables(tmp_path / "raw")[0])


def test_another_process_that_was_faster_wins(toy_source, tmp_path, monkeypatch):
    real, calls = builders.FederatedBuilder.download_and_prepare, []

    def slow(builder, *args, **options):
        calls.append(builder)
        if len(calls) == 1:
            builders.prepare(toy_source, tmp_path / "raw", tmp_path / "out")
        return real(builder, *args, **options)

    monkeypatch.setattr(builders.FederatedBuilder, "download_and_prepare", slow)
    builders.prepare(toy_source, tmp_path / "raw", tmp_path / "out")
    assert len(calls) == 2
    assert os.listdir(tmp_path / "out") == ["federated_toy"]
    assert toy_source.tables(tmp_path / "out")[1] == "TFDS federated_toy/1.0.0"


def test_a_set_whose_files_are_missing_is_not_begun(toy_source, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected in .*/nowhere/toy the files toy\.txt"):
        builders.prepare(toy_source, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
