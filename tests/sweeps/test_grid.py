"""Settings from products, pairs, draws and specs; and what is no grid."""

import math

import pytest

from fedjax_layers.sweeps.grid import Ends, drawn, parse_ends, parse_values, product, spaced, zipped


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


def test_ranges():
    assert spaced(1, 4, 4) == [1.0, 2.0, 3.0, 4.0]
    assert spaced(1e-3, 10, 5, log=True) == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])
    assert spaced(2, 5, 1) == [2.0]


@pytest.mark.parametrize(
    ("text", "values", "is_range"),
    [
        ("1.0:4.0:4", [1.0, 2.0, 3.0, 4.0], True),
        ("1e-2:1:3:log", [0.01, 0.1, 1.0], True),
        ("1:9:3", [1, 5, 9], True),
        ("1,2.5,true,best", [1, 2.5, True, "best"], False),
        ("7", [7], False),
    ],
)
def test_specs(text, values, is_range):
    found = parse_values("x", text)
    assert found.values == (pytest.approx(values) if is_range else values)
    assert found.is_range == is_range
    assert [type(x) for x in found.values] == [type(x) for x in values]


def test_intervals():
    assert parse_ends("x", "1e-3:1:log") == (Ends(1e-3, 1.0, True), True, True)
    assert parse_ends("x", "0:1") == (Ends(0.0, 1.0), True, False)
    assert parse_ends("x", "a,b") == (["a", "b"], False, False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: product(a=[]), "a: expected at least one value, got none"),
        (lambda: zipped(a=[1], b=[1, 2]), "grid: expected as many values of each name, got 1 of a, 2 of b"),
        (lambda: drawn(0, a=[1]), "grid: expected at least 1 setting to draw, got 0"),
        (lambda: drawn(1, a=Ends(0, 1, log=True)), "a: expected positive ends for equal ratios, got 0 and 1"),
        (lambda: spaced(0, 1, 0), "range: expected at least 1 number, got 0"),
        (lambda: spaced(0, math.inf, 2), "range: expected finite ends, got 0 and inf"),
        (lambda: parse_values("mu", "a:b:3"), "mu: expected numbers as the ends of the range, got 'a' in 'a:b:3'"),
        (lambda: parse_values("mu", "1:2"), "mu: expected low:high:number"),
        (lambda: parse_values("mu", "1:2:x"), "mu: expected low:high:number"),
        (lambda: parse_values("mu", "1:2:3:ln"), "mu: expected low:high:number"),
        (lambda: parse_values("mu", "-1:2:3:log"), "mu: range: expected positive ends"),
        (lambda: parse_values("mu", ""), "mu: expected at least one value, got ''"),
        (lambda: parse_ends("mu", "1:2:3"), "mu: expected low:high or low:high:log"),
        (lambda: parse_ends("mu", "1:x"), "mu: expected numbers as the ends"),
    ],
)
def test_what_is_no_grid_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
