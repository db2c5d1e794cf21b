"""``completion``: a shell completes commands, flags and names by words of its own, without a program of ours."""

import shutil
import subprocess

import pytest

pytest.importorskip("shtab")

from fedjax_layers import data
from fedjax_layers.algorithms import registry
from tests.cli.command import assert_refused, cli

TYPED = {
    ("co",): {"compare", "completion"},
    ("run", "player"): {"player_fl"},
    ("compare", "lo"): {"local", "local_adaptation"},
    ("run", "player_fl", "--dataset", "dig"): {"digits", "digit_domains"},
    ("sweep", "--partition", "two"): {"two_level"},
    ("run", "--data-"): {"--data-dir"},
    ("run", "player_fl", "--thre"): {"--threshold"},
    ("sweep", "player_fl", "--run-w"): {"--run-width"},
    ("run", "--feature-shift", "bl"): {"blur"},
    ("data", "sh"): {"show"},
    ("data", "show", "hea"): {"heart"},
    ("data", "show", "--alp"): {"--alpha"},
    ("inspect", "--scored-model", "tr"): {"trained"},
    ("completion", ""): {"bash", "zsh", "fish"},
}


def test_bash_completes_without_starting_a_program(tmp_path):
    script = tmp_path / "completion.bash"
    script.write_text(cli("completion", "bash").out)
    lines = [f"source {script}"]
    for typed in TYPED:
        words = " ".join(f"'{word}'" for word in ("fedjax-layers", *typed))
        lines.append(f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _shtab_fedjax_layers; echo ${{COMPREPLY[@]}}")
    bash = shutil.which("bash")
    found = subprocess.run([bash, "-c", "\n".join(lines)], env={"PATH": ""}, capture_output=True, text=True, check=True)
    completed = [set(line.split()) for line in found.stdout.splitlines()]
    assert dict(zip(TYPED, completed, strict=True)) == TYPED


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_the_same_names(shell):
    script = cli("completion", shell).out
    assert all(name in script for name in [*registry, *data.DATASETS])
    assert "threshold" in script


def test_what_is_no_shell_is_refused():
    assert_refused(cli("completion", "csh"), "csh", "bash")
    assert_refused(cli("completion", "bash", "--rounds", "3"), "completion: expected no flags, got '--rounds'")
