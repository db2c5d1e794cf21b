"""Wheel and sdist: complete, of one version, and usable outside of the checkout."""

import email
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

import fedjax_layers

ROOT = pathlib.Path(__file__).parents[1]


def python(*words, path=None, **how):
    """Run Python in a process of its own; with ``path`` that folder comes first, and no other of ours."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {} if path is None else {"PYTHONPATH": os.fspath(path)}
    return subprocess.run(
        [sys.executable, *map(str, words)], env=env, capture_output=True, text=True, check=True, **how
    )


def pip(*words):
    python("-m", "pip", "--disable-pip-version-check", "--quiet", *words, path=os.environ.get("PYTHONPATH"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist of the checkout, and the wheel that is built from this sdist."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    python("-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT, path=os.environ.get("PYTHONPATH"))
    (sdist,) = folder.glob("*.tar.gz")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sdist)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A folder into which the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = built.glob("*.whl")
    pip("install", "--no-deps", "--target", folder, wheel)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as box:
        names = set(box.namelist())
        (metadata,) = [email.message_from_bytes(box.read(n)) for n in names if n.endswith(".dist-info/METADATA")]
    tracked = subprocess.run(["git", "ls-files", "fedjax_layers"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in names if ".dist-info/" not in name} == set(tracked.stdout.splitlines())
    assert "fedjax_layers/py.typed" in names
    assert metadata["Version"] == fedjax_layers.__version__
    licences = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


@pytest.mark.slow
def test_the_sdist_holds_tests_and_pages(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as box:
        names = {name.partition("/")[2] for name in box.getnames()}
    for name in ("tests/test_packaging.py", "docs/architecture.md", "README.md", "NOTICE", "experiments/__init__.py"):
        assert name in names or not (ROOT / name).exists(), name


@pytest.mark.slow
def test_the_installed_package_runs_outside_of_the_checkout(installed, tmp_path):
    code = (
        "import fedjax_layers, fedjax_layers.ops as o; print(fedjax_layers.__file__, o.__file__, o.prefix_mask(1, 2))"
    )
    found = python("-c", code, path=installed, cwd=tmp_path).stdout.split(maxsplit=2)
    assert all(pathlib.Path(name).is_relative_to(installed) for name in found[:2])
    flags = ["--rounds", 1, "--dataset", "heart", "--model", "logistic_regression", "--out", "run", "--quiet"]
    told = python(installed / "bin" / "fedjax-layers", "run", "fedavg", *flags, path=installed, cwd=tmp_path)
    assert (told.stdout, told.stderr) == ("run\n", "")
    assert (tmp_path / "run" / "summary.json").is_file()


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "fedjax_layers/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", fedjax_layers.__version__)
    citation = (ROOT / "CITATION.cff").read_text()
    assert f'\nversion: "{fedjax_layers.__version__}"\n' in citation


def test_each_hook_before_a_commit_is_a_tool_of_the_test_extra():
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert "repo: http" not in text
    tools = set(re.findall(r"entry: (\w+)", text))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extra = {re.split(r"[=<>]", one)[0] for one in project["project"]["optional-dependencies"]["test"]}
    assert tools == {"ruff", "mypy"}
    assert tools <= extra
    assert all(importlib.metadata.version(tool) for tool in tools)
