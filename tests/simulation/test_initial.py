"""Starts that are not drawn: the model of another run, GPT-2's folder; what does not fit is named."""

from pathlib import Path

import jax
import numpy as np
import pytest

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.federate import federate
from fedjax_layers.models.gpt2 import load_gpt2
from fedjax_layers.models.params_file import load_params, save_params
from fedjax_layers.simulation.config import RunConfig
from fedjax_layers.simulation.experiment import execute
from fedjax_layers.simulation.periods import common_start, start_params
from fedjax_layers.simulation.records import RunDirectory
from fedjax_layers.simulation.setup import assemble, prepare

GPT2 = Path(__file__).parent.parent / "models" / "gpt2"


def config_of(**values):
    return RunConfig(**{"algorithm": "fedavg", "dataset": "heart", "rounds": 2, "client_width": "all"} | values)


def test_a_run_starts_where_another_ended(tmp_path):
    first = config_of(save_model=True)
    experiment = prepare(first)
    execute(experiment, RunDirectory.create(tmp_path / "one", first))
    saved = load_params(tmp_path / "one" / "model.safetensors", experiment.builder.task.layers)
    for where in (tmp_path / "one", tmp_path / "one" / "model.safetensors"):
        again = prepare(config_of(init_from=str(where), seed=5))
        start = common_start(again.builder.task, again.inputs)
        jax.tree.map(np.testing.assert_array_equal, start, saved)
        drawn = start_params(again.builder.task, again.inputs.key)
        assert any(
            (np.asarray(a) != b).any() for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(saved), strict=True)
        )
    _, history = execute(again)
    assert history.rounds_done == 2


def test_without_the_option_no_model_is_kept(tmp_path):
    config = config_of()
    execute(prepare(config), RunDirectory.create(tmp_path / "run", config))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_no_global_model_cannot_be_kept():
    with pytest.raises(ValueError, match="save_model: expected an algorithm with a global model, got one without"):
        prepare(config_of(algorithm="local", save_model=True))


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
    start = common_start(experiment.builder.task, experiment.inputs)
    jax.tree.map(np.testing.assert_array_equal, start, load_gpt2(GPT2))
    assert experiment.builder.task.layers.block_names[2:5] == ("block_0", "block_1", "block_2")
    summary, _ = execute(experiment)
    assert np.isfinite(summary["global"]["perplexity"]["mean"])


def test_what_does_not_fit_is_named(tmp_path):
    experiment = prepare(config_of())
    path = tmp_path / "model.safetensors"
    save_params(path, start_params(experiment.builder.task, experiment.inputs.key), experiment.builder.task.layers)
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
