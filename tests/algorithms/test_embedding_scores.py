"""PLayer-FL's score of an embedding table: only the rows that the scored batch used, averaged over the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers.algorithms import CutRule
from fedjax_layers.algorithms.sharing.sensitivity_cut import score_client
from fedjax_layers.clients import LocalResult, LocalSolver, Setting, keys
from fedjax_layers.models.task import task_from_functions
from fedjax_layers.types import Cohort, Pool, Ranges
from tests import toy

VOCABULARY, LENGTH, COUNT, BATCH = 11, 3, 6, 4


def init(key):
    table, head = jax.random.split(key)
    return [{"table": jax.random.normal(table, (VOCABULARY, 5))}, {"kernel": jax.random.normal(head, (5, 2))}]


def apply(params, tokens, key):
    del key
    return jnp.tanh(params[0]["table"][tokens]).mean(1) @ params[1]["kernel"]


@pytest.mark.slow
def test_only_the_rows_of_the_scored_batch_count(x64):
    task = task_from_functions(init, apply, optax.softmax_cross_entropy_with_integer_labels, None, 2)
    tokens = jax.random.randint(jax.random.key(3), (COUNT, LENGTH), 0, VOCABULARY)
    pool = Pool(tokens, jnp.arange(COUNT) % 2)
    cohort = Cohort(jnp.arange(1), jnp.ones(1), Ranges(jnp.zeros(1, int), jnp.full(1, COUNT)), pool)
    params = init(jax.random.key(0))
    client, result = toy.visit_of(cohort, 0), LocalResult(params, (), jnp.zeros(()), ())
    trainer, key = Setting(task, 1, COUNT).bind(LocalSolver(optax.sgd(0.1), BATCH)), jax.random.key(4)
    rule = CutRule(embeddings=("0/table",))
    found = score_client(trainer, key, client, result, rule)

    draw, _ = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, keys.SCORE_BATCH), 0))
    rows = np.asarray(jax.random.randint(draw, (BATCH,), 0, COUNT))

    def loss(params):
        outputs = apply(params, tokens[rows], None)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, pool.labels[rows]).mean()

    grads = jax.grad(loss)(params)
    used = np.asarray(tokens)[rows]  # [B, T]
    weight, gradient = (np.asarray(tree[0]["table"])[used].mean(0) for tree in (params, grads))  # [T, D]
    np.testing.assert_allclose(found[0], np.mean((weight * gradient) ** 2), rtol=1e-10)
    whole = score_client(trainer, key, client, result, CutRule())
    assert abs(float(whole[0] / found[0]) - 1) > 0.1
    np.testing.assert_allclose(whole[1], found[1], rtol=1e-12)


def test_embeddings_need_a_batch_of_their_own():
    with pytest.raises(ValueError, match="embeddings: expected gradient 'batch' beside them, got 'epoch'"):
        CutRule(embeddings=("0/table",), gradient="epoch")
