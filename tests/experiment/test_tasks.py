"""From data of each kind to a task: which model, with which options; language is scored by predicted tokens."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.data import from_arrays
from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.federated.federate import federate
from fedjax_layers.engine.evaluation.evaluate import evaluate
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import assemble, prepare
from fedjax_layers.experiment.setup.tasks import make_task
from fedjax_layers.models import target_losses
from fedjax_layers.ops.metrics import ClassScorer, TokenScorer
from fedjax_layers.types import Batch, Pool, Ranges

SMALL = {"width": 8, "heads": 2, "layers": 1}
LENGTH, VOCABULARY = 6, 9


def sequences(task, number=40):
    """Sentences of one to six tokens and a label for each; nothing is predicted where they have ended."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(1, VOCABULARY, (number, LENGTH), dtype=np.uint8)
    labels = rng.integers(0, 3 if task == "tagging" else VOCABULARY, (number, LENGTH), dtype=np.int32)
    ended = np.arange(LENGTH) >= rng.integers(1, LENGTH + 1, number)[:, None]
    names = tuple(str(n) for n in range(3 if task == "tagging" else VOCABULARY))
    inputs, labels = np.where(ended, 0, inputs), np.where(ended, -1, labels)
    return Dataset("words", inputs, labels, names, None, (), None, "made up", "none", task=task)


def texts():
    sentences = sequences("language_modelling")
    labels = np.arange(40, dtype=np.int32) % 2
    return dataclasses.replace(sentences, labels=labels, class_names=("a", "b"), task="classification")


def clients_of(dataset, **options):
    return federate(dataset, np.arange(len(dataset.labels)) % 4, **options)


def config_of(**changes):
    return RunConfig(**{"algorithm": "fedavg", "rounds": 2, "batch_size": 4, "client_width": "all"} | changes)


NUMBERS = np.linspace(0, 1, 12, dtype=np.float32)[:, None]
OTHER_KINDS = {
    "regression": from_arrays(NUMBERS, NUMBERS[:, 0], name="line"),
    "survival": Dataset(
        "lives", NUMBERS, np.repeat(NUMBERS, 2, 1), (), None, (), None, "made up", "none", task="survival"
    ),
}


def test_a_regression_learns_targets_in_their_own_units():
    """Outputs and scores are in the targets' units, the loss in their deviations; unseen clients decide neither."""
    clients = clients_of(from_arrays(NUMBERS, 1000 * NUMBERS[:, 0] + 7, name="line"), unseen=[3])
    task = make_task(config_of(model="logistic_regression", loss="squared"), clients)
    rows = np.concatenate([np.arange(12)[clients.rows(c, "train")] for c in range(3)])
    targets = clients.labels[rows]
    params = jax.tree.map(jnp.zeros_like, task.init(jax.random.key(0)))
    outputs = task.apply(params, jnp.asarray(clients.inputs[rows]), None)
    np.testing.assert_allclose(outputs, np.full((len(rows), 1), targets.mean()), rtol=1e-6)
    losses = task.losses(outputs, jnp.asarray(targets))
    np.testing.assert_allclose(losses.mean(), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "errors", "expected"),
    [("squared", [1, -4], [0.25, 4]), ("absolute", [1, -4], [0.5, 2]), ("huber", [1, -4], [0.125, 1.5])],
)
def test_losses_of_a_regression(loss, errors, expected):
    labels = jnp.array([3.0, 5.0])
    found = target_losses(loss, 2.0)(labels[:, None] + jnp.array(errors, jnp.float32)[:, None], labels)
    np.testing.assert_allclose(found, expected)


def test_a_survival_loss_is_that_of_the_batch_without_its_padding():
    clients = clients_of(OTHER_KINDS["survival"])
    task = make_task(config_of(model="logistic_regression"), clients)
    params = task.init(jax.random.key(1))
    inputs = jnp.array([[0.1], [0.9], [0.4], [0.7]])
    labels = jnp.array([[0.0, 1], [2, 1], [2, 0], [9, 1]])  # a death on day 0
    mask = jnp.array([True, True, True, False])
    risk = np.asarray(task.apply(params, inputs, None), np.float64)[:3, 0]
    expected = ((np.log(np.exp(risk).sum()) - risk[0]) + (np.log(np.exp(risk[1:]).sum()) - risk[1])) / 2
    np.testing.assert_allclose(task.loss(params, Batch(inputs, labels, mask), None), expected, rtol=1e-5)
    assert task.loss(params, Batch(inputs, labels, jnp.zeros(4, bool)), None) == 0


def test_classes_and_targets_are_not_taken_for_each_other():
    task = make_task(config_of(model="logistic_regression"), clients_of(from_arrays(NUMBERS, np.arange(12) % 2)))
    pool = Pool(jnp.asarray(NUMBERS), jnp.asarray(NUMBERS[:, 0]))
    everything = Ranges(jnp.zeros(1, jnp.int32), jnp.full(1, 12, jnp.int32))
    with pytest.raises(ValueError, match=r"labels: expected integers for a task of 2 classes, got float32"):
        evaluate(task, task.init(jax.random.key(0)), pool, everything, stacked=False, largest=12)


@pytest.mark.slow
def test_models_get_what_the_data_say():
    language = make_task(config_of(model_options=SMALL), clients_of(sequences("language_modelling")))
    assert (language.scorer, language.num_classes) == (TokenScorer(), VOCABULARY)
    assert language.layers.block_names == ("tokens", "positions", "block_0", "head")
    tagging = make_task(config_of(model_options=SMALL), clients_of(sequences("tagging")))
    assert (tagging.scorer, tagging.num_classes) == (ClassScorer(3), 3)
    text = make_task(config_of(model="transformer", model_options=SMALL), clients_of(texts()))
    assert text.predictions is None
    inputs = jnp.asarray(sequences("tagging").inputs[:2])
    for task, shape in ((language, (2, LENGTH, VOCABULARY)), (tagging, (2, LENGTH, 3)), (text, (2, 2))):
        assert task.apply(task.init(jax.random.key(0)), inputs, None).shape == shape


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "language_modelling",
            {"model": "mlp"},
            "model: expected one of transformer for the language modelling of words",
        ),
        ("tagging", {"model": "embedding_bag"}, "model: expected one of transformer for the tagging of words, got"),
        (
            "language_modelling",
            {"model_options": {"causal": False}},
            "option causal: expected True for words, got False",
        ),
        ("tagging", {"model_options": {"output": "text"}}, "option output: expected 'token' for words, got 'text'"),
        ("language_modelling", {"model_options": {"num_embeddings": 8}}, "option num_embeddings: expected at least 9"),
    ],
)
def test_what_does_not_fit_is_refused(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        make_task(config_of(**{"model": "transformer"} | changes), clients_of(sequences(kind)))


def test_language_is_scored_by_predicted_tokens():
    """Each client's and the pooled scores against NumPy, token by token."""
    clients = clients_of(sequences("language_modelling"))
    task = make_task(config_of(model_options=SMALL), clients)
    params = task.init(jax.random.key(3))
    start, count = clients.ranges["test"]
    pool = Pool(jnp.asarray(clients.inputs), jnp.asarray(clients.labels))
    ranges = Ranges(jnp.asarray(start, jnp.int32), jnp.asarray(count, jnp.int32))
    for batch_size in (1, 3, 256):
        how = {"stacked": False, "largest": int(count.max()), "pooled": True, "batch_size": batch_size}
        found, pooled = jax.jit(functools.partial(evaluate, task, **how))(params, pool, ranges)
        expected = [by_hand(task, params, clients, range(s, s + n)) for s, n in zip(start, count, strict=True)]
        everything = by_hand(
            task, params, clients, [i for s, n in zip(start, count, strict=True) for i in range(s, s + n)]
        )
        for metric in ("accuracy", "loss", "perplexity"):
            np.testing.assert_allclose(found[metric], [e[metric] for e in expected], rtol=1e-5)
            np.testing.assert_allclose(pooled[metric], everything[metric], rtol=1e-5)


def by_hand(task, params, clients, rows):
    """Scores of one model on some rows, from the probabilities of single tokens."""
    losses, hits, apply = [], [], jax.jit(task.apply)
    for i in rows:
        logits = np.asarray(apply(params, jnp.asarray(clients.inputs[i : i + 1]), None), np.float64)[0]
        for place, label in enumerate(clients.labels[i]):
            if label >= 0:
                losses.append(np.log(np.exp(logits[place]).sum()) - logits[place, label])
                hits.append(logits[place].argmax() == label)
    return {"accuracy": np.mean(hits), "loss": np.mean(losses), "perplexity": np.exp(np.mean(losses))}


def test_a_language_run_reports_perplexity_and_no_classes():
    clients = clients_of(sequences("language_modelling"))
    summary, history = execute(assemble(config_of(model_options=SMALL), clients))
    for model in ("personal", "global", "pooled"):
        assert set(summary[model]) == {"accuracy", "loss", "perplexity"}
    found = history.scores("served", "last")
    assert summary["fairness_variance"] == pytest.approx(
        history.scores("trained", "best")["perplexity"].var(), rel=1e-4
    )
    np.testing.assert_allclose(found["perplexity"], np.exp(found["loss"]), rtol=1e-5)


def test_a_tagging_run_scores_tags_and_never_padding():
    clients = clients_of(sequences("tagging"))
    summary, _ = execute(assemble(config_of(model_options=SMALL), clients))
    assert {"macro_f1", "accuracy", "mcc"} <= set(summary["personal"])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "scores", "best"),
    [("parkinsons", ["mae", "rmse", "r2", "loss"], 10), ("fed_tcga_brca", ["concordance", "loss"], 0.5)],
)
def test_real_sets_of_other_kinds_are_trained_and_scored(data_dir, name, scores, best):
    config = RunConfig("fedavg", dataset=name, model="logistic_regression", rounds=10, client_width="all")
    summary, _ = execute(prepare(config, data_dir))
    assert list(summary["personal"]) == scores
    found = summary["personal"][scores[0]]["mean"]
    assert found > best if name == "fed_tcga_brca" else found < best  # points of 7 to 55; chance


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "language"), [("ud_english_ewt", False), ("wikitext2", True), ("tiny_shakespeare", True)]
)
def test_real_texts_get_a_transformer_of_their_vocabulary(data_dir, name, language):
    config = RunConfig(
        algorithm="fedavg", dataset=name, data_options={"limit": 200}, model_options=SMALL, client_width="all"
    )
    experiment = prepare(config, data_dir)
    task = experiment.plan.task
    assert (task.scorer == TokenScorer()) == language
    assert task.num_classes == experiment.data.num_classes
    assert task.layers.block_names == ("tokens", "positions", "block_0", "head")


TOKENS = RunConfig(algorithm="fedavg", dataset="sentiment", model_options={"width": 4}, client_width="all")


@pytest.mark.data
def test_tokens_reach_the_model_as_numbers_and_each_has_its_vector(data_dir):
    task = prepare(TOKENS, data_dir).plan.task
    assert dict(zip(task.layers.names, task.layers.sizes, strict=True)) == {"Embed_0": 2000 * 4, "Dense_0": 10}


@pytest.mark.data
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "mlp", "model_options": {}},
            "model: expected one of embedding_bag, player_text, transformer for the tokens of sentiment",
        ),
        ({"model_options": {"num_embeddings": 5}}, "option num_embeddings: expected at least 2000, the tokens of"),
        ({"dataset": "heart", "model": "embedding_bag"}, "model: expected one of .* for the quantities of heart"),
    ],
)
def test_tokens_are_not_taken_for_quantities_nor_the_other_way_round(data_dir, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare(dataclasses.replace(TOKENS, **changes), data_dir)
