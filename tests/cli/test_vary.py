"""Texts of ``--vary`` as values: ranges are numbers, lists are texts until an option says what they are."""

import pytest

from fedjax_layers.cli.arguments import parse
from fedjax_layers.cli.vary import parse_spec, varied
from fedjax_layers.sweeps.request import Ends


@pytest.mark.parametrize(
    ("text", "values", "is_range"),
    [
        ("1.0:4.0:4", [1.0, 2.0, 3.0, 4.0], True),
        ("1e-2:1:3:log", [0.01, 0.1, 1.0], True),
        ("1:9:3", [1, 5, 9], True),
        ("1,2.5,true,best", ["1", "2.5", "true", "best"], False),
        ("7", ["7"], False),
    ],
)
def test_specs(text, values, is_range):
    found = parse_spec("x", text)
    assert found.values == (pytest.approx(values) if is_range else values)
    assert found.is_range == is_range
    assert [type(x) for x in found.values] == [type(x) for x in values]


def test_intervals():
    assert parse_spec("x", "1e-3:1:log", ends=True) == (Ends(1e-3, 1.0, True), True, True)
    assert parse_spec("x", "0:1", ends=True) == (Ends(0.0, 1.0), True, False)
    assert parse_spec("x", "a,b", ends=True) == (["a", "b"], False, False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_spec("mu", "a:b:3"), "mu: expected numbers as the ends of the range, got 'a' in 'a:b:3'"),
        (lambda: parse_spec("mu", "1:2"), "mu: expected low:high:number"),
        (lambda: parse_spec("mu", "1:2:x"), "mu: expected low:high:number"),
        (lambda: parse_spec("mu", "1:2:3:ln"), "mu: expected low:high:number"),
        (lambda: parse_spec("mu", "-1:2:3:log"), "mu: range: expected positive ends"),
        (lambda: parse_spec("mu", ""), "mu: expected at least one value, got ''"),
        (lambda: parse_spec("mu", "1:2:3", ends=True), "mu: expected low:high or low:high:log"),
        (lambda: parse_spec("mu", "1:x", ends=True), "mu: expected numbers as the ends"),
    ],
)
def test_what_is_no_spec_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_objective_joins_every_algorithm_that_is_varied():
    line = "sweep --vary algorithm=fedavg,player_fl --objective fedprox"
    assert varied(parse(line.split())).settings == [{"algorithm": "fedprox"}, {"algorithm": "player_fl+fedprox"}]
