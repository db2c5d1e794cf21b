"""Reader of GPT-2's published weights in a local folder, for :class:`fedjax_layers.models.Transformer`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.models.params_file import check_tensor, read_tensors
from fedjax_layers.storage import read_given_json
from fedjax_layers.types import Params

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_FIELDS = {
    "num_embeddings": "vocab_size",
    "length": "n_positions",
    "layers": "n_layer",
    "width": "n_embd",
    "heads": "n_head",
}
_FIXED = {"layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}  # as in our transformer
_NOT_WEIGHTS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # causal masks that old files hold


def gpt2_options(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the transformer's options for the weights in a folder from its ``config.json``.

    Args:
      folder: a folder with ``config.json`` and ``model.safetensors``, as published for GPT-2.

    Returns:
      The options of the model ``transformer``, with a tied head and without a padding token.

    Raises:
      ValueError: the configuration is not of a GPT-2, or of one that computes something else.
      FileNotFoundError: there is no configuration.
    """
    path = Path(folder) / CONFIG
    found = read_given_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected an object, got {type(found).__name__}")
    if found.get("model_type", "gpt2") != "gpt2":
        raise ValueError(f"{path}: expected model_type 'gpt2', got {found['model_type']!r}")
    for name, expected in _FIXED.items():
        if found.get(name, expected) != expected:
            raise ValueError(f"{path}: expected {name} {expected!r}, got {found[name]!r}")
    for name in _FIELDS.values():
        if not isinstance(found.get(name), int):
            raise ValueError(f"{path}: expected a whole number {name}, got {found.get(name)!r}")
    hidden = found.get("n_inner") or 4 * found["n_embd"]
    sizes = {ours: found[theirs] for ours, theirs in _FIELDS.items()}
    return sizes | {"hidden": hidden, "tied": True, "padding": None, "causal": True, "output": "token"}


def load_gpt2(folder: str | os.PathLike[str]) -> Params:
    """Read the weights in a folder as parameters of the transformer that :func:`gpt2_options` describes.

    Returns:
      One model, leaves of NumPy arrays.

    Raises:
      ValueError: a file is incomplete, or a tensor is missing, has another shape, or is unknown; it is named.
      FileNotFoundError: a file is missing.
    """
    options = gpt2_options(folder)
    path = Path(folder) / WEIGHTS
    tensors = {name.removeprefix("transformer."): x for name, x in read_tensors(path).items()}
    width, hidden = options["width"], options["hidden"]
    taken = {"lm_head.weight"}  # not read, since it repeats the token embedding

    def take(name: str, *shape: int) -> np.ndarray:
        taken.add(name)
        return check_tensor(tensors, name, shape, path)

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"scale": take(f"{name}.weight", width), "bias": take(f"{name}.bias", width)}

    def dense(name: str, rows: int, columns: int) -> dict[str, np.ndarray]:
        return {"kernel": take(f"{name}.weight", rows, columns), "bias": take(f"{name}.bias", columns)}

    def block(i: int) -> dict[str, Any]:
        return {
            "attention_norm": norm(f"h.{i}.ln_1"),
            "attention": _attention(dense(f"h.{i}.attn.c_attn", width, 3 * width), options["heads"])
            | {"out": _out(dense(f"h.{i}.attn.c_proj", width, width), options["heads"])},
            "dense_norm": norm(f"h.{i}.ln_2"),
            "inner": dense(f"h.{i}.mlp.c_fc", width, hidden),
            "outer": dense(f"h.{i}.mlp.c_proj", hidden, width),
        }

    params = {
        "tokens": {"embedding": take("wte.weight", options["num_embeddings"], width)},
        "positions": {"embedding": take("wpe.weight", options["length"], width)},
        **{f"block_{i}": block(i) for i in range(options["layers"])},
        "head": {"norm": norm("ln_f")},
    }
    more = sorted(name for name in tensors.keys() - taken if not _NOT_WEIGHTS.fullmatch(name))
    if more:
        raise ValueError(f"{path}: expected the tensors of {options['layers']} layers, got {more[0]!r} as well")
    return params


def _attention(joined: dict[str, np.ndarray], heads: int) -> dict[str, dict[str, np.ndarray]]:
    """Split queries, keys and values, which lie side by side in the file, and within each the heads."""
    width = joined["kernel"].shape[0]
    parts = zip(np.split(joined["kernel"], 3, axis=1), np.split(joined["bias"], 3), strict=True)
    shaped = [{"kernel": kernel.reshape(width, heads, -1), "bias": bias.reshape(heads, -1)} for kernel, bias in parts]
    return dict(zip(("query", "key", "value"), shaped, strict=True))


def _out(dense: dict[str, np.ndarray], heads: int) -> dict[str, np.ndarray]:
    width = dense["bias"].shape[0]
    return {"kernel": dense["kernel"].reshape(heads, -1, width), "bias": dense["bias"]}
