"""Messages name the flag that was typed, and help says what a flag takes."""

import pytest

from fedjax_layers.cli.flag_names import with_flags
from fedjax_layers.cli.flags import flag_fields, metavar_of
from fedjax_layers.cli.help import choices_of
from fedjax_layers.experiment.config.owners import all_owners
from fedjax_layers.experiment.config.run_config import config_options
from fedjax_layers.options import Option, renamed
from tests.cli.command import assert_refused, cli

HEART = "--dataset heart --rounds 1 --client-width all"
LINES = [
    (f"run fedavg {HEART} --attack noise --attack-fraction 2", "--attack-fraction: expected 0 to 1"),
    ("run fedavg --attack backdoor --attack-target 10", "--attack-target: expected a class of digits, 0 to 9, got 10"),
    (f"run fedavg {HEART} --attack backdoor", "--attack backdoor: expected classified images"),
    (f"run fedavg {HEART} --loss focal --focal-alpha 1,2", "--focal-alpha: expected 5 entries, got 2"),
    (f"run fedavg {HEART} --loss focal --focal-alpha 1,2 --alpha 3 --partition dirichlet", "--focal-alpha: "),
    (
        f"run fedavg {HEART} --dp-noise 1 --weighting uniform --dp-quantile 0.5 --dp-per-layer",
        "--dp-quantile: expected none with --dp-per-layer, whose layers",
    ),
    (
        f"run fedavg {HEART} --evaluated-models served --scored-model trained",
        "--evaluated-models: expected both or the scored 'trained'",
    ),
    (f"run fedavg {HEART} --start-seed 1 --init-from x", "--start-seed: expected none with --init-from"),
    ("run fedavg --clients 9999", "--clients: expected 1..1797"),
    ("run fedavg --dataset hart", "--dataset: "),
    (f"run player_fl {HEART} --threshold -1", "--threshold: expected at least 0"),
    (f"compare local,fedper {HEART} --fedper.personal-layers 9", "--fedper.personal-layers: at most"),
    (f"sweep fedprox {HEART} --vary mu=-1,2", "--mu: expected at least 0"),
    ("data show nothing", "data set: "),
]


@pytest.mark.parametrize(("line", "told"), LINES, ids=[line for line, _ in LINES])
def test_the_typed_flag_is_named(line, told):
    head, _, rest = told.partition(": ")
    outcome = cli(*line.split())
    assert_refused(outcome, rest)
    assert outcome.err.startswith(f"fedjax-layers: {head}: ")


@pytest.mark.parametrize(
    ("message", "typed", "told"),
    [
        ("target: bad", "--attack-target 9", "--attack-target: bad"),
        ("target: bad", "--target x --attack-target 9", "--target: bad"),
        (
            "scored_model: expected none with team_of, got 'team_of'",
            "",
            "--scored-model: expected none with --team-of, got 'team_of'",
        ),
        ("runs/dp_noise: not a run directory", "--dp-noise 1", "runs/dp_noise: not a run directory"),
        ("folder: expected one", "", "folder: expected one"),
        ("algorithm: expected one", "", "algorithm: expected one"),
        ("no colon", "", "no colon"),
    ],
)  # fmt: skip
def test_names_are_replaced_where_they_are_flags(message, typed, told):
    assert with_flags(message, typed.split()) == told


def test_errors_of_an_object_made_from_fields_name_the_fields():
    with (
        pytest.raises(ValueError, match=r"^dp_quantile: expected none with dp_per_layer, not quantile$"),
        renamed({"quantile": "dp_quantile", "per_layer": "dp_per_layer"}),
    ):
        raise ValueError("quantile: expected none with per_layer, not quantile")


def test_every_placeholder_says_what_a_flag_takes():
    options = [(option, choices_of(option)) for one in all_owners() for option in one.options.values()]
    options += [(config_options()[field.name], field.metadata["choices"]) for field in flag_fields()]
    found = {option.name: metavar_of(option, choices) for option, choices in options}
    assert "VALUE" not in "".join(found.values())
    nothing = {name for name, placeholder in found.items() if not placeholder}
    assert nothing == {"hyper_optimizer"}, "an optimiser is given in Python alone, and has no flag"
    assert (found["partition_file"], found["store"], found["gradient"]) == ("PATH", "PATH", "batch|epoch")
    assert metavar_of(Option("x", int | float | None, None)) in ("N", "X")
    text = cli("run", "pfedla", "--help").out
    assert "--hyper-optimizer" not in text
    assert "--client-width N|all|auto" in text
    assert "--rounds N" in text
