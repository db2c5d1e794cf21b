"""Choosing how many runs go at once: by time, within memory, once per kind of run."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedjax_layers.engine.plan import Plan
from fedjax_layers.sweeps import widths
from fedjax_layers.sweeps.widths import Programs, choose_width, pinned_width, usable_memory
from tests import toy

RUNS = list(range(64))


class Fake:
    """A program whose intervals take as long as it is told, by a clock of its own."""

    clock = 0.0
    plan_rounds = 2

    def __init__(self, width, seconds, per_run=1000):
        self.size, self.seconds, self.bytes = width, seconds, per_run * width
        self.plan, self.compiled = Plan(toy.make_task(np.float32), Fake.plan_rounds), {}

    def put(self, runs):
        assert len(runs) == self.size
        return runs

    def start(self, stack):
        return stack

    def planned_bytes(self, stack, state):
        self.compiled["once"] = True
        return self.bytes

    def interval(self, stack, state, first, count):
        Fake.clock += self.seconds * (count + 1) / 2  # as long again for the evaluation
        return state, [], []


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(widths.time, "perf_counter", lambda: Fake.clock)
    monkeypatch.setattr(Fake, "plan_rounds", 2)


def make(seconds):
    """Programs by width; an interval of each takes so long per run."""
    made = {}

    def of(width):
        made[width] = Fake(width, seconds[width] * width)
        return made[width]

    return of, made


def test_the_fastest_width_is_taken_and_wider_ones_are_not_tried_after_a_slower():
    of, made = make({1: 0.2, 8: 0.1, 32: 0.12, 128: 0.01})
    choice = choose_width(of, RUNS, intervals=10, number=512, memory=None)
    assert choice.program is made[8]
    assert sorted(made) == [1, 8, 32]
    assert choice.record["width"] == choice.record["runs_at_once"] == 8
    assert choice.record["seconds_per_run"] == {"1": 0.3, "8": 0.15, "32": 0.18}
    assert choice.record["rounds_timed"] == 2


@pytest.mark.parametrize(
    ("seconds", "intervals", "number", "memory", "tried"),
    [
        ({1: 0.1, 8: 0.01}, 1, 50, None, [1]),  # too little to do
        ({1: 0.1, 8: 0.01, 32: 0.001}, 10, 512, 10_000, [1, 8]),  # 32 would not fit: made, and not timed
        ({1: 5.5, 8: 0.1}, 10, 512, None, [1]),  # timing 8 might take 44 s
    ],
)
def test_what_is_not_worthwhile_or_does_not_fit_is_not_timed(seconds, intervals, number, memory, tried):
    of, _ = make(seconds)
    choice = choose_width(of, RUNS, intervals, number, memory)
    assert [int(width) for width in choice.record["seconds_per_run"]] == tried
    assert choice.record["width"] == tried[-1]


def test_of_a_long_interval_only_some_rounds_are_timed():
    of, made = make({1: 0.09, 8: 0.05, 32: 0.06})
    Fake.plan_rounds = 100
    choice = choose_width(of, RUNS, intervals=2, number=64, memory=None)
    assert choice.record["rounds_timed"] == 5  # half a second
    assert choice.program is made[8]


def test_wider_than_the_runs_that_go_together_is_waste():
    of, made = make({1: 0.5, 8: 0.1, 32: 0.05})
    assert choose_width(of, RUNS[:12], 10, 512, None).record["width"] == 8
    assert sorted(made) == [1, 8, 32]
    assert made[8].size == 8


def test_a_pinned_width_is_halved_until_it_fits():
    of, _ = make(dict.fromkeys((1, 2, 4, 8, 16), 0.1))
    assert pinned_width(of, RUNS, 16, None).record["width"] == 16
    assert pinned_width(of, RUNS, 16, 5_000).record["width"] == 4
    assert pinned_width(of, RUNS, 16, 10).record["width"] == 1


def choose(programs, kind="k", static="s", exact=False):
    of, _ = make({1: 0.1, 8: 0.05, 32: 0.06})
    runs = [SimpleNamespace(inputs=run, stream=None, rounds=20) for run in RUNS]
    group = {"kind": kind, "static": static, "program": lambda width, same_seed: of(width), "runs": runs}
    group |= {"plan": Plan(toy.make_task(np.float32), 2), "number": 512, "exact": exact, "facts": {"axis": "all"}}
    return programs.choose(SimpleNamespace(**group), same_seed=False)


def test_each_kind_is_chosen_once_and_each_program_made_once():
    said = []
    programs = Programs(None, say=lambda kind, record: said.append(kind))
    first = choose(programs)
    assert choose(programs) is first
    other = choose(programs, static="of other shapes")
    assert other is not first
    assert other.size == first.size == 8
    assert choose(programs, kind="exact", exact=True).size == 1
    assert said == ["k", "exact"] == list(programs.record)
    assert programs.record["k"]["axis"] == "all"
    assert programs.compiled == 3  # widths 1, 8 and 32 of the first


def test_what_was_chosen_before_is_kept():
    before = {"k": {"width": 32, "how": "measured"}}
    assert choose(Programs(None, before)).size == 32
    assert choose(Programs(1, before)).size == 1


def test_memory_is_known_here():
    assert usable_memory() > 10**6
