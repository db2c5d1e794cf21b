"""Every command of the README and the docs is one: its flags are known, its names exist, its config is valid."""

import json
import re
import shlex
from pathlib import Path

import pytest

from fedjax_layers import data
from fedjax_layers.cli import compare, pretrain, sweep
from fedjax_layers.cli.arguments import config_of, parse
from fedjax_layers.cli.given import refuse_unused
from fedjax_layers.experiment.setup.prepare import check_fit, load_clients
from tests.cli.command import cli

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACEHOLDERS = {
    "ALGORITHM": "player_fl",
    "A,B,C": "player_fl,local",
    "DIR": "folder",
    "NAME": "heart",
    "NAME...": "heart",
}
PLACEHOLDERS |= {"FILE": "file.npz", "...": "", "whole": "whole"}


def commands_of(page):
    """The commands of a page: lines of its blocks without what explains them, and those within a sentence."""
    text = re.sub(r"\\\n\s*", "", page.read_text())  # a command may go on in the next line
    for block in re.findall(r"^```(?:bash|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            found = re.search(r"(?:^|&& )fedjax-layers (.*)", line)
            if found:
                yield from variants(found[1])
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for found in re.findall(r"`fedjax-layers ([^`]+)`", outside):
        yield filled(found.replace("--team-formation NAME", "--team-formation by_labels"))


def variants(line):
    """A line without its comment; a synopsis with its placeholders filled in, once for each of its alternatives."""
    bare = re.split(r"\s+#|(?<=\S) {3,}(?!\[)", line)[0]
    first, *others = bare.split(" | ")
    yield filled(first)
    for other in others:
        yield filled(f"{first.split()[0]} {other}")


def filled(line):
    line = line.replace("[", " ").replace("]", " ").replace("--partition ...", "--partition iid")
    return " ".join(PLACEHOLDERS.get(word, word) for word in line.split())


def file_on(page, name):
    """A file that a page shows: the block that begins with its name."""
    return re.search(rf"^```python\n(# {name}\n.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)[1]


COMMANDS = [(page.name, line) for page in PAGES for line in dict.fromkeys(commands_of(page))]


def test_the_commands_are_found():
    assert len(COMMANDS) > 20
    assert ("fedtlu.md", "pretrain --dataset tiny_shakespeare") in [(page, line[:35]) for page, line in COMMANDS]


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}: {line}" for page, line in COMMANDS])
def test_a_documented_command_is_one(page, line, tmp_path, monkeypatch):
    if "nets.py" in line:
        (tmp_path / "nets.py").write_text(file_on(ROOT / "docs" / "own_model.md", "nets.py"))
        monkeypatch.chdir(tmp_path)
    if "patients.csv" in line:
        rows = "Graz,40,120.5,ill\nOslo,55,131.0,well\nOslo,61,,ill\nGraz,38,118.2,well\n"
        (tmp_path / "patients.csv").write_text(f"hospital,age,pressure,outcome\n{rows}")
        monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.json").write_text(
        json.dumps([{"mu": 0.1, "algorithm": "fedprox"}, {"mu": 1, "algorithm": "fedprox"}] * 2)
    )
    words = shlex.split(line)
    if "--help" in words or not set(words) - {"run", "data"}:
        assert cli(*words).code == 0
        return
    options = parse(words)
    if options.command == "run":
        configs = [config_of(options, options.algorithm)]
    elif options.command == "compare":
        configs = compare._configs(options)
    elif options.command == "sweep":
        asked = sweep.varied(options)
        configs = [run.config for run in sweep._runs(options, asked, sweep._request(options, asked))]
    elif options.command == "pretrain":
        configs = [pretrain.central_config(options)]
    else:
        configs = [config_of(options, "local")] if getattr(options, "action", "") == "show" else []
    refuse_unused(options, configs)
    assert all(config.dataset in data.DATASETS for config in configs)


@pytest.mark.data
def test_the_comparison_of_language_models_fits_its_data(data_dir):
    (line,) = [line for page, line in COMMANDS if page == "fedtlu.md" and "compare fedtlu,random_layers,last" in line]
    configs = compare._configs(parse(shlex.split(line)))
    clients = load_clients(configs[0], str(data_dir))
    assert clients.num_clients == 20
    assert [config.algorithm_options for config in configs] == [{"k": 1}, {"k": 1}, {"k": 1}, {}]
    for config in configs:
        check_fit(config, clients)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "compare pfedla,heurpfedla,layer_mix,fedavg,local --clients 10 --alpha 0.3",
        "run permfl --partition two_level --teams 4 --team-alpha 0.1",
        "run permfl --num-teams 3 --team-formation by_labels --size-ratio 1",
        "compare permfl,hsgd,fedavg --team-formation mixed_labels",
    ],
)
def test_documented_commands_run(line):
    assert any(line in command for _, command in COMMANDS) or "--alpha 0.3" in line
    assert cli(*shlex.split(line), "--rounds", 1, "--client-width", "all", "--out", "there").code == 0
