"""A user's own data on the command line: names that look like numbers, a test part, some of the natural clients."""

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
    assert_refused(cli(*SHOW, "--natural-clients", "12"), "natural_clients: expected one of 1, 2, 3, 4, got '12'")


def test_the_test_part_can_be_pooled_by_a_flag():
    apart, pooled = (cli(*SHOW, *flags).out for flags in ((), ("--official-test", "joined")))
    assert apart.split("Partition hash: ")[1] != pooled.split("Partition hash: ")[1]
