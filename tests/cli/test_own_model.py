"""A model of a user's own from the command line: flags, help, config, resume, and refusals in one line."""

import json
import re
import sys

import pytest

from tests.cli.command import SMALL, assert_refused, cli

TEXT = '''
"""Models."""

import jax
import jax.numpy as jnp
from flax import nnx

import sizes


class Net(nnx.Module):
    """A network.

    Args:
      num_classes: number of classes.
    """

    def __init__(self, sample_shape: tuple[int, ...], num_classes: int, *, hidden: int = sizes.HIDDEN, rngs: nnx.Rngs):
        """Build it.

        Args:
          sample_shape: shape of an example.
          num_classes: number of classes.
          hidden: width of the hidden layer.
          rngs: where weights are drawn from.
        """
        (inputs,) = sample_shape
        self.last = nnx.Linear(hidden, num_classes, rngs=rngs)
        self.first = nnx.Linear(inputs, hidden, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x)))


def line(num_classes: int, extra: int = 0, *, scale: float):
    """Make a pair of functions.

    Args:
      num_classes: number of classes.
      extra: outputs too many.
      scale: of the weights.
    """
    def init(key):
        return {"line": {"w": scale * jax.random.normal(key, (10, num_classes + extra))}}

    return init, lambda params, x: x @ params["line"]["w"]


def broken(num_classes):
    raise RuntimeError("no luck\\nat all")


def number(num_classes):
    return 3


width = 3
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file that imports its neighbour."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "sizes.py").write_text("HIDDEN = 4\n")
    (folder / "own_nets.py").write_text(TEXT)
    yield str(folder / "own_nets.py")
    sys.modules.pop("sizes", None)
    sys.modules.pop("own_nets", None)


def test_its_arguments_are_flags_with_help(file):
    shown = cli("run", "fedavg", "--model", f"{file}:Net", "--help")
    assert shown.code == 0
    assert re.search(r"--hidden N\s+width of the hidden layer\s+\[default:\s+4\]", shown.out)
    assert "--rngs" not in shown.out
    assert "--num-classes" not in shown.out


def test_it_runs_is_recorded_and_is_found_again(file, tmp_path):
    out = tmp_path / "run"
    command = ["run", "fedavg", *SMALL, "--model", f"{file}:Net", "--out", out]
    assert cli(*command, "--hidden", "3").code == 0
    config = json.loads((out / "config.json").read_text())
    assert config["model"] == f"{file}:Net"
    assert config["model_options"] == {"hidden": 3}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["layers"] == ["first", "last"]
    again = cli("run", "--out", out, "--resume", "--rounds", "3")
    assert again.code == 0, again.err
    assert_refused(cli(*command, "--hidden", "5", "--resume"), "--hidden: expected none, or 3")
    verified = cli("verify", out, "--rounds", "1")
    assert verified.code == 0, verified.out + verified.err


def test_a_module_of_the_current_folder_is_found(file, monkeypatch):
    monkeypatch.chdir(file.rpartition("/")[0])
    shown = cli("run", "local", "--model", "own_nets:line", "--help")
    assert re.search(r"--scale X\s+of the weights\s+\[required\]", shown.out), shown.err


@pytest.mark.slow
def test_its_options_are_swept(file, tmp_path):
    flags = [*SMALL, "--model", f"{file}:Net", "--vary", "hidden=2,3", "--vary", "learning_rate=0.1,0.01"]
    assert cli("sweep", "fedavg", *flags, "--out", tmp_path).code == 0


@pytest.mark.parametrize(
    ("model", "flags", "expected"),
    [
        ("no/such/file.py:Net", [], "model: expected a Python file, got no/such/file.py"),
        ("no_such_module:Net", [], "model: expected a module that can be imported, got 'no_such_module', Module"),
        ("{}:Nte", [], "expected one of Net, broken, line, number, got 'Nte'; did you mean 'Net'?"),
        ("{}:width", [], "model: expected a function or a class named width in"),
        ("{}:", [], "model: expected package.module:name or path/to/file.py:name, got"),
        ("{}:broken", [], "that makes a model, got RuntimeError: no luck"),
        ("{}:number", [], "model: expected a Flax Linen, Flax NNX or Equinox module"),
        ("{}:line", [], "expected a value for 'scale', got none"),
        ("{}:line", ["--scale", "1", "--extra", "2"], "model: expected 5 outputs, one for each class or target, got 7"),
        ("{}:Net", ["--hiden", "2"], "did you mean '--hidden'?"),
        ("{}:Net", ["--hidden", "two"], "hidden: expected a whole number, got 'two'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(file, model, flags, expected, tmp_path):
    outcome = cli("run", "fedavg", *SMALL, "--model", model.format(file), *flags, "--out", tmp_path / "run")
    assert_refused(outcome, expected)
    assert not (tmp_path / "run").exists()
