"""A metric of one's own, and scores by class, from the task to the files of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from fedjax_layers import models
from fedjax_layers.algorithms import fedavg
from fedjax_layers.clients import LocalSolver
from fedjax_layers.data import from_arrays
from fedjax_layers.data.federated.federate import federate
from fedjax_layers.engine.simulate import simulate
from fedjax_layers.experiment.config.optimizers import client_optimizer
from fedjax_layers.experiment.records.class_summary import class_summary
from fedjax_layers.experiment.records.summary import client_arrays, scores_of

NAMES = ("a", "b", "c")


def brier(outputs, labels, mask):
    share = jax.nn.softmax(outputs)
    each = ((share - jax.nn.one_hot(labels, outputs.shape[-1])) ** 2).sum(-1)
    return jnp.where(mask, each, 0).sum() / mask.sum()


@pytest.fixture(scope="module")
def run():
    """Three rounds of three clients, the last of which has no example of class c."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(90, 2)).astype(np.float32)
    labels = np.clip(inputs[:, 0] + rng.normal(size=90) > 0, 0, 1) + (inputs[:, 1] > 0.8)
    client = np.where(labels == 2, np.arange(90) % 2, np.arange(90) % 3)
    data = federate(from_arrays(inputs, np.array(NAMES)[labels], name="three"), client)
    module = models.build_model("logistic_regression", 3)
    task = models.task(module, (2,), 3, metrics={"brier": brier})
    solver = LocalSolver(client_optimizer("sgd", 0.1), batch_size=8)
    return data, task, simulate(fedavg(solver), task, data, rounds=3)


def outputs_of(run, client):
    data, task, result = run
    rows = data.rows(client, "test")
    return np.asarray(task.apply(result.models.global_model, jnp.asarray(data.inputs[rows]), None)), data.labels[rows]


def test_a_metric_of_ones_own_is_recorded_beside_the_others(run):
    found = client_arrays(run[2].history)["global/last/test/brier"]
    for c in range(3):
        outputs, labels = outputs_of(run, c)
        share = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
        assert found[c] == pytest.approx(((share - np.eye(3)[labels]) ** 2).sum(1).mean(), rel=1e-5)
    summary = scores_of(run[2].history, "global", "last", run[0].sizes["train"])
    assert list(summary)[-2:] == ["loss", "brier"]
    assert summary["brier"]["mean"] == pytest.approx(found.mean())


def test_scores_by_class_as_in_scikit_learn(run):
    arrays = client_arrays(run[2].history)
    for c in range(3):
        outputs, labels = outputs_of(run, c)
        guesses = outputs.argmax(1)
        f1 = metrics.f1_score(labels, guesses, labels=range(3), average=None, zero_division=0)
        recall = metrics.recall_score(labels, guesses, labels=range(3), average=None, zero_division=0)
        there = np.isin(range(3), labels)
        np.testing.assert_allclose(arrays["global/last/test/class_recall"][c][there], recall[there], rtol=1e-6)
        assert np.isnan(arrays["global/last/test/class_recall"][c][~there]).all()
        np.testing.assert_allclose(np.nan_to_num(arrays["global/last/test/class_f1"][c]), f1, rtol=1e-6)
    assert np.isnan(arrays["global/last/test/class_recall"][2, 2])


def test_the_summary_names_the_classes_and_says_over_how_many_clients(run):
    summary = class_summary(run[2].history, "trained", "last", NAMES)
    recall = client_arrays(run[2].history)["trained/last/test/class_recall"]
    assert {name: found["n"] for name, found in summary["personal"].items()} == {"a": 3, "b": 3, "c": 2}
    assert summary["personal"]["c"]["recall"] == pytest.approx(recall[:2, 2].mean())
    both = [np.concatenate(x) for x in zip(*(outputs_of(run, c) for c in range(3)), strict=True)]
    precision = metrics.precision_score(both[1], both[0].argmax(1), average=None)
    assert [found["precision"] for found in summary["pooled"].values()] == pytest.approx(precision, rel=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "class_f1", "test/brier"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(ValueError, match=rf"metrics: expected names without a slash other than .*, got '{name}'"):
        models.task(models.build_model("mlp", 3), (2,), 3, metrics={name: brier})
