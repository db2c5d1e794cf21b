"""The summary's numbers by hand, and its fields."""

import jax
import numpy as np
import pytest

from fedjax_layers import data, ops
from fedjax_layers.engine.evaluation.score_names import METRICS
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.records.run_directory import to_json
from fedjax_layers.experiment.records.summary import (
    client_arrays,
    client_facts,
    exchanged_bytes,
    pooled_scores,
    round_record,
    summarise_run,
)

# Two layers of 3 + 1 float32 and 2 float16: 16 and 4 bytes.
LAYERS = ops.layer_map(
    [
        {"b": jax.ShapeDtypeStruct((1,), "float32"), "w": jax.ShapeDtypeStruct((3,), "float32")},
        {"w": jax.ShapeDtypeStruct((2,), "float16")},
    ]
)
SIZES = np.array([1, 3])
TIMING = {
    "client_steps_per_second": 10.0,
    "compile_seconds": 1.0,
    "wall_seconds": 2.0,
    "peak_memory_bytes": 3,
}
DESIGN = (
    "algorithm dataset seed clients rounds layers shared_layers personal global team fairness_variance incentive "
    "bytes_up bytes_down client_steps_per_second compile_seconds wall_seconds peak_memory_bytes"
)


def make_history(
    sent=((2, 2), (2, 0)), received=((0, 2), (1, 0)), scalars=(0, 5), prefixes=("trained", "served", "global")
):
    """Two rounds of two clients; F1 is 0.1 and 0.2 after the first, 0.3 and 0.7 after the second."""
    history = History()
    for t in range(2):
        rounds = {
            "loss": np.float32([2.0 - t]),
            "sent": np.array([sent[t]], np.int32),
            "received": np.array([received[t]], np.int32),
            "sent_scalars": np.array([scalars[t]], np.int32),
            "participants": np.array([2 - t], np.int32),
            "nonfinite": np.array([0], np.int32),
        }
        scores = {"round": np.int64(t + 1), "finished": np.bool_(False), "examples": SIZES}
        for prefix in prefixes:
            for split in ("val", "test"):
                scores |= {f"{prefix}/{split}/{m}": np.array([[0.1, 0.2], [0.3, 0.7]])[t] for m in METRICS}
                scores[f"{prefix}/{split}/loss"] = np.array([[1.0, 2.0], [4.0, 1.0]])[t]
        if "global" in prefixes:
            scores |= {f"pooled/test/{m}": np.float32(t) for m in METRICS}
        history.add(rounds, scores)
    return history


def summary_of(history, scored_model="trained", scored_round="best"):
    return summarise_run(
        history,
        algorithm="fedavg",
        dataset="heart",
        seed=3,
        layers=LAYERS,
        sizes=SIZES,
        scored_model=scored_model,
        scored_round=scored_round,
        timing=TIMING,
    )


def test_bytes_by_hand():
    assert LAYERS.bytes == (16, 4)
    up, down = exchanged_bytes(make_history(), LAYERS)
    assert up == (2 + 2) * 16 + (2 + 0) * 4 + 5 * 4
    assert down == (0 + 1) * 16 + (2 + 0) * 4
    summary = summary_of(make_history())
    assert summary["layer_bytes_up"] == [(2 + 2) * 16, (2 + 0) * 4]
    assert summary["layer_bytes_down"] == [(0 + 1) * 16, (2 + 0) * 4]


def test_bytes_do_not_wrap():
    most = 2**31 - 1
    history = make_history(sent=((most, most), (most, most)), received=((0, 0), (most, 0)), scalars=(most, most))
    up, down = exchanged_bytes(history, LAYERS)
    assert up == 2 * most * 20 + 2 * most * 4
    assert down == most * 16
    assert type(up) is type(down) is int


def test_shared_layers_are_those_sent_in_the_last_round():
    assert summary_of(make_history())["shared_layers"] == [LAYERS.names[0]]
    assert summary_of(make_history(sent=((2, 2), (0, 0))))["shared_layers"] == []


def test_every_field_of_the_design_is_there():
    summary = summary_of(make_history())
    assert set(DESIGN.split()) <= set(summary)
    assert summary["clients"] == summary["rounds"] == 2
    assert summary["layers"] == list(LAYERS.names)
    assert summary["team"] is None
    for who in ("personal", "global"):
        assert {"accuracy", "macro_f1", "loss"} <= set(summary[who])
        for metric in summary[who].values():
            assert set(metric) == {"mean", "weighted", "std", "min", "p10", "n"}
            assert metric["n"] == 2
    assert to_json(summary)["bytes_up"] == summary["bytes_up"]


def test_scores_by_hand():
    """By validation loss client 0 is best in round 1, client 1 in round 2: 0.1 and 0.7, weights 1 and 3."""
    summary = summary_of(make_history())
    f1 = summary["personal"]["macro_f1"]
    expected = {"mean": 0.4, "weighted": (0.1 + 3 * 0.7) / 4, "std": 0.3, "min": 0.1, "p10": 0.16, "n": 2}
    assert f1 == pytest.approx(expected)
    assert summary["fairness_variance"] == pytest.approx(0.09)
    last = summary_of(make_history(), scored_round="last")
    assert last["personal"]["macro_f1"]["mean"] == pytest.approx(0.5)
    assert last["personal"]["loss"]["mean"] == pytest.approx(2.5)


def test_the_global_model_and_its_pooled_scores_are_of_one_round_which_is_named():
    """Weighted by 1 and 3 the losses are (1 + 3·2) / 4 and (4 + 3·1) / 4, a tie: the first; F1 0.1 and 0.2, pooled 0.

    Each client's own best round would give 0.1 and 0.7.
    """
    summary = summary_of(make_history())
    assert summary["global_round"] == 1
    assert summary["global"]["macro_f1"]["mean"] == pytest.approx(0.15)
    assert summary["pooled"]["accuracy"] == 0
    last = summary_of(make_history(), scored_round="last")
    assert (last["global_round"], last["pooled"]["accuracy"]) == (2, 1)
    assert last["team_round"] is None


def test_every_mean_carries_the_clients_behind_it():
    history = make_history()
    row = {name: x[-1].copy() for name, x in history.evaluations.items()} | {"round": np.int64(3)}
    row |= {name: np.where([True, False], x, np.nan) for name, x in row.items() if name.startswith("trained/")}
    history.add({name: x[-1:] for name, x in history.rounds.items()}, row)
    summary = summary_of(history, scored_round="last")
    assert {m["n"] for m in summary["personal"].values()} == {1}
    assert summary["personal"]["macro_f1"]["mean"] == pytest.approx(0.3)
    assert {how: means["n"] for how, means in summary["by_model_and_round"].items()} == {
        "served/last": 2, "served/best": 2, "trained/last": 1, "trained/best": 2,
    }  # fmt: skip
    assert (round_record(history)["trained/n"], round_record(history)["served/n"]) == (1, 2)


def test_by_model_and_round_holds_the_means_of_all_combinations():
    means = summary_of(make_history())["by_model_and_round"]
    assert set(means) == {"served/last", "served/best", "trained/last", "trained/best"}
    assert means["trained/last"]["macro_f1"] == pytest.approx(0.5)
    assert means["served/best"]["macro_f1"] == pytest.approx(0.4)


def test_absent_models_are_null():
    summary = summary_of(make_history(prefixes=("trained",)))
    assert summary["global"] is summary["pooled"] is None
    assert set(summary["by_model_and_round"]) == {"trained/last", "trained/best"}
    assert summary_of(make_history(prefixes=("trained",)), scored_model="served")["personal"] is None


def test_pooled_scores_are_those_before_the_last_phase():
    history = make_history()
    row = {name: x[-1] for name, x in history.evaluations.items()}
    pooled = {name: np.float32(np.nan) for name in row if name.startswith("pooled/")}
    history.add({}, row | pooled | {"finished": np.bool_(True)})
    assert pooled_scores(history, "test")["accuracy"] == 1.0


def test_clients_hold_every_metric_of_every_model_round_and_split():
    arrays = client_arrays(make_history())
    assert len(arrays) == 3 * 2 * 2 * len(METRICS)
    np.testing.assert_array_equal(arrays["trained/best/test/macro_f1"], [0.1, 0.7])
    np.testing.assert_array_equal(arrays["global/last/val/loss"], [4.0, 1.0])
    np.testing.assert_array_equal(arrays["global/best/val/loss"], [1.0, 2.0], "one round of the one model")


def test_clients_without_names_are_numbered_and_have_their_sizes():
    clients = data.load("digits", clients=3)
    facts = client_facts(clients, np.array([0, 1, 0]))
    assert facts["client_names"].tolist() == ["0", "1", "2"]
    assert facts["client_names"].dtype.kind == "U"
    for split in ("train", "val", "test"):
        assert facts[f"{split}_examples"].tolist() == clients.sizes[split].tolist()
    assert facts["team_of"].tolist() == [0, 1, 0]
    assert "team_of" not in client_facts(clients)


def test_a_line_per_evaluation_with_means_over_those_who_have_a_score():
    history = make_history(prefixes=("trained",))
    record = round_record(history)
    assert record["round"] == 2
    assert record["train_loss"] == 1.0
    assert record["participants"] == 1, "whose training loss it is"
    assert record["trained/test/loss"] == pytest.approx(2.5)
    assert not [name for name in record if name.startswith("served")]
