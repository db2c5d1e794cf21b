"""Tables: columns are left out, digits are not; what a number is stands under it; names are printed as they are."""

import io

import numpy as np
import pytest
from rich.console import Console

from fedjax_layers.cli.status import print_table
from fedjax_layers.report.client_table import client_table
from fedjax_layers.report.fitted_table import Column, fitted
from fedjax_layers.report.tables import ranking_table, results_columns, results_table

SUMMARY = {
    "algorithm": "player_fl",
    "personal": {
        "macro_f1": {"mean": 0.3041, "std": 0.2219, "min": 0.1, "n": 4},
        "accuracy": {"mean": 0.5, "std": 0.1, "min": 0.2},
        "loss": {"mean": 1.25, "std": 0.1, "min": 0.2},
    },
    "clients": 4,
    "incentive": 0.25,
    "bytes_up": 123456789,
    "num_shared_layers": 2,
    "layers": list("abcd"),
    "scored_model": "served",
    "scored_round": "best",
}


def printed(found, width):
    out = io.StringIO()
    print_table(Console(file=out, width=width, markup=False, highlight=False, emoji=False), found)
    return out.getvalue()


@pytest.mark.parametrize("width", [30, 40, 50, 60, 80, 110])
def test_no_digit_is_cut_on_any_terminal(width):
    text = printed(results_table([SUMMARY, SUMMARY | {"algorithm": "fedavg"}], "a title", width), width)
    assert "…" not in text
    assert "0.304 ± 0.222" in text
    for column, cell in {"MB up": "123.46", "loss": "1.250", "worst F1": "0.100", "better off": "25%"}.items():
        (head,) = [line for line in text.splitlines() if line.startswith(" algorithm")]
        assert (cell in text) == (column in head)
        assert column in text, "it is there, or said to be left out"


@pytest.mark.parametrize(
    ("sent", "cell"),
    [(0, "0.00"), (12, "0.000012"), (1728, "0.0017"), (4999, "0.005"), (5001, "0.01"), (27_410_000, "27.41")],
)
def test_little_is_not_shown_as_nothing(sent, cell):
    columns, _ = results_columns([SUMMARY | {"bytes_up": sent}])
    assert next(column for column in columns if column.title == "MB up").cells == [cell]


def test_what_the_numbers_are_stands_under_them():
    text = printed(results_table([SUMMARY], "", 110, seeds=3), 110)
    assert "by each client's own model after aggregation, of the client's best round by validation loss" in text
    assert "± is the standard deviation over clients; all are means of 3 seeds" in text
    assert "better off: the share of clients that do better than with local training and than with FedAvg." in text
    text = printed(results_table([SUMMARY | {"clients": 7}], "", 110), 110)
    assert "0.304 ± 0.222, 4 of 7" in text
    assert "beside it how many have a score" in text
    alone = printed(
        results_table([SUMMARY | {"incentive": None, "scored_model": "trained", "scored_round": "last"}], "", 110), 110
    )
    assert "better off" not in alone
    assert "attack success" not in alone
    fooled = SUMMARY | {"personal": SUMMARY["personal"] | {"attack_success": {"mean": 0.875}}}
    text = printed(results_table([fooled], "", 120), 120)
    assert "attack success: how often models of benign clients say" in text
    assert "88%" in text
    assert "after local training, of the last round" in alone


def test_a_ranking_says_how_many_settings_it_shows():
    lines = [
        {"mu": 0.1 * i, "runs": 2, "validation": 0.5, "test": 0.4, "test_std": 0.1, "why": {"finished": 2}}
        for i in range(12)
    ]
    text = printed(ranking_table(lines, ["mu"], "", 80, 10), 80)
    assert "The best 10 of 12 settings; all of them are in results.csv." in text
    assert "± is the standard deviation over seeds" in text
    assert "settings;" not in printed(ranking_table(lines[:10], ["mu"], "", 80, 10), 80)


def test_names_with_markup_are_printed_as_they_are():
    arrays = {"client_names": np.array(["[/a]", "[bold]x", ":smile:"]), "train_examples": np.array([1, 2000, 3])}
    arrays |= {f"trained/best/test/{name}": np.array([0.5, np.nan, 0.25]) for name in ("macro_f1", "loss")}
    text = printed(client_table(arrays, "trained", "best", 80), 80)
    rows = [line.split() for line in text.splitlines()]
    assert ["[/a]", "1", "0.500", "0.500"] in rows
    assert ["[bold]x", "2,000", "–", "–"] in rows
    assert ":smile:" in text
    assert "[/t]" in printed(fitted([Column("[/t]", ["[x]"])], 20, "[/title]"), 20)
