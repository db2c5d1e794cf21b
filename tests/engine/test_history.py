"""Which evaluation a client's score comes from; the way into a checkpoint and back."""

import jax
import numpy as np
import pytest

from fedjax_layers.engine.evaluation.score_names import METRICS
from fedjax_layers.engine.history.history import History

NAN = np.nan


def make_history(val_loss, test_loss, scored_model="trained"):
    """One evaluation per row of ``[E, C]``; every other metric tells the evaluation it comes from, by its row."""
    history = History()
    for row, (val, test) in enumerate(zip(val_loss, test_loss, strict=True)):
        evaluation = {"round": np.int64(row + 1), "finished": np.bool_(False)}
        for split, loss in (("val", val), ("test", test)):
            for metric in METRICS:
                values = np.asarray(loss, float) if metric == "loss" else np.full(len(loss), float(row))
                evaluation[f"{scored_model}/{split}/{metric}"] = values
        history.add({"loss": np.zeros(1), "sent": np.zeros((1, 3), np.int32)}, evaluation)
    return history


def test_best_is_by_validation_loss_and_never_by_the_test_split():
    val = [[3.0, 1.0, 2.0], [2.0, 2.0, 2.0], [4.0, 3.0, 1.0]]
    test = [[0.1, 9.0, 0.1], [9.0, 0.1, 0.1], [0.1, 0.1, 9.0]]  # the test split would choose otherwise, everywhere
    history = make_history(val, test)
    assert history.scores("trained", "best")["loss"].tolist() == [9.0, 9.0, 9.0]
    assert history.scores("trained", "best")["accuracy"].tolist() == [1, 0, 2]
    assert history.scores("trained", "best", "val")["loss"].tolist() == [2.0, 1.0, 1.0]


def test_last_is_the_last_evaluation_with_those_who_were_there():
    """Not a client's own last one: which that is depends on which cohorts happened to be evaluated."""
    test = [[1.0, 2.0, NAN], [1.5, NAN, NAN]]
    scores = make_history(test, test).scores("trained", "last")
    np.testing.assert_array_equal(scores["loss"], [1.5, NAN, NAN])
    assert scores["accuracy"][0] == 1


def test_last_is_before_an_evaluation_of_nobody():
    test = [[1.0, 2.0], [NAN, NAN]]
    np.testing.assert_array_equal(make_history(test, test).scores("trained", "last")["loss"], [1.0, 2.0])


@pytest.mark.parametrize("scored_model", ["global", "team"])
def test_a_shared_model_is_of_one_round_the_best_by_validation_over_all_clients(scored_model):
    val = [[1.0, 4.0, 4.0], [2.0, 2.0, 2.0], [4.0, 1.0, 4.0]]
    history = make_history(val, val, scored_model)
    assert history.scores(scored_model, "best")["accuracy"].tolist() == [1, 1, 1]
    assert history.round_of(scored_model, "best") == 2
    assert history.round_of(scored_model, "last") == 3
    assert history.round_of("global" if scored_model == "team" else "team", "best") is None


def test_training_examples_weight_the_choice_and_a_finished_row_is_no_shared_model():
    val = [[1.0, 4.0], [2.0, 2.0]]
    history = make_history(val, val, "global")
    rows = [{name: x[i] for name, x in history.evaluations.items()} for i in (0, 1, 1)]
    weighted = History()
    for row, finished in zip(rows, (False, False, True), strict=True):
        more = {"examples": np.array([9, 1]), "finished": np.bool_(finished)}
        weighted.add({}, row | more)
    assert weighted.round_of("global", "best") == 1
    assert weighted.row_of("global", "last") == 1


def test_best_skips_evaluations_that_a_client_missed():
    val = [[NAN, 2.0], [5.0, NAN], [6.0, 1.0]]
    np.testing.assert_array_equal(make_history(val, val).scores("trained", "best")["accuracy"], [1, 2])


def test_without_validation_examples_best_is_the_last():
    """A client of two or three examples may have none; it stays in the count, beside clients that have some."""
    val = [[1.0, NAN], [2.0, NAN]]
    test = [[0.3, 0.1], [0.4, 0.2]]
    assert make_history(val, test).scores("trained", "best")["loss"].tolist() == [0.3, 0.2]
    assert np.isnan(make_history(val, test).scores("trained", "best", "val")["loss"][1])


def test_a_model_that_was_not_evaluated_has_no_scores():
    history = make_history([[1.0]], [[1.0]])
    assert history.scores("served", "last") is None
    assert History().scores("trained", "best") is None


def test_arrays_round_trip_and_go_on_growing():
    history = make_history([[1.0, 2.0], [0.5, NAN]], [[1.0, 2.0], [0.5, NAN]])
    again = History.from_arrays(history.to_arrays())
    jax.tree.map(np.testing.assert_array_equal, history.to_arrays(), again.to_arrays())
    assert again.rounds_done == history.rounds_done == 2
    more = make_history([[3.0, 3.0]], [[3.0, 3.0]])
    for one in (history, again):
        one.add(more.rounds, {k: x[0] for k, x in more.evaluations.items()})
    jax.tree.map(np.testing.assert_array_equal, history.to_arrays(), again.to_arrays())
    assert again.rounds["sent"].shape == (3, 3)
    assert again.evaluations["trained/val/loss"].shape == (3, 2)


def test_an_empty_history_round_trips():
    again = History.from_arrays(History().to_arrays())
    assert again.rounds_done == 0
    assert again.to_arrays() == {"rounds": {}, "evaluations": {}}


@pytest.mark.parametrize("scored_round", ["last", "best"])
def test_every_metric_is_selected(scored_round):
    assert set(make_history([[1.0]], [[2.0]]).scores("trained", scored_round)) == set(METRICS)


def test_reading_while_it_grows_copies_nothing():
    """A long run reads its history after every round: joining it each time made the rounds ever slower."""
    history = make_history([[1.0]] * 5, [[1.0]] * 5)
    for table in ("rounds", "evaluations"):
        for name, values in getattr(history, table).items():
            assert np.shares_memory(values, getattr(history, table)[name])
    early = history.evaluations["trained/val/loss"]
    history.add(make_history([[2.0]], [[2.0]]).rounds, {k: x[0] + 1 for k, x in history.evaluations.items()})
    assert early.tolist() == [[1.0]] * 5
    assert history.evaluations["trained/val/loss"].tolist() == [[1.0]] * 5 + [[2.0]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "best"), "scored_model: expected one of .* got 'train'; did you mean 'trained'"),
        (("trained", "first"), "scored_round: expected one of best, last, got 'first'"),
        (("trained", "last", "tset"), "split: expected one of test, val, got 'tset'; did you mean 'test'"),
    ],
)
def test_another_word_for_what_is_asked_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        History().scores(*words)
