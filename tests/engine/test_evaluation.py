"""Per-client scores against scikit-learn, for stacked and single models, on ragged splits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from fedjax_layers.engine.device_data import DeviceData
from fedjax_layers.engine.evaluation.evaluate import evaluate
from fedjax_layers.engine.evaluation.score_names import METRICS
from fedjax_layers.ops import ClientAxis
from fedjax_layers.ops.metrics.classes import BY_CLASS, RANKED
from fedjax_layers.types import Pool, Ranges
from tests import toy

COUNTS = np.array([11, 0, 1, 26, 7])
K, N, LARGEST = len(COUNTS), COUNTS.sum(), int(COUNTS.max())
STARTS = np.concatenate([[0], np.cumsum(COUNTS)[:-1]])
SKLEARN = {
    "accuracy": metrics.accuracy_score,
    "macro_f1": lambda y, p: metrics.f1_score(y, p, average="macro", zero_division=0),
    "weighted_f1": lambda y, p: metrics.f1_score(y, p, average="weighted", zero_division=0),
    "mcc": metrics.matthews_corrcoef,
}


@pytest.fixture(scope="module")
def data():
    """A pool with three more rows behind the last client that nobody may look at."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(N + 3, toy.WIDTHS[0])).astype(np.float32)
    inputs[N:] = np.nan
    labels = rng.integers(0, toy.WIDTHS[-1], N + 3).astype(np.int32)
    ranges = Ranges(jnp.asarray(STARTS, jnp.int32), jnp.asarray(COUNTS, jnp.int32))
    return Pool(jnp.asarray(inputs), jnp.asarray(labels)), ranges


def models(stacked):
    task = toy.make_task(jnp.float32)
    if not stacked:
        return task, jax.jit(task.init)(jax.random.key(7))
    return task, jax.jit(jax.vmap(task.init))(jax.random.split(jax.random.key(7), K))


def by_sklearn(task, params, pool, rows):
    """Scores of one model on some rows of the pool."""
    outputs = np.asarray(jax.jit(task.apply)(params, pool.inputs, None))[rows]
    y, p = np.asarray(pool.labels)[rows], outputs.argmax(-1)
    found = {name: fn(y, p) for name, fn in SKLEARN.items()}
    present = np.unique(y)
    found["balanced_accuracy"] = np.mean([(p[y == s] == s).mean() for s in present])
    logits = outputs.astype(np.float64)
    found["loss"] = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y])
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    two_sided = [s for s in present if len(present) > 1]
    for name, fn in {"roc_auc": metrics.roc_auc_score, "average_precision": metrics.average_precision_score}.items():
        found[name] = np.mean([fn(y == s, share[:, s]) for s in two_sided]) if two_sided else np.nan
    return found


def run(data, stacked, **changes):
    return scored(*models(stacked), *data, stacked=stacked, **changes)


def scored(task, params, pool, ranges, *, largest=LARGEST, **options):
    """``evaluate``, compiled."""
    return jax.jit(lambda *args: evaluate(task, *args, largest=largest, **options))(params, pool, ranges)


@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")  # scikit-learn, of one example
@pytest.mark.parametrize("stacked", [True, False])
def test_every_client_scores_as_in_scikit_learn(data, stacked):
    task, params = models(stacked)
    scores, pooled = run(data, stacked)
    assert set(scores) == {*METRICS, *BY_CLASS}
    assert pooled == {}
    for k, (start, count) in enumerate(zip(STARTS, COUNTS, strict=True)):
        if count == 0:
            assert all(np.isnan(scores[m][k]) for m in METRICS)
            continue
        own = jax.tree.map(lambda x, k=k: np.asarray(x)[k], params) if stacked else params
        expected = by_sklearn(task, own, data[0], slice(start, start + count))
        for name in METRICS:
            np.testing.assert_allclose(scores[name][k], expected[name], rtol=1e-5, atol=1e-6, err_msg=f"{name} {k}")


def test_the_pooled_scores_are_those_of_all_examples_as_one_set(data):
    task, params = models(stacked=False)
    _, pooled = run(data, stacked=False, pooled=True)
    expected = by_sklearn(task, params, data[0], slice(0, N))
    assert set(pooled) == {*METRICS, *BY_CLASS} - {
        *RANKED
    }  # ranks of all clients' examples would need all their outputs
    for name in set(pooled) - {*BY_CLASS}:
        np.testing.assert_allclose(pooled[name], expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("batch_size", [1, 4, 26, 1000])
@pytest.mark.parametrize("stacked", [True, False])
def test_the_batch_size_does_not_matter(data, stacked, batch_size):
    expected, total = run(data, stacked, pooled=True)
    found, pooled = run(data, stacked, pooled=True, batch_size=batch_size)
    for name in METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
    for name in total:
        np.testing.assert_allclose(pooled[name], total[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stacked", [True, False])
def test_width_and_devices_do_not_matter(data, stacked):
    mesh = jax.make_mesh((8,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    expected, _ = run(data, stacked)
    for axis in (ClientAxis(1), ClientAxis(2), ClientAxis(None, mesh)):
        found, _ = run(data, stacked, axis=axis)
        for name in METRICS:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_a_split_that_nobody_has_scores_nan(data):
    task, params = models(stacked=False)
    nobody = Ranges(jnp.zeros(K, jnp.int32), jnp.zeros(K, jnp.int32))
    scores, pooled = scored(task, params, data[0], nobody, stacked=False, largest=0, pooled=True)
    assert all(np.isnan(scores[m]).all() for m in METRICS)
    assert all(np.isnan(x).all() for x in pooled.values())


def test_another_clients_nan_model_does_not_spread(data):
    task, params = models(stacked=True)
    poisoned = jax.tree.map(lambda x: x.at[0].set(jnp.nan), params)
    pool, ranges = data
    expected, _ = run(data, stacked=True)
    found, _ = scored(task, poisoned, pool, ranges, stacked=True)
    assert np.isinf(found["loss"][0])
    np.testing.assert_allclose(found["loss"][1:], expected["loss"][1:], rtol=1e-6)


def test_losses_are_summed_in_the_models_precision(data, x64):
    task = toy.make_task()
    params = task.init(jax.random.key(7))
    inputs, labels = (np.asarray(x) for x in data[0])
    pool = Pool(jnp.asarray(inputs, jnp.float64), jnp.asarray(labels))
    scores, _ = scored(task, params, pool, data[1], stacked=False, batch_size=3)
    expected = by_sklearn(task, params, pool, slice(STARTS[3], STARTS[3] + COUNTS[3]))
    assert scores["loss"].dtype == jnp.float64
    np.testing.assert_allclose(scores["loss"][3], expected["loss"], rtol=1e-12)


def test_splits_are_found_by_name(data):
    pool, ranges = data
    others = [Ranges(ranges.start + i, ranges.count) for i in range(3)]
    source = DeviceData(pool, *others, global_test=others[0], largest=(5, 6, 7, 0))
    for name, expected, largest in zip(("train", "val", "test"), others, (5, 6, 7), strict=True):
        assert source.split(name) == (expected, largest)
