"""What PerMFL's experiments ask for, cell by cell, without running it."""

import pytest

from experiments import permfl_teams


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_every_method_has_the_number_of_teams_that_its_row_names(preset):
    cells = [(key, how) for key, how in permfl_teams._cells(permfl_teams.PRESETS[preset]) if key["part"] == "number"]
    assert len(cells) == 5 * len(permfl_teams.METHODS)
    for key, how in cells:
        assert how["options"]["num_teams"] == int(key["case"].split()[0]), key
