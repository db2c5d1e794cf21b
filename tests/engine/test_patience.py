"""When early stopping ends a run: one rule over the same clients every time, on the cases that can deceive it."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.patience import Patience, patience_stop
from fedjax_layers.experiment.run import out_of_patience, patience_of

N, INF = np.nan, np.inf

# losses [E, C], sizes [C], patience, evaluations to keep
CASES = {
    "a tie is no improvement, and the 1 comes too late": ([[3], [2], [2], [2], [1]], [1], 2, 4),
    "an improvement starts the count again": ([[3], [2], [2], [1], [1]], [1], 2, None),
    "the lowest so far is what must be beaten": ([[3], [4], [2], [3], [3], [3]], [1], 3, 6),
    "patience of one": ([[3], [4]], [1], 1, 2),
    "no evaluation": (np.zeros((0, 1)), [1], 1, None),
    "sizes weight": ([[1, 9], [2, 1], [2, 1]], [9, 1], 2, 3),
    "who weighs nothing decides nothing": ([[3, 1], [3, 0.5], [3, 0.1]], [1, 0], 2, 3),
    # Somebody without a loss.
    "nobody was looked at": ([[3], [N], [N], [N], [2]], [1], 2, None),
    "nobody was looked at, then no improvement": ([[3], [N], [4], [N], [5]], [1], 2, 5),
    "one client has no validation examples": ([[3, N], [2, N], [2, N], [2, N]], [1, 9], 2, 4),
    # Cohorts: other clients every time.
    "two clients take turns and both improve": (
        [[0.2, N], [N, 1.0], [0.19, N], [N, 0.9], [N, 0.8], [N, 0.7], [N, 0.6]], [100, 100], 3, None,
    ),
    "an easy cohort is no improvement of a hard one": (
        [[5.0, N], [N, 0.1], [6.0, N], [N, 0.1], [6.0, N]], [1, 1], 3, 5,
    ),
    "a first look at a hard client is not fruitless": ([[1, N, N], [N, 9, N], [N, N, 9]], [1, 1, 1], 1, None),
    "nor does it hide what the others have lost": ([[1, N], [2, 1], [3, 1], [4, 1]], [1, 1], 2, 4),
    # Losses that become infinite.
    "one client diverges and the others improve": ([[1, 3], [INF, 2], [INF, 1], [INF, 0.5]], [9, 1], 2, None),
    "the hardest client diverges and the others do not improve": (
        [[9, 1], [INF, 1.1], [INF, 1.2], [INF, 1.3]], [1, 1], 2, 3,
    ),
    "everybody diverges": ([[1, 1], [INF, INF], [INF, INF]], [1, 1], 2, 3),
    "infinite from the start": ([[INF], [INF]], [1], 2, 2),
    "infinite at first, then falling": ([[INF], [9], [8], [7]], [1], 2, None),
    "a client that comes back is compared with what it had": ([[1, 1], [INF, 1], [3, 1], [3, 1]], [1, 1], 3, 4),
    "one that comes and goes does not keep a run going": ([[1, 1], [INF, 1], [1, 1], [INF, 1]], [1, 1], 3, 4),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_where_a_run_ends(case):
    losses, sizes, patience, expected = CASES[case]
    assert patience_stop(losses, sizes, patience) == expected


def _told(losses, scored_model="trained"):
    history = History()
    for number, row in enumerate(losses, start=1):
        evaluation = {"round": np.int64(number), f"{scored_model}/val/loss": np.array(row, float)}
        history.add({"loss": np.zeros(1)}, evaluation)
    return history


@pytest.mark.parametrize("case", [name for name in CASES if len(CASES[name][0])])
def test_a_run_asks_after_every_evaluation_and_hears_the_same(case):
    losses, sizes, patience, expected = CASES[case]
    config = SimpleNamespace(patience=patience, scored_model="trained")
    ended = patience_of(config, np.array(sizes))
    ends = [n for n in range(1, len(losses) + 1) if ended(_told(losses[:n]))]
    assert (ends[0] if ends else None) == expected
    # Asked once about a history, as a resumed run is.
    kept = len(losses) if expected is None else expected
    assert out_of_patience(config, _told(losses[:kept]), np.array(sizes)) == (expected is not None)


def test_without_patience_or_evaluations_a_run_goes_on():
    assert not out_of_patience(SimpleNamespace(patience=None, scored_model="trained"), _told([[1], [2]]), np.ones(1))
    assert not patience_of(SimpleNamespace(patience=1, scored_model="trained"), np.ones(1))(History())


@pytest.mark.parametrize("number", range(20))
def test_over_all_clients_every_time_it_is_the_weighted_mean_that_must_fall(number):
    """Where everybody is seen at every evaluation: the rule of the paper, on random losses."""
    rng = np.random.default_rng(number)
    losses, sizes = rng.uniform(size=(30, 4)), rng.integers(1, 9, 4)
    lowest, fruitless, expected = np.inf, 0, None
    for count, mean in enumerate(losses @ sizes / sizes.sum(), start=1):
        fruitless = 0 if mean < lowest else fruitless + 1
        lowest = min(lowest, mean)
        if fruitless == 3:
            expected = count
            break
    assert patience_stop(losses, sizes, 3) == expected


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="patience: expected at least 1, got 0"):
        Patience(np.ones(2), 0)
    with pytest.raises(ValueError, match=r"losses, sizes: expected shapes \[E, C\] and \[C\], got \(2, 2\) and \(3,\)"):
        patience_stop(np.ones((2, 2)), np.ones(3), 1)
