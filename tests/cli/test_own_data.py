"""A user's own data on the command line: names that look like numbers, a test part, some of the natural clients."""

import json
import pathlib

import pytest

from tests.cli.command import assert_refused, cli

SHOW = ("data", "show", "csv", "--path", "t.csv", "--label", "7", "--client", "site")


@pytest.fixture(autouse=True)
def _table(tmp_path):
    rows = [
        f"{i % 4 + 1},{i},{'test' if i % 5 == 4 else 'train'},{'true' if i // 4 % 2 else 'false'}" for i in range(80)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["site,x,part,7", *rows]))


def test_names_that_look_like_numbers_and_flags_are_names():
    outcome = cli(*SHOW, "--natural-clients", "2,3", "--classes", "false,true")
    assert outcome.code == 0, outcome.err
    assert "csv: 2 clients, 40 examples (train 24, val 8, test 8), 2 classes" in outcome.out
    assert "client 0 (2)" in outcome.out
    assert "client 1 (3)" in outcome.out


def test_a_separator_may_be_a_comma():
    assert cli(*SHOW, "--separator", ",").code == 0


def test_so_many_of_the_natural_clients():
    outcome = cli(*SHOW, "--clients", "3", "--smallest-client", "10")
    assert "csv: 3 clients" in outcome.out
    assert_refused(cli(*SHOW, "--clients", "5"), "clients: expected 1..4, the natural clients of csv, got 5")
    assert_refused(cli(*SHOW, "--natural-clients", "12"), "--natural-clients: expected one of 1, 2, 3, 4, got '12'")


def test_the_test_part_can_be_pooled_by_a_flag():
    apart, pooled = (cli(*SHOW, *flags).out for flags in ((), ("--official-test", "joined")))
    assert apart.split("Partition hash: ")[1] != pooled.split("Partition hash: ")[1]


SAMPLES = pathlib.Path(__file__).parents[1] / "data" / "sources"


def test_what_was_found_is_shown():
    outcome = cli("data", "show", "own", "--path", str(SAMPLES / "hugging_face" / "saved"), "--client", "writer")
    assert outcome.code == 0, outcome.err
    assert "Found: train 5, test 3 examples" in outcome.out
    assert "  label: 3 classes: cat, dog, cow" in outcome.out
    assert "huggingface: 2 clients, 8 examples (train 3, val 2, test 3), 3 classes" in outcome.out
    assert "Inputs: uint8 [3, 2, 3]; classes: cat, dog, cow" in outcome.out
    outcome = cli("data", "show", "own", "--data.path", str(SAMPLES / "hugging_face" / "partitions"))
    assert "Found: data 5 examples; 2 clients" in outcome.out
    outcome = cli("data", "show", "own", "--path", str(SAMPLES / "tff" / "own.sqlite"), "--json")
    found = json.loads(outcome.out)["found"]
    assert found["splits"] == {"test": 6, "train": 6}
    assert found["clients"] == 2
    assert found["columns"] == {"label": "1 int64", "pixels": "4 float32"}


def test_a_format_can_be_said_and_a_wrong_one_is_refused():
    table = ("--path", "t.csv", "--label", "7", "--client", "site")
    assert "csv: 4 clients" in cli("data", "show", "own", "--format", "csv", *table).out
    assert_refused(
        cli("data", "show", "own", "--format=tf", *table), "format: expected one of auto, client_folder, csv"
    )
    assert_refused(cli("data", "show", "own"), "path: expected the file or the folder of your own data, got none")
    assert_refused(
        cli("run", "local", "--dataset", "own", "--path", "no.csv"), "path: expected a file or a folder, found"
    )
