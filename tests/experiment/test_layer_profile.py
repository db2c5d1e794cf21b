"""The profile of layers: each metric is the op on the drawn examples; one model, many, folders, names, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers import models, ops
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.layer_profile.examples import draw_examples
from fedjax_layers.experiment.layer_profile.metrics import METRICS
from fedjax_layers.experiment.layer_profile.saved import task_and_data
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.models.representations import layer_outputs
from fedjax_layers.types import Batch


@pytest.fixture(scope="module")
def heart():
    data = fl.data.load("heart")
    task = fl.task(models.build_model("mlp", data.num_classes, hidden=(6,)), data)
    stacked = jax.vmap(task.init)(jax.random.split(jax.random.key(0), data.num_clients))
    return task, stacked, data


@pytest.fixture(scope="module")
def profile(heart):
    return fl.layer_profile(*heart, examples=16, samples=3, iterations=3, seed=4)


def test_every_metric_is_its_op_on_the_drawn_examples(heart, profile):
    task, stacked, data = heart
    drawn = draw_examples(data, 16, 4)
    clients, layers = data.num_clients, task.layers
    assert tuple(profile.values) == tuple(METRICS)
    grads, expected = [], []
    for client in range(clients):
        model = jax.tree.map(lambda x, c=client: x[c], stacked)
        batch = Batch(*(jnp.asarray(x[client]) for x in (drawn.inputs, drawn.labels, drawn.mask)))
        loss = lambda p, b=batch: task.loss(p, b, None)  # noqa: E731
        key = jax.random.fold_in(jax.random.key(4), client)
        grads.append(jax.grad(loss)(model))
        trace = ops.hessian_trace(loss, model, layers, key, samples=3)
        expected.append((trace, ops.top_eigenvalue(loss, model, layers, key, iterations=3)))
        np.testing.assert_allclose(
            profile.values["gradient_variance"][client], ops.gradient_variance(grads[-1], layers), rtol=1e-4
        )
    np.testing.assert_allclose(profile.values["hessian_trace"], [t for t, _ in expected], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(profile.values["top_eigenvalue"], [t for _, t in expected], rtol=1e-3, atol=1e-4)
    grads = jax.tree.map(lambda *x: jnp.stack(x), *grads)
    for name in ("signal_to_noise", "update_cosine"):
        np.testing.assert_allclose(profile.values[name], getattr(ops, name)(grads, layers), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(profile.values["weight_divergence"], ops.weight_divergence(stacked, layers), rtol=1e-5)
    seen = [layer_outputs(task, jax.tree.map(lambda x, c=c: x[c], stacked), drawn.probe) for c in range(clients)]
    for name in ("linear_cka", "procrustes"):
        for layer in range(layers.num_layers):
            found = [
                np.mean([getattr(ops, name)(seen[a][layer], seen[b][layer]) for b in range(clients) if b != a])
                for a in range(clients)
            ]
            np.testing.assert_allclose(profile.values[name][:, layer], found, rtol=1e-3, atol=1e-4)


def test_the_examples_are_the_clients_own_and_the_probe_is_of_all(heart):
    *_, data = heart
    drawn = draw_examples(data, 16, 0)
    assert drawn.inputs.shape[:2] == drawn.mask.shape == (data.num_clients, 16)
    for client in range(data.num_clients):
        own = data.inputs[data.rows(client, "train")]
        for row in drawn.inputs[client][drawn.mask[client]]:
            assert (own == row).all(1).any()
    firsts = drawn.inputs[:, 0]
    np.testing.assert_array_equal(drawn.probe[: data.num_clients], firsts)
    assert len(drawn.probe) == 16
    others = draw_examples(data, 16, 1)
    assert (others.inputs != drawn.inputs).any()


def test_one_model_has_gradients_and_curvature_alone(heart):
    task, stacked, data = heart
    model = jax.tree.map(lambda x: x[0], stacked)
    found = fl.layer_profile(task, model, data, ["update_cosine", "gradient_variance"], examples=8)
    assert tuple(found.values) == ("gradient_variance", "update_cosine")
    same = fl.layer_profile(task, model, data, examples=8, samples=1, iterations=1, layers=["Dense_1"])
    assert set(same.values) == {n for n, m in METRICS.items() if m.needs in ("gradients", "curvature")}
    assert same.layers == ("Dense_1",)
    np.testing.assert_allclose(same.values["update_cosine"], found.values["update_cosine"][1:], rtol=1e-5)


def test_a_client_without_training_examples_has_nan_and_does_not_count(heart):
    task, stacked, data = heart
    start, count = data.ranges["train"]
    counts = np.where(np.arange(data.num_clients) == 1, 0, count).astype(np.int32)
    fewer = dataclasses.replace(data, ranges={**data.ranges, "train": (start, counts)})
    metrics = ["gradient_variance", "update_cosine", "signal_to_noise"]
    found = fl.layer_profile(task, stacked, fewer, metrics, examples=8)
    assert np.isnan(found.values["gradient_variance"][1]).all()
    assert np.isfinite(found.values["gradient_variance"][[0, *range(2, data.num_clients)]]).all()
    assert np.isfinite(found.values["update_cosine"]).all()
    assert np.isfinite(found.means()["gradient_variance"]).all()


def test_running_statistics_are_not_differentiated():
    data = fl.data.load("heart")
    functions = models.Functions(
        lambda key: {"a": {"w": jax.random.normal(key, (data.inputs.shape[1], 5)), "seen": jnp.ones(5)}},
        lambda p, x: x @ p["a"]["w"] / p["a"]["seen"],
        order=["a"],
        train=lambda p, x, mask, key: (x @ p["a"]["w"] / p["a"]["seen"], p),
        statistics=("a/seen",),
    )
    task = fl.task(functions, data)
    plain = fl.task(models.Functions(functions.init, functions.apply, ["a"]), data)
    model = task.init(jax.random.key(0))
    one, other = (fl.layer_profile(t, model, data, ["hessian_trace"], examples=8) for t in (task, plain))
    held, moved = one.values["hessian_trace"], other.values["hessian_trace"]
    assert np.isfinite(held).all()
    assert (np.abs(held - moved) > 1e-3 * np.abs(moved)).any()


def test_frames(profile, heart):
    pytest.importorskip("pandas")
    task, _, data = heart
    frame = profile.to_frame()
    assert list(frame["layer"]) == list(task.layers.names)
    np.testing.assert_allclose(frame["linear_cka"], profile.values["linear_cka"].mean(0), rtol=1e-6)
    rows = profile.to_frame("clients")
    assert len(rows) == data.num_clients * task.layers.num_layers
    assert "update_cosine" not in rows
    last = rows[(rows["client"] == data.client_name(2)) & (rows["depth"] == 2)]
    np.testing.assert_allclose(last["procrustes"], profile.values["procrustes"][2, 1])
    with pytest.raises(ValueError, match=r"rows: expected one of clients, layers, got 'layer'; did you mean 'layers'"):
        profile.to_frame("layer")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of a run of FedAvg, of one whose clients keep a layer, and of one without models."""
    paths = {}
    for name, save in (("fedavg", True), ("fedper", True), ("local", False)):
        paths[name] = path = tmp_path_factory.mktemp("runs") / name
        config = RunConfig(
            algorithm=name,
            dataset="heart",
            model="mlp",
            model_options={"hidden": (6,)},
            rounds=1,
            client_width="all",
            save_model=save,
        )
        execute(prepare(config), RunDirectory.create(path, config))
    return paths


def test_a_folder_gives_its_models(folders):
    task, data = task_and_data(folders["fedper"])
    personal = models.load_stacked_params(folders["fedper"] / "personal.safetensors", task.layers)
    for given in (folders["fedper"], folders["fedper"] / "personal.safetensors"):
        found = fl.layer_profile(task, given, data, ["weight_divergence"], examples=4)
        np.testing.assert_allclose(
            found.values["weight_divergence"], ops.weight_divergence(personal, task.layers), rtol=1e-5
        )
    assert found.means()["weight_divergence"][0] == pytest.approx(0, abs=1e-6), "FedPer shares the first layer"
    one = fl.layer_profile(task, folders["fedavg"] / "model.safetensors", data, ["update_cosine"], examples=4)
    assert np.isfinite(one.values["update_cosine"]).all()


def test_what_is_wrong_is_named(heart, folders, tmp_path):
    task, stacked, data = heart
    model = jax.tree.map(lambda x: x[0], stacked)
    for arguments, message in (
        (((task, stacked, data, ["hesian_trace"])), "metrics: expected one of .*; did you mean 'hessian_trace'"),
        ((task, stacked, data, "linear_cka"), "metrics: expected a list of names, got 'linear_cka'"),
        ((task, stacked, data, []), "metrics: expected at least one name, got none"),
        ((task, model, data, ["linear_cka"]), "metrics: expected a model for each client for 'linear_cka', got one"),
        ((task, folders["local"], data), "models: expected a run directory with personal.safetensors or model.saf"),
        ((task, tmp_path / "none", data), "models: expected a run directory .*, found none in .*none"),
        ((task, jax.tree.map(lambda x: x[:2], stacked), data), r"models at 'Dense_0/bias': expected shape \(6,\), or"),
        ((task, {"Dense_0": model["Dense_0"]}, data), "models: expected a leaf at 'Dense_1/bias'"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            fl.layer_profile(*arguments)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="layers: expected one of Dense_0, Dense_1, got 'Dense_2'; did you mean"):
        fl.layer_profile(task, model, data, layers=["Dense_2"])
    with pytest.raises(ValueError, match="examples: expected at least 2, got 1"):
        fl.layer_profile(task, model, data, examples=1)
    with pytest.raises(ValueError, match="samples: expected at least 1, got 0"):
        fl.layer_profile(task, model, data, ["hessian_trace"], samples=0)
