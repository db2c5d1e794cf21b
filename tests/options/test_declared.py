"""Options as they are declared in a signature: their types, bounds and marks, and what follows from them."""

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt

from fedjax_layers import algorithms
from fedjax_layers.options import Mark, defaults_of, options_of, taken_from_config
from fedjax_layers.options.traced import Traced


def taker(
    labels,
    *,
    rate: Annotated[Traced[float], Ge(0)] = 0.1,
    share: Annotated[float | None, Interval(gt=0, le=1)] = None,
    count: Annotated[Traced[int], Ge(1), Mark.LAYERS] = 2,
    widths: Annotated[tuple[int, ...], Ge(1), Le(9)] = (3,),
    chance: Annotated[float, Ge(0), Lt(1)] = 0.5,
    speed: Annotated[float, Gt(0)] = 1.0,
    rule: Literal["mean", "sum"] = "mean",
    name: str,
    team_of: Annotated[tuple[int, ...] | None, Mark.FIELD] = None,
):
    """Takes options.

    Args:
      labels: no option.
      rate: how fast. Never below zero.
      name: ``who`` it is,
        in two lines.
    """


def test_type_default_help_and_marks_stand_in_the_signature():
    own = options_of(taker)
    assert list(own) == ["rate", "share", "count", "widths", "chance", "speed", "rule", "name", "team_of"]
    assert own["rate"].help == "how fast"
    assert own["name"].help == "who it is, in two lines"
    assert own["name"].required
    assert own["rule"].choices == ("mean", "sum")
    assert [name for name, option in own.items() if option.has(Mark.TRACED)] == ["rate", "count"]
    assert defaults_of(taker)["widths"] == (3,)
    assert "name" not in defaults_of(taker)
    assert taken_from_config(taker, "team_of")
    assert not taken_from_config(taker, "rule")
    assert not taken_from_config(taker, "server_optimizer")


def test_a_function_with_some_arguments_given_has_the_options_of_the_whole():
    assert options_of(functools.partial(taker, [1]))["rate"] == options_of(taker)["rate"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", -1, "rate: expected at least 0, got -1"),
        ("rate", float("nan"), "rate: expected a finite number, got nan"),
        ("rate", "fast", "rate: expected a number, got 'fast'"),
        ("share", 0, "share: expected more than 0 and at most 1, got 0"),
        ("count", 0, "count: expected at least 1, got 0"),
        ("count", 2**31, "count: expected at most 2147483647, got 2147483648"),
        ("count", 1.5, "count: expected a whole number, got 1.5"),
        ("widths", [3, 10], r"widths: expected 1 to 9, got \[3, 10\]"),
        ("chance", 1, "chance: expected at least 0 and less than 1, got 1"),
        ("speed", 0, "speed: expected a positive number, got 0"),
        ("rule", "men", "rule: expected one of mean, sum, got 'men'; did you mean 'mean'?"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, value, expected):
    with pytest.raises(ValueError, match=f"^{expected}".replace("?", r"\?")):
        options_of(taker)[name].fit(value)


def test_what_fits_has_the_declared_type():
    own = options_of(taker)
    assert repr(own["rate"].fit(1)) == "1.0"
    assert own["widths"].fit(3) == (3,)
    assert own["share"].fit(None) is None


def test_arrays_are_looked_at_and_traced_numbers_pass():
    own = options_of(taker)["rate"]
    own.check(np.array([0.0, 2.0]))
    for values in (np.array([0.0, -2.0]), jnp.array([0.0, -2.0])):
        with pytest.raises(ValueError, match="rate: expected at least 0"):
            own.check(values)
    jax.jit(lambda x: own.check(x) or x)(-1.0)


def test_floats_are_traced_and_whole_numbers_where_it_is_asked_for():
    own = options_of(taker)
    assert own["rate"].traces(0.5)
    assert not own["share"].traces(0.5)
    assert not own["count"].traces(2)
    assert own["count"].traces(2, counts=True)
    assert not own["count"].traces(None, counts=True)


@pytest.mark.parametrize("name", algorithms.registry)
def test_every_algorithm_says_what_its_options_are_for_and_has_defaults_within_their_bounds(name):
    for option in options_of(algorithms.registry[name]).values():
        assert option.help, f"{name} does not tell what {option.name} is"
        if not option.required and option.default is not None:
            option.check(option.default)
            assert not option.choices or option.default in option.choices


def test_a_number_out_of_bounds_is_refused_in_python_as_well():
    with pytest.raises(ValueError, match=r"^mu: expected at least 0, got -1$"):
        algorithms.fedprox(None, mu=-1)
