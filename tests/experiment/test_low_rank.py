"""Low-rank adapters of a config: their base, equal tasks, starts, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.data import load
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup.initial import make_start
from fedjax_layers.experiment.setup.prepare import assemble, vary
from fedjax_layers.experiment.setup.tasks import make_task
from fedjax_layers.models import save_params
from fedjax_layers.sweeps.configs import program_key


def config_of(**changes):
    usual = {"algorithm": "fedit", "dataset": "heart", "model": "heart_mlp", "rounds": 1, "client_width": "all"}
    return RunConfig(**usual | {"low_rank": 2} | changes)


@pytest.fixture(scope="module")
def clients():
    return load("heart")


def merged(task):
    return task.adapters.merge(task.init(jax.random.key(7)))


def test_equal_configs_have_one_task_whose_base_no_seed_of_the_run_changes(clients):
    task = make_task(config_of(), clients)
    assert make_task(config_of(seed=3, learning_rate=0.3), clients) is task
    dense = make_task(config_of(algorithm="fedavg", low_rank=None), clients)
    base = jax.jit(dense.init)(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, merged(task), base)
    other = make_task(config_of(low_rank_seed=1), clients)
    assert any(map(np.any, jax.tree.leaves(jax.tree.map(jnp.subtract, merged(other), base))))


def test_init_from_is_the_base_and_adapters_are_drawn(tmp_path, clients):
    dense = make_task(config_of(algorithm="fedavg", low_rank=None), clients)
    params = dense.init(jax.random.key(5))
    save_params(tmp_path / "model.safetensors", params, dense.layers)
    config = config_of(init_from=str(tmp_path / "model.safetensors"), low_rank_alpha=4.0)
    task = make_task(config, clients)
    jax.tree.map(np.testing.assert_array_equal, merged(task), params)
    assert make_start(config, task) is None
    save_params(tmp_path / "model.safetensors", dense.init(jax.random.key(6)), dense.layers)
    again = make_task(config, clients)
    assert np.any(merged(again)["Dense_0"]["kernel"] != params["Dense_0"]["kernel"]), "the file has changed"


def test_targets_and_layers_trained_whole_reach_the_task(clients):
    task = make_task(config_of(low_rank_targets=("Dense_0", ".*_1/kernel"), low_rank_train=("Dense_3",)), clients)
    assert task.layers.names == ("Dense_0/A", "Dense_0/B", "Dense_1/A", "Dense_1/B", "Dense_3")


def test_runs_of_other_seeds_are_one_program_and_have_adapters_of_their_own(clients):
    first = config_of()
    second = config_of(seed=1)
    assert program_key(first) == program_key(second)
    assert program_key(first) != program_key(config_of(low_rank_seed=1))
    experiment = assemble(first, clients)
    other = vary(experiment, second)
    assert other.plan is experiment.plan
    assert other.inputs.start is experiment.inputs.start is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"low_rank": 99},
            "low_rank: expected at most [0-9]+ for Dense_0/kernel of [0-9]+ inputs and [0-9]+ outputs, ",
        ),
        ({"low_rank_targets": ("Dense_9",)}, "low_rank_targets: expected one of Dense_0/kernel, .*, got 'Dense_9'"),
        ({"low_rank_train": ("head",)}, "low_rank_train: expected one of Dense_0, .*, got 'head'"),
    ],
)
def test_what_does_not_fit_the_model_names_its_field(given, message, clients):
    with pytest.raises(ValueError, match=f"^{message}"):
        make_task(config_of(**given), clients)


@pytest.mark.parametrize(("field", "value"), [("low_rank", 0), ("low_rank_alpha", 0.0), ("low_rank_seed", -1)])
def test_numbers_out_of_bounds_are_refused(field, value):
    with pytest.raises(ValueError, match=f"^{field}: expected "):
        config_of(**{field: value})
