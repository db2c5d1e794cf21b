"""From a config and its data to what is learnt: a model that fits the data's kind, and its loss."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fedjax_layers import data, models
from fedjax_layers.data.augmentation import AUGMENTATIONS
from fedjax_layers.data.text import PADDINGS
from fedjax_layers.models.registry import (
    BLOCK_MODELS,
    SEQUENCE_MODELS,
    TOKEN_MODELS,
    USUAL_MODELS,
    model_options,
    option_defaults,
)
from fedjax_layers.names import unknown_name
from fedjax_layers.simulation.config import RunConfig
from fedjax_layers.simulation.initial import model_options_of
from fedjax_layers.types import Task

_KINDS = ("classification", "tagging", "language_modelling")


class _Kind(NamedTuple):
    """What a data set asks of a model.

    Attributes:
      fitting: names of the models that can do it.
      usual: the one that is taken where neither config nor registry names one.
      options: of the model, that follow from the data; a config that says otherwise is refused.
    """

    fitting: tuple[str, ...]
    usual: str
    options: Mapping[str, Any]


def make_task(config: RunConfig, clients: data.ClientData) -> Task:
    """The config's model and loss on these data; equal arguments give the same task object.

    Token models get the size of their vocabulary from the data; sequence models also their length, and whether they
    may look ahead: taggers and classifiers do, language models do not.

    Raises:
      ValueError: the data are of a kind that no model is for; the model is for another kind; or a model option is
        unknown, out of range, or other than what the data need.
    """
    if clients.task not in _KINDS:
        kinds = ", ".join(kind.replace("_", " ") for kind in _KINDS)
        found = f"{clients.name} ({clients.task.replace('_', ' ')})"
        raise ValueError(f"dataset: expected data for {kinds} for run, got {found}")
    kind = _kind(clients)
    name = config.model or USUAL_MODELS.get(clients.name, kind.usual)
    if name in models.MODELS and name not in kind.fitting:
        what = {"classification": "tokens" if holds_tokens(clients) else "quantities"}.get(clients.task, clients.task)
        fitting = ", ".join(kind.fitting)
        raise ValueError(
            f"model: expected one of {fitting} for the {what.replace('_', ' ')} of {clients.name}, got {name!r}"
        )
    tokens = holds_tokens(clients)
    return _cached_task(
        name,
        tuple(sorted(_options(config, clients, name, kind).items())),
        clients.inputs.shape[1:],
        clients.num_classes,
        models.as_stored if tokens else clients.preprocess,
        clients.inputs.dtype if tokens else None,
        config.conv,
        (config.loss, config.focal_gamma, config.focal_alpha),
        config.augmentation,
        clients.task == "language_modelling",
    )


def options_in_force(config: RunConfig, clients: data.ClientData) -> tuple[str, dict[str, Any]]:
    """The model's name and all of its options, its own defaults among them, as :func:`make_task` uses them."""
    kind = _kind(clients)
    name = config.model or USUAL_MODELS.get(clients.name, kind.usual)
    return name, option_defaults(name) | _options(config, clients, name, kind)


def holds_tokens(clients: data.ClientData) -> bool:
    """Whether the inputs are token ids, which no preprocessing turns into quantities."""
    return clients.preprocess is None and bool(np.issubdtype(clients.inputs.dtype, np.integer))


def _kind(clients: data.ClientData) -> _Kind:
    if clients.task == "classification" and not holds_tokens(clients):
        fitting = tuple(name for name in models.MODELS if name not in TOKEN_MODELS)
        return _Kind(fitting, "mlp", {})
    if clients.task == "classification":
        return _Kind(TOKEN_MODELS, TOKEN_MODELS[0], {"output": "text", "causal": False})
    causal = clients.task == "language_modelling"
    return _Kind(SEQUENCE_MODELS, SEQUENCE_MODELS[0], {"output": "token", "causal": causal})


def _options(config: RunConfig, clients: data.ClientData, name: str, kind: _Kind) -> dict[str, Any]:
    """The config's model options, and those that follow from the data."""
    options = model_options_of(config.init_from) | dict(config.model_options)
    if name in SEQUENCE_MODELS:
        for option, value in kind.options.items():
            if options.setdefault(option, value) != value:
                asked = options[option]
                raise ValueError(f"option {option}: expected {value!r} for {clients.name}, got {asked!r}")
        options.setdefault("length", clients.inputs.shape[1])
        if clients.task == "language_modelling" and clients.class_names[0] not in PADDINGS:
            options.setdefault("padding", None)  # a tokenizer of its own, of which number 0 is a token like others
    if name in TOKEN_MODELS:
        options["num_embeddings"] = _num_embeddings(clients, options.get("num_embeddings"))
    return options


def _num_embeddings(clients: data.ClientData, asked: int | None) -> int:
    """V, of which every token id of the data is below; of language, its vocabulary."""
    least = int(clients.inputs.max(initial=0)) + 1
    if clients.task == "language_modelling":
        least = max(least, clients.num_classes)
    if asked is not None and asked < least:
        raise ValueError(f"option num_embeddings: expected at least {least}, the tokens of {clients.name}, got {asked}")
    return asked or least


@functools.lru_cache(maxsize=64)
def _cached_task(
    name: str,
    options: tuple[tuple[str, Any], ...],
    shape: tuple[int, ...],
    num_classes: int,
    preprocess: Any,
    sample_dtype: Any,
    conv: str,
    loss: tuple[str, float, tuple[float, ...] | None],
    augmentation: str | None,
    language: bool,
) -> Task:
    known = model_options(name)
    for option in dict(options):
        if name in models.MODELS and option not in known:
            raise unknown_name(f"option of model {name!r}", option, known)
    module = models.build_model(name, num_classes, **({"conv": conv} if "conv" in known else {}), **dict(options))
    kind, gamma, alpha = loss
    focal: dict[str, Any] = {"loss": kind} if kind == "softmax" else {"loss": kind, "gamma": gamma, "alpha": alpha}
    augment = None if augmentation is None else AUGMENTATIONS[augmentation]
    stored: dict[str, Any] = {} if sample_dtype is None else {"sample_dtype": sample_dtype}
    if name in BLOCK_MODELS:
        stored["blocks"] = 1  # modules of the top: stem or embeddings, each block, head
    return models.classification_task(
        module, shape, num_classes, preprocess=preprocess, augment=augment, language=language, **stored, **focal
    )
