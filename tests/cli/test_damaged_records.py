"""Every file of a finished folder, damaged in every way: one line, or the same numbers again; no line is lost."""

import json
import random
import shutil

import pytest

from tests.cli.command import assert_refused, cli, contents

FLAGS = "--dataset heart --model logistic_regression --batch-size 128 --client-width all --evaluated-models served"
FLAGS = [*FLAGS.split(), "--rounds", "3"]
GRID = ["--vary", "mu=0.1,0.2", "--run-width", "1"]


def flipped(data):
    rng, data = random.Random(len(data)), data or b"\0"
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


DAMAGES = {
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "flip": flipped,
    "garbage": lambda data: bytes(random.Random(1).randbytes(len(data))),
    "object": lambda _: b"{}\n",
    "list": lambda _: b"[]\n",
    "null": lambda _: b"null\n",
    "gone": None,
    "folder": None,
}


def damage(path, how):
    data = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "gone":
        path.write_bytes(DAMAGES[how](data))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A finished run, comparison and sweep, the latter in two parts too."""
    place = tmp_path_factory.mktemp("finished")
    done = [
        cli("run", "fedavg", *FLAGS, "--out", place / "run"),
        cli("compare", "fedavg,local", *FLAGS, "--out", place / "both"),
        cli("sweep", "fedprox", *FLAGS, *GRID, "--out", place / "sweep"),
        *(cli("sweep", "fedprox", *FLAGS, *GRID, "--shard", f"{i}/2", "--out", place / f"part{i}") for i in (0, 1)),
    ]
    assert [outcome.code for outcome in done] == [0] * 5
    return place


COMMANDS = {
    "run": (["inspect", "run"], ["verify", "run"], ["run", "--out", "run", "--resume"]),
    "both": (["inspect", "both/local/seed-0"], ["verify", "both"], ["compare", "--out", "both", "--resume"]),
    "sweep": (["verify", "sweep"], ["sweep", "fedprox", *FLAGS, *GRID, "--out", "sweep", "--resume"]),
    "part0": (["merge", "part0", "part1", "--out", "merged"],),
}


def cases():
    files = {
        "run": ["config.json", "manifest.json", "rounds.jsonl", "clients.npz", "summary.json", "history/rounds",
                "history/evaluations", "history/clients", ".lock"],
        "both": ["config.json", "summary.json", *(f"local/seed-0/{name}" for name in (
            "config.json", "manifest.json", "rounds.jsonl", "clients.npz", "summary.json", "history/clients"))],
        "sweep": ["config.json", "manifest.json", "programs.json", "rows.jsonl", "results.csv", "results.parquet",
                  "summary.json"],
        "part0": ["config.json", "programs.json", "rows.jsonl"],
    }  # fmt: skip
    often = {("run", "rounds.jsonl", "flip"), ("run", "config.json", "list"), ("run", "manifest.json", "object")}
    often |= {("sweep", "rows.jsonl", "flip"), ("sweep", "programs.json", "list"), ("part0", "rows.jsonl", "half")}
    often |= {
        ("both", "local/seed-0/clients.npz", "flip"),
        ("both", "local/seed-0/history/clients", "gone"),
        ("run", "history/clients", "flip"),
    }
    for folder, names in files.items():
        for name in names:
            for how in DAMAGES:
                marks = () if (folder, name, how) in often else (pytest.mark.slow,)
                yield pytest.param(folder, name, how, marks=marks, id=f"{folder}-{name}-{how}")


@pytest.mark.parametrize(("folder", "name", "how"), list(cases()))
def test_damage_is_one_line_or_mended_and_no_line_is_lost(folders, tmp_path, folder, name, how):
    for one in (folder, *(["part1"] if folder == "part0" else [])):
        shutil.copytree(folders / one, tmp_path / one)
    path = tmp_path / folder / name
    damage(path if not path.is_dir() else next(path.iterdir()), how)
    lines = {p: d for p, d in contents(tmp_path / folder).items() if p.endswith(".jsonl") and p != name}
    whole = contents(folders / folder)
    for command in COMMANDS[folder]:
        outcome = cli(*command)
        assert outcome.code in (0, 1, 2), outcome
        if outcome.code == 2:
            told = [line for line in outcome.err.splitlines() if line.startswith("fedjax-layers: ")]
            assert len(told) == 1, outcome
        after = contents(tmp_path / folder)
        for other, data in lines.items():
            assert after.get(other) == data, "lines were lost"
        if outcome.code == 0 and "--resume" in command:
            for other in whole:
                if other.endswith(".jsonl") and not (how == "folder" and f"{other}: expected a file" in outcome.err):
                    assert sorted(after[other].splitlines()) == sorted(whole[other].splitlines()), (other, outcome)


def test_a_row_that_changed_in_one_digit_is_computed_again(folders, tmp_path):
    shutil.copytree(folders / "sweep", tmp_path / "sweep")
    path = tmp_path / "sweep" / "rows.jsonl"
    before = path.read_bytes()
    line = json.loads(before.splitlines()[0])
    path.write_bytes(before.replace(str(line["personal/test/loss"]).encode(), b"0.5", 1))
    outcome = cli("sweep", "fedprox", *FLAGS, *GRID, "--out", "sweep", "--resume")
    assert outcome.code == 0
    assert "rows.jsonl: line 1 is damaged; its run counts as one that is missing" in outcome.err
    assert sorted(path.read_bytes().splitlines()) == sorted(before.splitlines())


CHANGED = [
    ("run", "config.json", ("learning_rate",), ["verify", "run"]),
    ("run", "config.json", ("learning_rate",), ["run", "--out", "run", "--resume", "--rounds", "4"]),
    ("both", "fedavg/seed-0/config.json", ("momentum",), ["verify", "both"]),
    ("both", "local/seed-0/config.json", ("momentum",), ["compare", "--out", "both", "--resume"]),
    ("both", "config.json", ("runs", 1, "momentum"), ["compare", "--out", "both", "--resume"]),
    ("sweep", "config.json", ("runs", "1", "setting", "mu"), ["verify", "sweep"]),
    ("sweep", "config.json", ("runs", "1", "config", "learning_rate"), ["sweep", "--out", "sweep", "--resume"]),
    ("sweep", "config.json", ("runs", "1", "seed"), ["sweep", "fedprox", *FLAGS, *GRID, "--out", "sweep", "--resume"]),
    ("part0", "config.json", ("runs", "1", "config", "learning_rate"), COMMANDS["part0"][0]),
]


@pytest.mark.parametrize(("folder", "name", "place", "command"), CHANGED, ids=[f"{n}: {c}" for _, n, _, c in CHANGED])
def test_a_digit_of_the_config_that_changed_is_noticed(folders, tmp_path, folder, name, place, command):
    for one in (folder, *(["part1"] if folder == "part0" else [])):
        shutil.copytree(folders / one, tmp_path / one)
    path = tmp_path / folder / name
    content = json.loads(path.read_text())
    inside = content
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] += 1
    path.write_text(json.dumps(content))
    before = contents(tmp_path)
    assert_refused(cli(*command), "config.json: expected the config that ")
    assert contents(tmp_path) == before


def test_another_layout_of_the_config_is_the_same_config(folders, tmp_path):
    shutil.copytree(folders / "run", tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    for rounds in (4, 5):  # a longer run writes another config
        assert cli("run", "--out", "run", "--resume", "--rounds", rounds).code == 0
    assert cli("verify", "run").code == 0


def test_a_sweep_is_not_continued_with_other_data(folders, tmp_path):
    shutil.copytree(folders / "sweep", tmp_path / "sweep")
    path = tmp_path / "sweep" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["data"]["0"]["content_hash"] = "another"
    path.write_text(json.dumps(manifest))
    (tmp_path / "sweep" / "rows.jsonl").write_text("")
    outcome = cli("sweep", "fedprox", *FLAGS, *GRID, "--out", "sweep", "--resume")
    assert outcome.code == 2
    assert "cannot resume run 0, the content of the data differs: the run has another, now it is " in outcome.err
    manifest["jax_settings"]["threefry_partitionable"] = "neither"
    path.write_text(json.dumps(manifest | {"data": {}}))
    outcome = cli("sweep", "fedprox", *FLAGS, *GRID, "--out", "sweep", "--resume")
    assert outcome.code == 2
    assert "JAX's setting threefry_partitionable differs: the run has neither, now it is True" in outcome.err
