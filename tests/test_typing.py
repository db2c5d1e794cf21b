"""A type checker sees the package's types: right names have theirs, a misspelt one is an error."""

import pathlib
import sys

import pytest
from mypy import api

import fedjax_layers as fl

ROOT = pathlib.Path(fl.__file__).parents[1]
USER = """
import typing
import jax.numpy as jnp
import fedjax_layers as fl

data = fl.data.load("digits", clients=4)
task = fl.task(fl.models.build_model("mlp", 10), (64,), 10)
cohort = fl.Cohort(jnp.arange(1), jnp.ones(1), fl.Ranges(jnp.zeros(1), jnp.ones(1)), fl.Pool(jnp.ones(3), jnp.ones(3)))

def run(build: object) -> fl.Result:
    return fl.simulate(lambda hyper: fl.algorithms.local(hyper), task, data, rounds=1)

sgd: typing.Any = None
reveal_type(data)
reveal_type(task.layers)
reveal_type(cohort.train)
reveal_type(fl.simulate(lambda hyper: fl.algorithms.local(hyper), task, data, rounds=1).history)
reveal_type(fl.sampling.uniform(2, 4))
reveal_type(fl.algorithms.player_fl(fl.LocalSolver(sgd, 32), threshold=1.5))
"""
REVEALED = {
    "data": "fedjax_layers.data.federated.client_data.ClientData",
    "task.layers": "fedjax_layers.types.layer_map.LayerMap",
    "cohort.train": "fedjax_layers.types.examples.Ranges",
    "history": "fedjax_layers.engine.history.history.History",
    "uniform": "fedjax_layers.engine.sampling.Sampling",
    "method": "fedjax_layers.algorithms.factory.Method[",
}
MISTAKES = {
    "fl.simulat": 'has no attribute "simulat"',
    "fl.data.laod": 'has no attribute "laod"',
    'fl.LocalSolver(epochs="two")': 'incompatible type "str"',
    "fl.simulate(task=1)": "Missing named argument",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What mypy, as a user runs it, says of three files: right ones, wrong ones, and every public name."""
    folder = tmp_path_factory.mktemp("user")
    every = [name for name in fl.__all__ if name != "__version__"]
    texts = {
        "right": USER,
        "wrong": "import fedjax_layers as fl\n" + "\n".join(MISTAKES),
        "every": "import fedjax_layers as fl\n" + "\n".join(f"reveal_type(fl.{name})" for name in every),
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    # Only what is said of the user's own files counts, as where the package is installed.
    (folder / "mypy.ini").write_text(f"[mypy]\nstrict = true\nmypy_path = {ROOT}\nfollow_imports = silent\n")
    files = [str(folder / f"{name}.py") for name in texts]
    config = ["--config-file", str(folder / "mypy.ini"), "--cache-dir", str(folder / "cache")]
    report, problems, _ = api.run([*files, *config, "--python-executable", sys.executable, "--no-error-summary"])
    assert not problems
    return {name: [line for line in report.splitlines() if f"{name}.py:" in line] for name in texts}


def test_right_names_have_their_types(told):
    assert not [line for line in told["right"] if "error" in line]
    assert len(told["right"]) == len(REVEALED)
    for line, kind in zip(told["right"], REVEALED.values(), strict=True):
        assert kind in line


def test_a_misspelt_name_or_a_wrong_argument_is_an_error(told):
    lines = {int(line.split(":")[1]): line for line in told["wrong"] if "error" in line}
    for number, (text, message) in enumerate(MISTAKES.items(), start=2):
        assert message in "".join(line for line in told["wrong"] if f"py:{number}:" in line), (text, lines)


def test_every_public_name_is_known_and_none_is_any(told):
    assert not [line for line in told["every"] if "error" in line]
    assert len(told["every"]) == len(fl.__all__) - 1
    assert not [line for line in told["every"] if line.endswith('type is "Any"')]


def test_the_marker_is_in_the_package():
    """Hatch packs every file of the folder."""
    assert (pathlib.Path(fl.__file__).parent / "py.typed").is_file()
