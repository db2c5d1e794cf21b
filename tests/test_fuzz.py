"""Bad input in a small form: a few malformed files, configs and command lines of every kind; see benchmarks/fuzz.py."""

import pathlib
import re
import sys

import jax
import pytest

ROOT = pathlib.Path(__file__).parent.parent
# The script of a child process that converts the pickled files of PFLlib. It can name nothing but what stands for
# NumPy's arrays and types, and nothing imports it: see tests/data/sources/test_pfllib.py.
UNPICKLES = pathlib.Path("fedjax_layers/data/sources/own/pfllib/unpickling.py")
FORBIDDEN = re.compile(
    r"\bimport (pickle|dill|joblib|marshal|shelve)\b"
    r"|\bfrom (pickle|dill|joblib|marshal|shelve)\b|(?<![\w.])(eval|exec)\(|allow_pickle\s*=\s*True|torch\.load"
    r"|shell\s*=\s*True|os\.(system|popen)\(|yaml\.(unsafe_)?load\("
)


@pytest.fixture
def fuzz(monkeypatch):
    jax.devices()  # once the backend is up, a command leaves the test process its eight devices
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import fuzz  # noqa: PLC0415

    yield fuzz
    for name in [name for name in sys.modules if name == "fuzz" or name.startswith("fuzz_")]:
        del sys.modules[name]


def test_nothing_that_is_malformed_gets_through(fuzz, monkeypatch):
    """Bombs have tests of their own with lower limits, and a damaged run costs a run: they are left out."""
    few = {kind: make for kind, make in fuzz.kinds().items() if not kind.startswith(("bomb", "run: "))}
    monkeypatch.setattr(fuzz, "kinds", lambda: few)
    found = fuzz.campaign(300, seed=4, say=lambda _: None)
    assert found["failures"] == []
    assert found["cases"] > 250
    assert found["outcomes"]["ok"] > 10
    assert found["outcomes"]["refused"] > 100


def refuse():
    raise ValueError("x: expected 1, got 2")


def fail():
    raise TypeError("a bug")


def tell_another():
    raise ValueError("cannot reshape array")


def hold():
    import time  # noqa: PLC0415

    time.sleep(5)


@pytest.mark.parametrize(
    ("case", "kind"),
    [(dict, "ok"), (refuse, "refused"), (fail, "traceback"), (tell_another, "unclear"), (hold, "hang")],
)
def test_the_judge_tells_what_came_of_a_case(fuzz, monkeypatch, tmp_path, case, kind):
    import fuzz_watch  # noqa: PLC0415

    monkeypatch.setattr(fuzz_watch, "MOST_SECONDS", 1)
    assert fuzz_watch.judged(case, tmp_path).kind == kind


def test_the_judge_sees_memory_and_changed_files(fuzz, monkeypatch, tmp_path):
    import fuzz_watch  # noqa: PLC0415

    monkeypatch.setattr(fuzz_watch, "MOST_BYTES", 2**24)
    assert fuzz_watch.judged(lambda: b"1" * 2**27, tmp_path).kind == "memory"
    assert fuzz_watch.judged((tmp_path / "new").touch, tmp_path).kind == "overwritten"


def test_nothing_in_the_package_unpickles_evaluates_or_calls_a_shell():
    """NumPy's arrays are read with ``allow_pickle=False``, which is its default as well; one file is excepted."""
    files = {path.relative_to(ROOT): path for path in sorted((ROOT / "fedjax_layers").rglob("*.py"))}
    assert [
        line for line in files.pop(UNPICKLES).read_text(encoding="utf-8").splitlines() if FORBIDDEN.search(line)
    ] == ["import pickle"]
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, path in files.items()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if FORBIDDEN.search(line) or re.search(r"\bimport.*\bunpickling\b|\bunpickling import\b", line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "x = eval(text)",
        "exec(code)",
        "np.load(p, allow_pickle=True)",
        "torch.load(p)",
        "run(x, shell=True)",
    ],
)
def test_the_search_would_find_them(line):
    assert FORBIDDEN.search(line)
