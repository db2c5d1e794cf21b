"""A sweep that is killed at random moments goes on to the same table, bit for bit."""

import random
import shutil
import time

import pytest

from tests.cli.test_interrupt import start

SWEEP = "sweep fedprox --dataset heart --batch-size 128 --client-width all --rounds 40 --seeds 2"
SWEEP += " --evaluated-models trained"
GRID = ("--vary", "mu=0.01:1:16:log", "--data-dir", ".")
ROWS = 32


def lines(folder):
    path = folder / "rows.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def soon_after_a_row(process, part, rng):
    before = lines(part)
    while lines(part) == before:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    time.sleep(rng.choice([0, 0.003, rng.uniform(0, 0.2)]))


def while_it_starts(process, part, rng):
    del process, part
    time.sleep(rng.uniform(0, 3))


@pytest.mark.slow
@pytest.mark.parametrize("width", ["1", "4"], ids=["in turn", "vectorised"])
def test_kills_leave_the_same_table(tmp_path, width):
    flags = (*SWEEP.split(), *GRID, "--run-width", width)
    whole = start(*flags, "--out", tmp_path / "whole", programs=tmp_path / "programs")
    assert whole.communicate(timeout=600)[1] == ""
    rng, part = random.Random(int(width)), tmp_path / "part"
    for kill, moment in enumerate((soon_after_a_row, while_it_starts, soon_after_a_row)):
        own = shutil.copytree(tmp_path / "programs", tmp_path / str(kill))
        process = start(*flags, "--out", part, "--resume", programs=own)  # which it may leave half written
        moment(process, part, rng)
        assert process.poll() is None, "the sweep is too short for its kills"
        process.kill()
        process.communicate()
    assert 0 < lines(part) < ROWS
    rest = start(*flags, "--out", part, "--resume", programs=tmp_path / "programs")
    assert rest.communicate(timeout=600)[1] == ""
    assert rest.returncode == 0
    for name in ("results.csv", "results.parquet", "summary.json"):
        assert (part / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert lines(part) == ROWS
