"""Starts that are not drawn: the model of another run, GPT-2's folder; what does not fit is named."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.federated.federate import federate
from fedjax_layers.engine.intervals import common_start, start_params
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.initial import check_disjoint
from fedjax_layers.experiment.setup.prepare import assemble, prepare
from fedjax_layers.models.gpt2 import load_gpt2
from fedjax_layers.models.params_file import load_params, load_stacked_params, save_params

GPT2 = Path(__file__).parent.parent / "models" / "gpt2"


def config_of(**values):
    return RunConfig(**{"algorithm": "fedavg", "dataset": "heart", "rounds": 2, "client_width": "all"} | values)


def test_a_run_starts_where_another_ended(tmp_path):
    first = config_of(save_model=True)
    experiment = prepare(first)
    execute(experiment, RunDirectory.create(tmp_path / "one", first))
    saved = load_params(tmp_path / "one" / "model.safetensors", experiment.plan.task.layers)
    for where in (tmp_path / "one", tmp_path / "one" / "model.safetensors"):
        again = prepare(config_of(init_from=str(where), seed=5))
        start = common_start(again.plan.task, again.inputs)
        jax.tree.map(np.testing.assert_array_equal, start, saved)
        drawn = start_params(again.plan.task, again.inputs.key)
        assert any(
            (np.asarray(a) != b).any() for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(saved), strict=True)
        )
    _, history = execute(again)
    assert history.rounds_done == 2


def test_without_the_option_no_model_is_kept(tmp_path):
    config = config_of()
    execute(prepare(config), RunDirectory.create(tmp_path / "run", config))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def accuracies(task, clients, params, split):
    """Each client's model on its own examples, ``[C]``."""
    found = []
    for c in range(clients.num_clients):
        rows = clients.rows(c, split)
        outputs = task.apply(jax.tree.map(lambda x, c=c: x[c], params), jnp.asarray(clients.inputs[rows]), None)
        found.append((np.asarray(outputs).argmax(1) == clients.labels[rows]).mean())
    return np.array(found)


@pytest.mark.parametrize("algorithm", ["fedper", "local", pytest.param("local_adaptation", marks=pytest.mark.slow)])
def test_personal_models_are_kept_as_they_were_scored(tmp_path, algorithm):
    """Those that were served last, or after the last local phase the ones that it trained."""
    config = config_of(algorithm=algorithm, model="logistic_regression", save_model=True)
    experiment = prepare(config)
    _, history = execute(experiment, RunDirectory.create(tmp_path / "run", config))
    task, clients = experiment.plan.task, experiment.data
    path = tmp_path / "run" / "personal.safetensors"
    personal = load_stacked_params(path, task.layers)
    for split in ("val", "test"):
        scored = history.scores("served", "last", split)["accuracy"]
        np.testing.assert_allclose(accuracies(task, clients, personal, split), scored, rtol=1e-6)
    assert path.stat().st_mode == (tmp_path / "run" / "summary.json").stat().st_mode, "who may read one may read both"
    one = load_stacked_params(path, task.layers, row=2)
    jax.tree.map(lambda x, xs: np.testing.assert_array_equal(x, xs[2]), one, personal)
    has_global = (tmp_path / "run" / "model.safetensors").exists()
    assert has_global == (algorithm == "local_adaptation")
    if not has_global:
        with pytest.raises(ValueError, match="expected a run with a global model, found only its clients' in personal"):
            prepare(config_of(model="logistic_regression", init_from=str(tmp_path / "run")))


def test_team_models_are_kept_beside(tmp_path):
    config = config_of(
        algorithm="permfl", model="logistic_regression", save_model=True, algorithm_options={"num_teams": 2}
    )
    experiment = prepare(config)
    execute(experiment, RunDirectory.create(tmp_path / "run", config))
    layers = experiment.plan.task.layers
    teams, personal = (
        load_stacked_params(tmp_path / "run" / f"{n}.safetensors", layers) for n in ("teams", "personal")
    )
    assert {x.shape[0] for x in jax.tree.leaves(teams)} == {2}
    assert {x.shape[0] for x in jax.tree.leaves(personal)} == {4}
    for row in (-1, 2):
        with pytest.raises(ValueError, match="row: expected one of the 2 models"):
            load_stacked_params(tmp_path / "run" / "teams.safetensors", layers, row)
    with pytest.raises(ValueError, match=r"personal.safetensors: expected '.*' of shape"):
        load_params(tmp_path / "run" / "personal.safetensors", layers)
    with pytest.raises(ValueError, match=r"model.safetensors: expected "):
        load_stacked_params(tmp_path / "run" / "model.safetensors", layers)


def sentences(vocabulary=37, length=12):
    rng = np.random.default_rng(0)
    text = rng.integers(1, vocabulary, (24, length + 1))
    names = tuple(map(str, range(vocabulary)))
    inputs, labels = text[:, :-1].astype(np.uint8), text[:, 1:].astype(np.int32)
    words = Dataset("words", inputs, labels, names, None, (), None, "made up", "none", task="language_modelling")
    return federate(words, np.arange(24) % 3)


@pytest.mark.slow
def test_gpt2s_folder_gives_weights_and_sizes():
    config = RunConfig(algorithm="fedtlu", model="transformer", rounds=1, client_width="all", init_from=str(GPT2))
    experiment = assemble(config, sentences())
    start = common_start(experiment.plan.task, experiment.inputs)
    jax.tree.map(np.testing.assert_array_equal, start, load_gpt2(GPT2))
    assert experiment.plan.task.layers.block_names[2:5] == ("block_0", "block_1", "block_2")
    summary, _ = execute(experiment)
    assert np.isfinite(summary["global"]["perplexity"]["mean"])


def test_what_does_not_fit_is_named(tmp_path):
    experiment = prepare(config_of())
    path = tmp_path / "model.safetensors"
    save_params(path, start_params(experiment.plan.task, experiment.inputs.key), experiment.plan.task.layers)
    with pytest.raises(ValueError, match=r"model.safetensors: expected .*, got "):
        prepare(config_of(init_from=str(path), model="mlp", model_options={"hidden": (7,)}))
    with pytest.raises(FileNotFoundError):
        prepare(config_of(init_from=str(tmp_path / "nowhere")))
    config = RunConfig(
        algorithm="fedavg", model="transformer", rounds=1, client_width="all", init_from=str(GPT2),
        model_options={"layers": 2},
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"expected the model's .* leaves, got 'block_2/attention/key/bias' as well"):
        assemble(config, sentences())


@pytest.mark.parametrize("content", ["{}", '{"dataset": "heart"}', '{"dataset": "heart", "data_options": 3}'])
def test_a_start_with_a_damaged_config_is_named(tmp_path, content):
    for name, text in {"config.json": content, "manifest.json": "{}", "model.safetensors": ""}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="expected a run's config with dataset and data_options"):
        check_disjoint(config_of(init_from=str(tmp_path)))
