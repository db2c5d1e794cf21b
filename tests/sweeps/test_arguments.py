"""Bad arguments of ``fl.sweep``: one line that names the argument, before anything is compiled."""

import jax
import optax
import pytest

import fedjax_layers as fl

BAD = [
    ("build", 3, "a method, or a function that makes one, got 3"),
    ("grid", None, "a mapping of names to values, or a list of mappings, got None"),
    ("grid", [1, 2], "a mapping of names to values, or a list of mappings, got [1, 2]"),
    ("grid", {"lr": ["a"]}, "numbers for 'lr', got 'a'"),
    ("grid", {"lr": [[1, 2], [3, 4]]}, "numbers for 'lr', got [1, 2]"),
    ("grid", [{"lr": None}], "numbers for 'lr', got None"),
    ("grid", [{1: 2}], "names that are text, got 1"),
    ("grid", {}, "at least one name with its values, got none"),
    ("task", None, "a Task, got None"),
    ("data", 3, "ClientData, DeviceData, or a function of the seed that makes them, got 3"),
    ("rounds", "3", "a whole number, got '3'"),
    ("rounds", 1.5, "a whole number, got 1.5"),
    ("seeds", 3, "a list of whole numbers from 0 to 4294967295, got 3"),
    ("seeds", [-1], "a list of whole numbers from 0 to 4294967295, got [-1]"),
    ("seeds", [2**40], "a list of whole numbers from 0 to 4294967295, got [1099511627776]"),
    ("seeds_vary", "start", "a list of names, got 'start'"),
    ("sampling", 3, "a Sampling or None, got 3"),
    ("weights", "x", "a number for each client, or None, got 'x'"),
    ("eval_every", 1.5, "a whole number, got 1.5"),
    ("axis", 4, "a ClientAxis, got 4"),
    ("evaluated_models", (), "a list of at least one name, got ()"),
    ("evaluated_models", "trained", "a list of at least one name, got 'trained'"),
    ("width", "auto", "a whole number or None, got 'auto'"),
    ("runs", None, "a ClientAxis, got None"),
    ("decide", ("lr", 3), "a pair of a name of the grid and a function, or None, got ('lr', 3)"),
    ("stopping", (1,), "a Stopping, got (1,)"),
    ("compare", "trained", "a pair of a scored model and \"best\" or \"last\", or None, got 'trained'"),
    ("compare", ("trained", "bst"), "a pair of a scored model and"),
    ("on_end", 3, "a function or None, got 3"),
]  # fmt: skip


@pytest.fixture(scope="module")
def good():
    data = fl.data.load("heart")
    task = fl.task(fl.models.build_model("logistic_regression", 5), data)

    def build(hyper):
        return fl.algorithms.fedavg(fl.LocalSolver(optax.sgd(hyper["lr"]), batch_size=128))

    return {"build": build, "grid": {"lr": [0.1, 0.2]}, "task": task, "data": data, "rounds": 1, "width": 1}


@pytest.mark.parametrize(("name", "value", "expected"), BAD, ids=[f"{name}={value!r:.20}" for name, value, _ in BAD])
def test_bad_arguments_are_named(good, name, value, expected, monkeypatch):
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *_, **__: pytest.fail("something was compiled"))
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (the whole message is compared)
        fl.sweep(**good | {name: value})
    assert str(raised.value).startswith(f"{name}: expected {expected}")
    assert "\n" not in str(raised.value)


def test_names_that_the_function_does_not_ask_for(good):
    with pytest.raises(ValueError, match=r"^grid: expected the names that build asks for, as 'lr', got mu$"):
        fl.sweep(**good | {"grid": {"mu": [0.1]}})
