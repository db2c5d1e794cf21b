"""Help: every field and every option of what is named, by what it is about, with choices and default."""

import dataclasses
import re

import pytest

import fedjax_layers
from fedjax_layers.cli.arguments import parse
from fedjax_layers.experiment.config.fields import GROUPS
from fedjax_layers.experiment.config.owners import all_owners
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.options.docstrings import described, sentences
from tests.cli.command import assert_refused, cli


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def lines_of(*command):
    """Flag -> its line of help (of wide lines)."""
    outcome = cli(*command)
    assert outcome.code == 0
    joined = re.sub(r"\n {10,}", " ", outcome.out)
    return {line.split()[0].rstrip(","): " ".join(line.split()) for line in joined.splitlines() if line[:3] == "  -"}


@pytest.mark.parametrize("owner", all_owners(), ids=lambda owner: owner.who)
def test_every_option_there_is_has_a_line_of_help(owner):
    for name, option in owner.options.items():
        assert option.help, name
        assert "`" not in option.help, option.help


@pytest.mark.parametrize("field", dataclasses.fields(RunConfig), ids=lambda field: field.name)
def test_every_field_has_a_line_of_help_and_a_group(field):
    assert field.metadata["help"]
    assert field.metadata["group"] in GROUPS
    assert field.default not in (None, ()) or field.metadata["unset"], "what None stands for"


def test_help_shows_the_options_of_what_is_named():
    found = lines_of("run", "player_fl", "--dataset", "csv", "--partition", "dirichlet", "--help")
    threshold = (
        "--threshold X a score this many times the score of the layer before is a jump (at least 0) [default: 1.5]"
    )
    assert found["--threshold"] == threshold
    assert found["--gradient"].endswith("batch or epoch [default: batch]")
    assert found["--label"] == "--label NAME column with the class or the target [required]"
    assert {"--missing", "--features", "--alpha", "--hidden", "--test-fraction"} <= set(found)
    assert found["--optimizer"].endswith("sgd, adam, amsgrad, adamw or adamw_amsgrad [default: sgd]")
    assert found["--partition"].endswith("two_level [default: the natural clients, else dirichlet]")
    text = cli("run", "--dataset", "wikitext2", "--model", "transformer", "--help").out
    assert "--tokens" in text
    assert "--data.length" in text
    assert "--model.length" in text


def test_help_has_no_markup_and_its_groups_are_in_order():
    text = cli("run", "--help").out
    assert not re.search(r":\w+:`|``", text)
    places = [text.index(f"\n{group}:") for group in GROUPS]
    assert places == sorted(places)
    assert text.index("\ndata:") < text.index("\npartition dirichlet:") < text.index("\nmodel:")


@pytest.mark.parametrize(
    "command", [["compare"], ["sweep"], ["pretrain"], ["merge"], ["inspect"], ["doctor"], ["data"], ["data", "show"]]
)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        parse([*command, "--help"])
    assert f"usage: fedjax-layers {' '.join(command)}" in capsys.readouterr().out


def test_who_says_nothing_gets_help():
    assert "COMMAND" in cli().out
    assert "usage: fedjax-layers run ALGORITHM" in cli("run").out
    assert "ACTION" in cli("data").out
    assert cli("--version").out == f"fedjax-layers {fedjax_layers.__version__}\n"


def test_help_for_what_there_is_not_is_refused():
    assert_refused(cli("run", "fedavgg", "--help"), "algorithm: ", "did you mean 'fedavg'?")
    assert_refused(cli("run", "--partition", "dirichle", "--help"), "partition: ", "did you mean 'dirichlet'?")


def test_a_docstring_is_read_as_it_is_meant():
    def other(*, theirs):
        """Something.

        Args:
          theirs: another :func:`~module.thing`'s; and more.
            Continued here: with a colon.
        """

    def own(*, mine, theirs):
        """Like it, arguments as :func:`other`.

        Args:
          mine (int): ``[C]`` of mine. A second sentence.

        Returns:
          nothing: at all.
        """

    own.__globals__["other"] = other
    found = described(own)
    del own.__globals__["other"]
    assert found == {
        "theirs": "another thing's; and more. Continued here: with a colon.",
        "mine": "[C] of mine. A second sentence.",
    }
    assert sentences(found["mine"])[0] == "[C] of mine"
