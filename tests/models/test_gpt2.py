"""GPT-2's weights: logits of the reference library, and files that are not as they should be."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.models import as_stored, build_model
from fedjax_layers.models.gpt2 import gpt2_options, load_gpt2
from fedjax_layers.models.params_file import load_params, read_tensors, save_params

GOLDEN = Path(__file__).parent / "gpt2"


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / name, tmp_path)
    return tmp_path


def task_of(options):
    module = build_model("transformer", options["num_embeddings"], **options)
    shape = (options["length"],)
    return fl.task(
        module,
        shape,
        options["num_embeddings"],
        preprocess=as_stored,
        sample_dtype=jnp.int32,
        kind="language_modelling",
    )


def test_logits_are_the_reference_librarys():
    golden = read_tensors(GOLDEN / "golden.safetensors")
    task, params = task_of(gpt2_options(GOLDEN)), load_gpt2(GOLDEN)
    start = task.init(jax.random.key(0))
    assert jax.tree.structure(params) == jax.tree.structure(start)
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), params, start)
    found = jax.jit(task.apply)(params, jnp.asarray(golden["tokens"]), None)
    np.testing.assert_allclose(found, golden["logits"], atol=1e-4)
    assert np.abs(golden["logits"]).max() > 1, "logits that could be told from noise"


def test_a_model_comes_back_from_its_file(tmp_path):
    task = task_of(gpt2_options(GOLDEN))
    params = task.init(jax.random.key(1))
    save_params(tmp_path / "deep" / "model.safetensors", params, task.layers)
    jax.tree.map(
        np.testing.assert_array_equal, load_params(tmp_path / "deep" / "model.safetensors", task.layers), params
    )
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model.safetensors"]


def test_the_first_path_that_differs_is_named(tmp_path):
    options = gpt2_options(GOLDEN)
    task = task_of(options)
    path = tmp_path / "model.safetensors"
    save_params(path, task.init(jax.random.key(1)), task.layers)
    wider, deeper, shallower = (task_of(options | o) for o in ({"hidden": 50}, {"layers": 4}, {"layers": 2}))
    with pytest.raises(ValueError, match=r"expected 'block_0/inner/bias' of shape \(50,\), got \(96,\)$"):
        load_params(path, wider.layers)
    with pytest.raises(ValueError, match=r"expected a tensor 'block_3/attention/key/bias' of shape .* found none$"):
        load_params(path, deeper.layers)
    with pytest.raises(ValueError, match=r"tensors, got 'block_2/attention/key/bias' as well$"):
        load_params(path, shallower.layers)


def test_a_truncated_file_is_refused(folder):
    path = folder / "model.safetensors"
    for end in (4, 100, path.stat().st_size // 2, -1):
        path.write_bytes((GOLDEN / "model.safetensors").read_bytes()[:end])
        with pytest.raises(ValueError, match=r"model.safetensors: expected a whole safetensors file, got \S+"):
            load_gpt2(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "config.json: expected model_type 'gpt2', got 'bert'"),
        ({"activation_function": "relu"}, "config.json: expected activation_function 'gelu_new', got 'relu'"),
        ({"n_head": "two"}, "config.json: expected a whole number n_head, got 'two'"),
        ({"n_layer": 4}, "model.safetensors: expected a tensor 'h.3.ln_1.weight' of shape .* found none"),
        ({"n_layer": 2}, "model.safetensors: expected the tensors of 2 layers, got 'h.2.attn.c_attn.bias' as well"),
        ({"vocab_size": 36}, r"model.safetensors: expected 'wte.weight' of shape \(36, 24\), got \(37, 24\)"),
    ],
)
def test_another_model_is_refused(folder, changes, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ValueError, match=message):
        load_gpt2(folder)


def test_a_configuration_that_is_no_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: expected a complete JSON file, found .*line 1"):
        gpt2_options(folder)
