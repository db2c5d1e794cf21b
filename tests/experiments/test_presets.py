"""Every experiment's smoke preset runs from its command, goes on from the rows it finds, and repeats the first."""

import importlib
import json

import pytest

CASES = [
    "permfl_theory",
    pytest.param("sharing_pays", marks=pytest.mark.slow),
    *(
        pytest.param(f"permfl_{name}", marks=[pytest.mark.slow, pytest.mark.data])
        for name in ("table1", "teams", "participation", "sweep", "text", "schedule")
    ),
    *(
        pytest.param(f"pfedla_{name}", marks=[pytest.mark.slow, pytest.mark.data])
        for name in ("table", "ablation", "scale", "weights", "retained")
    ),
    *(
        pytest.param(f"fedtlu_{name}", marks=[pytest.mark.slow, pytest.mark.data])
        for name in ("lm", "stability", "scores", "depth", "attack", "sampling", "cnn", "scale", "gpt2", "k")
    ),
    pytest.param("playerfl_heart", marks=pytest.mark.slow),
    pytest.param("robustness", marks=pytest.mark.slow),
    pytest.param("competitors", marks=pytest.mark.slow),
    pytest.param("playerfl_thresholds", marks=[pytest.mark.slow, pytest.mark.data]),
    pytest.param("playerfl_text", marks=[pytest.mark.slow, pytest.mark.data]),
    pytest.param("playerfl_metric", marks=[pytest.mark.slow, pytest.mark.data]),
    pytest.param("playerfl_fmnist", marks=[pytest.mark.slow, pytest.mark.data]),
]
WITHOUT_DATA = ("permfl_theory", "robustness", "competitors", "playerfl_heart", "sharing_pays")


@pytest.mark.parametrize("name", CASES)
def test_smoke_preset(name, tmp_path, capsys, request):
    if name not in WITHOUT_DATA:
        request.getfixturevalue("data_dir")
    experiment = importlib.import_module(f"experiments.{name}")
    experiment.main(["--preset", "smoke", "--out", str(tmp_path)])
    rows = (tmp_path / "rows.jsonl").read_text().splitlines()
    table = capsys.readouterr().out
    assert "|" in table
    stored = json.loads((tmp_path / "environment.json").read_text())["preset"]
    assert stored == json.loads(json.dumps(experiment.PRESETS["smoke"])), "tuples are lists in JSON"
    experiment.main(["--preset", "smoke", "--out", str(tmp_path)])
    assert (tmp_path / "rows.jsonl").read_text().splitlines() == rows
    capsys.readouterr()
    experiment.main(["--preset", "smoke", "--out", str(tmp_path), "--verify"])
    assert "The first row repeats." in capsys.readouterr().out
    assert (tmp_path / "rows.jsonl").read_text().splitlines() == rows
