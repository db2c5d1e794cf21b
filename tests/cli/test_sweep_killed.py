"""A sweep that is killed at random moments goes on to the same table, bit for bit."""

import random
import time

import pytest

from tests.cli.test_interrupt import start

SWEEP = "sweep fedprox --dataset heart --batch-size 128 --client-width all --rounds 200 --seeds 2"
SWEEP += " --evaluated-models trained"
GRID = ("--vary", "mu=0.01:1:40:log", "--data-dir", ".")
KILLS = 10


def lines(folder):
    path = folder / "rows.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("width", ["1", "4"], ids=["in turn", "vectorised"])
def test_ten_kills_leave_the_same_table(tmp_path, width):
    flags = (*SWEEP.split(), *GRID, "--run-width", width)
    whole = start(*flags, "--out", tmp_path / "whole")
    assert whole.communicate(timeout=600)[1] == ""
    rng = random.Random(int(width))
    part, kills = tmp_path / "part", 0
    while kills < KILLS:
        process = start(*flags, "--out", part, "--resume")
        if kills % 2:  # while it starts, or later
            time.sleep(rng.uniform(0, 8))
        else:  # soon after a row was stored
            before = lines(part)
            while lines(part) == before:
                assert process.poll() is None, process.communicate()
                time.sleep(0.002)
            time.sleep(rng.choice([0, 0.003, rng.uniform(0, 0.5)]))
        assert process.poll() is None, "the sweep is too short for ten kills"
        process.kill()
        process.communicate()
        kills += 1
    assert 0 < lines(part) < 80
    rest = start(*flags, "--out", part, "--resume")
    assert rest.communicate(timeout=600)[1] == ""
    assert rest.returncode == 0
    for name in ("results.csv", "results.parquet", "summary.json"):
        assert (part / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert lines(part) == 80
