"""A regression from plain functions, from training to its test loss, beside NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers.data import federate
from fedjax_layers.data.dataset import Dataset
from fedjax_layers.models.task import task_from_functions

CLIENTS = 3


@pytest.mark.parametrize(
    "shift", [5.0, -1000.0]
)  # as classes most targets of the first, and all of the second, are none
def test_the_test_loss_is_the_mean_of_the_losses_whatever_the_targets_are(shift):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = (x @ np.array([1, -2, 3], np.float32) + np.float32(shift)).astype(np.float32)
    line = Dataset(
        name="line", inputs=x, labels=y, class_names=(), clients=None, client_names=(), preprocess=None,
        source="-", licence="-", task="regression",
    )  # fmt: skip
    data = federate(line, np.arange(300) % CLIENTS)
    task = task_from_functions(
        lambda key: [{"w": jnp.zeros((3, 1)), "b": jnp.zeros(1)}],
        lambda params, x, key: x @ params[0]["w"] + params[0]["b"],
        lambda outputs, labels: (outputs[:, 0] - labels) ** 2,
        None,
        1,
    )

    run = fl.simulate(fl.algorithms.fedavg(fl.LocalSolver(optax.sgd(0.05), batch_size=16)), task, data, rounds=2)
    (layer,) = jax.tree.map(np.asarray, run.models.global_model)

    def error_of(client):
        rows = data.rows(client, "test")
        return np.mean((data.inputs[rows] @ layer["w"][:, 0] + layer["b"] - data.labels[rows]) ** 2)

    expected = [error_of(client) for client in range(CLIENTS)]
    found = run.history.evaluations
    np.testing.assert_allclose(found["served/test/loss"][-1], expected, rtol=1e-4)
    sizes = data.sizes["test"]
    np.testing.assert_allclose(found["pooled/test/loss"][-1], np.average(expected, weights=sizes), rtol=1e-4)
