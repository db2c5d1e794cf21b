"""An algorithm of a user's own file: what the page on adding one shows has flags, help, checks, runs and sweeps."""

import csv
import pathlib
import re

import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms import plug_ins
from tests.cli.command import assert_refused, cli

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "adding_an_algorithm.md"
SMALL = ["--dataset=digits", "--clients=3", "--model=logistic_regression", "--rounds=2", "--client-width=all"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page's first block as a file, its algorithm in the registry as long as the tests run."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len(code.splitlines()) < 60
    path = tmp_path_factory.mktemp("own") / "rotating.py"
    path.write_text(code, encoding="utf-8")
    before = dict(algorithms.registry)
    yield str(path)
    algorithms.registry.clear()
    algorithms.registry.update(before)


def test_its_options_are_in_the_help(file):
    shown = cli("run", "rotating", "--algorithm-file", file, "--help")
    assert shown.code == 0
    assert re.search(r"--layers N\s+how many are shared at a time \(at least\s+1\)\s+\[default:\s+1\]", shown.out)


def test_it_runs_and_its_file_is_in_the_config(file, tmp_path):
    command = ["run", "rotating", "--algorithm-file", file, *SMALL]
    assert cli(*command, "--layers=1", "--out", tmp_path / "one").code == 0
    assert file in (tmp_path / "one" / "config.json").read_text()
    refused = cli(*command, "--layers=3", "--out", tmp_path / "three")
    assert "--layers: expected at most the model's 1 layers, got 3" in refused.err
    assert refused.code == 2


@pytest.mark.slow
def test_it_is_swept(file, tmp_path):
    flags = ["--algorithm-file", file, *SMALL, "--model=mlp", "--vary", "layers=1,3"]
    assert cli("sweep", "rotating", *flags, "--out", tmp_path).code == 0
    with (tmp_path / "results.csv").open() as rows:
        assert [row["num_shared_layers"] for row in csv.DictReader(rows)] == ["1", "3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "expected a Python file, got"),
        ("x = 1", "expected a function with @factory"),
        ("import no_such_module", "expected a file that runs, got ModuleNotFoundError"),
    ],
)
def test_a_file_without_an_algorithm_is_refused_in_one_line(text, expected, tmp_path):
    path = tmp_path / "wrong.py"
    if text is not None:
        path.write_text(text)
    assert_refused(cli("run", "wrong", "--algorithm-file", path, *SMALL), "--algorithm-file: ", expected)


def test_a_name_that_is_taken_is_refused(tmp_path):
    path = tmp_path / "again.py"
    path.write_text(
        "from fedjax_layers.algorithms import factory, local as whole\n"
        "from fedjax_layers.clients import Trainer\n"
        "from fedjax_layers.types import Algorithm\n\n\n"
        "@factory()\ndef fedavg(trainer: Trainer) -> Algorithm:\n    return whole(trainer)\n"
    )
    with pytest.raises(ValueError, match=r"algorithm 'fedavg' of .*again\.py: expected a name that is not taken"):
        algorithms.add_algorithm_file(str(path))


def test_an_installed_package_that_cannot_be_loaded_costs_no_other(monkeypatch):
    class Point:
        name, value = "broken", "no_such_package:broken"

        def load(self):
            raise ImportError("no_such_package")

    monkeypatch.setattr(plug_ins.importlib.metadata, "entry_points", lambda group: [Point()])
    registry = {}
    with pytest.warns(UserWarning, match="algorithm 'broken' of no_such_package:broken: ImportError: no_such_package"):
        plug_ins.add_installed(registry)
    assert registry == {}
    Point.load = lambda self: algorithms.fedavg
    plug_ins.add_installed(registry)
    assert registry == {"broken": algorithms.fedavg}
