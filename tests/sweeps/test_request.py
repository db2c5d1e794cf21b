"""Settings from products, pairs and draws; requests, and what is none."""

import math

import pytest

from fedjax_layers.sweeps.request import (
    Ends,
    Shard,
    Stopping,
    SweepRequest,
    drawn,
    product,
    spaced,
    zipped,
)


def test_every_combination_the_last_name_fastest():
    found = product(a=[1, 2], b=["x", "y"])
    assert found == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]


def test_pairs():
    assert zipped(a=[1, 2], b=[3, 4]) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]


def test_draws_lie_inside_are_seeded_and_independent():
    found = drawn(400, 3, a=Ends(1e-4, 1e-1, log=True), b=Ends(-1.0, 1.0), c=[8, 16])
    assert found == drawn(400, 3, a=Ends(1e-4, 1e-1, log=True), b=Ends(-1.0, 1.0), c=[8, 16])
    assert found != drawn(400, 4, a=Ends(1e-4, 1e-1, log=True), b=Ends(-1.0, 1.0), c=[8, 16])
    assert all(1e-4 <= s["a"] <= 1e-1 and -1 <= s["b"] <= 1 for s in found)
    below = sum(s["a"] < 10**-2.5 for s in found)  # half of the decades
    assert abs(below - 200) < 50
    assert {s["c"] for s in found} == {8, 16}
    assert len({(s["a"] < 10**-2.5, s["b"] < 0, s["c"]) for s in found}) == 8


def test_every_setting_of_a_request_has_every_seed():
    request = SweepRequest(zipped(a=[1, 2], b=["x", "y"]), range(5, 7))
    settings = {5: {"a": 1, "b": "x"}, 6: {"a": 2, "b": "y"}}
    assert request.runs() == [(0, settings[5], 5), (1, settings[5], 6), (2, settings[6], 5), (3, settings[6], 6)]
    assert request.names == ["a", "b"]


def test_ranges():
    assert spaced(1, 4, 4) == [1.0, 2.0, 3.0, 4.0]
    assert spaced(1e-3, 10, 5, log=True) == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])
    assert spaced(2, 5, 1) == [2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: product(a=[]), "a: expected at least one value, got none"),
        (lambda: zipped(a=[1], b=[1, 2]), "grid: expected as many values of each name, got 1 of a, 2 of b"),
        (lambda: drawn(0, a=[1]), "grid: expected at least 1 setting to draw, got 0"),
        (lambda: drawn(1, a=Ends(0, 1, log=True)), "a: expected positive ends for equal ratios, got 0 and 1"),
        (lambda: spaced(0, 1, 0), "range: expected at least 1 number, got 0"),
        (lambda: spaced(0, math.inf, 2), "range: expected finite ends, got 0 and inf"),
        (lambda: SweepRequest([]), "grid: expected at least one setting, got none"),
        (lambda: SweepRequest([{}] * 400, range(300)), "grid: expected at most 100000 runs, got 400 settings with 300"),
        (lambda: SweepRequest([{}], ()), "seeds: expected different numbers, got"),
        (lambda: SweepRequest([{}], (1, 1)), "seeds: expected different numbers, got"),
        (lambda: SweepRequest([{}], seeds_vary=("starts",)), "seeds_vary: expected one of .* did you mean 'start'"),
        (lambda: SweepRequest([{}], width=0), "width: expected at least 1, got 0"),
        (
            lambda: SweepRequest([{}], stopping=Stopping((1,)), shard=Shard(0, 2)),
            "shard: expected none beside rungs, where all settings are compared, got 0/2",
        ),
    ],
)
def test_what_is_no_grid_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
