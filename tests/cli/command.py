"""The command line, called in this process."""

import contextlib
import io
from typing import NamedTuple

import jax

from fedjax_layers.cli import main

SMALL = [
    "--dataset",
    "heart",
    "--rounds",
    "2",
    "--batch-size",
    "128",
    "--client-width",
    "all",
    "--evaluated-models",
    "trained",
]


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


def cli(*arguments):
    """Run one command; its arguments are turned into text."""
    jax.devices()  # once the backend is up, ``main`` leaves the test process its eight devices
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(a) for a in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def assert_refused(outcome, *parts):
    """Exit code 2, nothing but one line on the error output, and these parts in it."""
    assert outcome.code == 2
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("fedjax-layers: ")
    for part in parts:
        assert part in line


def contents(folder):
    """Every file under a folder, by path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
