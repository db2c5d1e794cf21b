"""What the table of results says of who is behind its numbers."""

import io

import pytest
from rich.console import Console

from fedjax_layers.cli.status import print_table
from fedjax_layers.report.tables import results_table

SPREAD = {"mean": 0.5, "std": 0.1, "min": 0.4}


@pytest.mark.parametrize(("scored", "said"), [(9, "0.500 ± 0.100  "), (7, "0.500 ± 0.100, 7 of 9"), (6.5, "6.5 of 9")])
def test_a_mean_over_some_of_the_clients_says_how_many(scored, said):
    personal = {name: SPREAD | {"n": scored} for name in ("macro_f1", "accuracy", "loss")}
    summary = {"algorithm": "fedavg", "clients": 9, "personal": personal, "layers": ["a"]}
    summary |= {
        "incentive": None,
        "bytes_up": 0,
        "num_shared_layers": 2,
        "scored_model": "trained",
        "scored_round": "best",
    }
    console = Console(file=io.StringIO(), width=110)
    print_table(console, results_table([summary], "title", 110))
    assert said in console.file.getvalue()
    assert (" of 9" in console.file.getvalue()) == (scored < 9)
