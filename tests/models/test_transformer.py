"""The transformer: what attends to what, layers and blocks, tied heads, sequence losses; bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.models import as_stored, build_model, softmax_losses
from fedjax_layers.types import Batch

SMALL = {"num_embeddings": 11, "length": 6, "width": 8, "heads": 2, "layers": 2}
TOKENS = np.array([[3, 4, 5, 6, 7, 8], [9, 2, 1, 0, 0, 0]], np.int32)


def task_of(classes=11, shape=(6,), **options):
    module = build_model("transformer", classes, **SMALL | options)
    return fl.task(
        module, shape, classes, preprocess=as_stored, sample_dtype=jnp.int32, blocks=1, kind="language_modelling"
    )


def outputs(task, x, seed=0):
    return np.asarray(jax.jit(task.apply)(task.init(jax.random.key(seed)), jnp.asarray(x), None))


def changed(task, place):
    """Places whose outputs differ when the token at ``place`` is another."""
    other = TOKENS.copy()
    other[:, place] = 10
    return (outputs(task, TOKENS) != outputs(task, other)).any(-1)


def test_a_language_model_never_looks_ahead():
    found = changed(task_of(), 2)
    assert not found[:, :2].any()
    assert found[:, 2:][0].all()


def test_an_encoder_looks_both_ways_and_padding_is_seen_by_nobody():
    task = task_of(causal=False)
    assert changed(task, 2)[0].all()
    longer = np.concatenate([TOKENS[1:, :3], np.zeros((1, 3), np.int32)], 1)
    short = task_of(causal=False, length=6)
    np.testing.assert_allclose(outputs(task, longer)[:, :3], outputs(short, TOKENS[1:, :3]), rtol=1e-5, atol=1e-6)


def test_a_texts_output_is_of_its_tokens_alone():
    task = task_of(classes=3, causal=False, output="text")
    assert outputs(task, TOKENS).shape == (2, 3)
    np.testing.assert_allclose(outputs(task, TOKENS)[1], outputs(task, TOKENS[1:, :3])[0], rtol=1e-5, atol=1e-6)
    assert np.isfinite(outputs(task, np.zeros((1, 6), np.int32))).all(), "a text without tokens"


def test_layers_stand_in_call_order_and_blocks_are_the_papers():
    layers = task_of().layers
    assert layers.block_names == ("tokens", "positions", "block_0", "block_1", "head")
    assert [layers.blocks.count(b) for b in range(5)] == [1, 1, 6, 6, 1]
    names = [name.replace("\\", "") for name in layers.names]
    assert names[2:8] == [
        f"block_0/{part}"
        for part in ("attention/query", "attention/key", "attention/value", "attention/out", "inner", "outer")
    ]
    norms = {path: layers.names[layer] for path, layer in zip(layers.leaf_paths, layers.leaf_layers, strict=True)}
    assert norms["block_1/attention_norm/scale"] == "block_1/attention/query", "the norm before is the block's own"
    assert norms["head/norm/scale"].startswith("head")
    sizes = [sum(n for n, b in zip(layers.sizes, layers.blocks, strict=True) if b == k) for k in (2, 3)]
    assert sizes[0] == sizes[1] == 12 * 8 * 8 + 13 * 8


def test_a_tied_head_has_no_parameters_of_its_own_and_stays_apart_from_the_blocks():
    layers = task_of(tied=True).layers
    assert layers.block_names[-1] == "head"
    assert layers.sizes[-1] == 16, "the last norm"
    params = task_of(tied=True).init(jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(params)) == 11 * 8 + 6 * 8 + 2 * (12 * 64 + 13 * 8) + 16


def test_gpt2_small_has_its_parameters():
    module = build_model(
        "transformer",
        50_257,
        num_embeddings=50_257,
        padding=None,
        length=1024,
        layers=12,
        width=768,
        heads=12,
        tied=True,
    )
    params = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32))
    assert sum(x.size for x in jax.tree.leaves(params)) == 124_439_808
    block = params["params"]["block_3"]
    assert sum(x.size for x in jax.tree.leaves(block)) == 7_087_872


def test_the_loss_is_the_mean_over_predicted_tokens(x64):
    task = task_of()
    params = task.init(jax.random.key(0))
    labels = np.array([[4, 5, 6, 7, 8, 9], [2, 1, -1, -1, -1, -1], [1, 1, 1, 1, 1, 1]], np.int32)
    inputs = np.concatenate([TOKENS, TOKENS[:1]])
    mask = np.array([True, True, False])
    log_p = np.asarray(jax.nn.log_softmax(task.apply(params, jnp.asarray(inputs), None)))
    each = [-log_p[b, t, labels[b, t]] for b in range(2) for t in range(6) if labels[b, t] >= 0]
    found = task.loss(params, Batch(jnp.asarray(inputs), jnp.asarray(labels), jnp.asarray(mask)), None)
    np.testing.assert_allclose(found, np.mean(each), rtol=1e-6)
    assert task.predictions(jnp.asarray(labels)).tolist() == [6, 2, 6]
    nothing = Batch(jnp.asarray(inputs), jnp.full_like(jnp.asarray(labels), -1), jnp.asarray(mask))
    assert task.loss(params, nothing, None) == 0
    gradient = jax.grad(lambda p: task.loss(p, nothing, None))(params)
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(gradient))


def test_places_without_a_label_do_not_count(x64):
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    labels = np.array([[1, -1, 3], [-1, -1, -1]])
    log_p = np.asarray(jax.nn.log_softmax(logits))
    np.testing.assert_allclose(softmax_losses(logits, labels), [-(log_p[0, 0, 1] + log_p[0, 2, 3]) / 2, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 5}, "length: expected at least 6, the tokens of an example, got 5"),
        ({"heads": 3}, "heads: expected a divisor of the width 8, got 3"),
        ({"activation": "tanh"}, "activation: expected one of gelu, relu, got 'tanh'"),
        ({"output": "word"}, "output: expected token or text, got 'word'"),
        ({"tied": True, "num_embeddings": 12}, "tied: expected 12 classes, one per embedding, got 11"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        task_of(**options)
