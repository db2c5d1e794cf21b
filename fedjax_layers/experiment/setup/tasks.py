"""The task of a config on its data: a model that fits the kind of data, and its loss."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from fedjax_layers import data, models
from fedjax_layers.data.augmentation import AUGMENTATIONS
from fedjax_layers.data.changes.backdoor import trigger_of
from fedjax_layers.data.text.encoding import PADDINGS
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup.initial import load_start, model_options_of, start_file
from fedjax_layers.models.kinds import LOSSES, KindName, predicts_classes
from fedjax_layers.models.own_model import build_own, is_own, own_factory
from fedjax_layers.models.registry import (
    BLOCK_MODELS,
    SEQUENCE_MODELS,
    TOKEN_MODELS,
    USUAL_MODELS,
    model_options,
    option_defaults,
)
from fedjax_layers.options import check_options, renamed, unknown_name
from fedjax_layers.types import Task

_OF_EXAMPLES = ("classification", "regression", "survival")  # kinds with one output per example, not per place


class _Kind(NamedTuple):
    """What a data set requires of a model.

    Attributes:
      fitting: names of the models that fit.
      usual: the model that is used where neither config nor registry names one.
      options: model options that follow from the data; a config with other values is refused.
    """

    fitting: tuple[str, ...]
    usual: str
    options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Outline:
    """What a task depends on of the data, hashable; see :class:`fedjax_layers.models.make_task.Examples`."""

    inputs: jax.ShapeDtypeStruct
    labels: jax.ShapeDtypeStruct
    num_classes: int
    task: KindName
    preprocess: data.Preprocess | None
    holds_tokens: bool
    target_units: tuple[float, float]


def make_task(config: RunConfig, clients: data.ClientData) -> Task:
    """Make the task of the config's model and loss on these data; equal arguments give the same object.

    Token models get the size of their vocabulary from the data; sequence models also their length, and whether a place
    may attend to later ones: in taggers and classifiers it may, in language models it may not. A regression learns
    targets that are standardised by the mean and deviation of all clients' training targets; its scores are in the
    targets' units.

    Raises:
      ValueError: the model or the loss is for another kind of data; a model option is unknown, out of range, or
        contradicts the data; or there is an augmentation for data without classes.
    """
    loss = loss_in_force(config, clients)
    kind = _kind(clients)
    name = config.model or USUAL_MODELS.get(clients.name, kind.usual)
    if name in models.MODELS and name not in kind.fitting:
        inputs = "tokens" if clients.holds_tokens else "quantities"
        what = inputs if clients.task in _OF_EXAMPLES else clients.task
        fitting = ", ".join(kind.fitting)
        raise ValueError(
            f"model: expected one of {fitting} for the {what.replace('_', ' ')} of {clients.name}, got {name!r}"
        )
    task = _cached_task(
        name,
        own_factory(name) if is_own(name) else None,
        tuple(sorted(_options(config, clients, name, kind).items())),
        _outline(clients),
        config.conv,
        (loss, config.focal_gamma, config.focal_alpha),
        config.augmentation,
    )
    if config.adapter_settings is not None:
        task = _with_adapters(task, config)
    if config.attack != "backdoor":
        return task
    with renamed({"target": "attack_target"}):
        return task._replace(trigger=trigger_of(clients, config.attack_target))


def options_in_force(config: RunConfig, clients: data.ClientData) -> tuple[str, dict[str, Any]]:
    """Return the model's name and all its options, including defaults, as :func:`make_task` uses them."""
    kind = _kind(clients)
    name = config.model or USUAL_MODELS.get(clients.name, kind.usual)
    return name, option_defaults(name) | _options(config, clients, name, kind)


def loss_in_force(config: RunConfig, clients: data.ClientData) -> str:
    """Return the config's loss, or the default for the kind of data."""
    fitting, kind = LOSSES[clients.task], f"the {clients.task.replace('_', ' ')} of {clients.name}"
    if config.loss is not None and config.loss not in fitting:
        raise ValueError(f"loss: expected {' or '.join(fitting)} for {kind}, got {config.loss}")
    if config.augmentation is not None and "softmax" not in fitting:
        raise ValueError(f"augmentation: expected none for {kind}, got {config.augmentation!r}")
    return config.loss or fitting[0]


def _kind(clients: data.ClientData) -> _Kind:
    if clients.task in _OF_EXAMPLES and not clients.holds_tokens:
        fitting = tuple(name for name in models.MODELS if name not in TOKEN_MODELS)
        return _Kind(fitting, "mlp", {})
    if clients.task in _OF_EXAMPLES:
        return _Kind(TOKEN_MODELS, TOKEN_MODELS[0], {"output": "text", "causal": False})
    causal = clients.task == "language_modelling"
    return _Kind(SEQUENCE_MODELS, SEQUENCE_MODELS[0], {"output": "token", "causal": causal})


def _options(config: RunConfig, clients: data.ClientData, name: str, kind: _Kind) -> dict[str, Any]:
    """Return the config's model options, and those that follow from the data."""
    options = model_options_of(config.init_from) | dict(config.model_options)
    if name in SEQUENCE_MODELS:
        for option, value in kind.options.items():
            if options.setdefault(option, value) != value:
                asked = options[option]
                raise ValueError(f"option {option}: expected {value!r} for {clients.name}, got {asked!r}")
        options.setdefault("length", clients.inputs.shape[1])
        if clients.task == "language_modelling" and clients.class_names[0] not in PADDINGS:
            options.setdefault("padding", None)  # in a user's tokenizer, token 0 is a token like others
    if name in TOKEN_MODELS or (clients.holds_tokens and "num_embeddings" in model_options(name)):
        options["num_embeddings"] = _num_embeddings(clients, options.get("num_embeddings"))
    return options


def _num_embeddings(clients: data.ClientData, asked: int | None) -> int:
    """Return V, which is above every token id of the data; for language, the size of its vocabulary."""
    least = int(clients.inputs.max(initial=0)) + 1
    if clients.task == "language_modelling":
        least = max(least, clients.num_classes)
    if asked is not None and asked < least:
        raise ValueError(f"option num_embeddings: expected at least {least}, the tokens of {clients.name}, got {asked}")
    return asked or least


def _outline(clients: data.ClientData) -> _Outline:
    units = clients.target_units if clients.task == "regression" else (0.0, 1.0)
    inputs, labels = (jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in (clients.inputs, clients.labels))
    return _Outline(inputs, labels, clients.num_classes, clients.task, clients.preprocess, clients.holds_tokens, units)


def _with_adapters(task: Task, config: RunConfig) -> Task:
    """Return the task of the config's adapters; their base is the start of a run without them, or drawn."""
    stamp = None if config.init_from is None else start_file(config.init_from).stat().st_mtime_ns
    with renamed(
        {name: f"low_rank_{name}" for name in ("targets", "train")} | {"rank": "low_rank", "base": "init_from"}
    ):
        return _cached_adapters(task, config.adapter_settings, config.init_from, stamp)


@functools.lru_cache(maxsize=16)
def _cached_adapters(task: Task, settings: Any, base: str | None, stamp: int | None) -> Task:
    del stamp  # it is a part of the key, as the file may have been changed
    rank, alpha, targets, train, seed = settings
    start = None if base is None else load_start(base, task.layers)
    return models.low_rank(task, rank, alpha, targets=targets, train=train, base=start, seed=seed)


@functools.lru_cache(maxsize=64)
def _cached_task(
    name: str,
    factory: Any,
    options: tuple[tuple[str, Any], ...],
    examples: _Outline,
    conv: str,
    loss: tuple[str, float, tuple[float, ...] | None],
    augmentation: str | None,
) -> Task:
    del factory  # it is a part of the key, as the file that a name leads to may have been changed
    kind, gamma, alpha = loss
    model = _build(name, examples, conv, dict(options))
    with renamed({"alpha": "focal_alpha", "gamma": "focal_gamma"}):
        return models.task(
            model,
            examples,
            loss=kind,
            gamma=gamma,
            alpha=alpha,
            augment=None if augmentation is None else AUGMENTATIONS[augmentation],
            blocks=1 if name in BLOCK_MODELS else None,  # stem or embeddings, each block of layers, head
        )


def _build(name: str, examples: _Outline, conv: str, options: dict[str, Any]) -> Any:
    """Build the model of this name, a registered one or a user's own."""
    outputs = examples.num_classes if predicts_classes(examples.task) else 1
    known = model_options(name)
    if is_own(name):
        check_options(f"model {name!r}", options, known)
        return build_own(name, outputs, examples.inputs.shape[1:], options)
    for option in options:
        if name in models.MODELS and option not in known:
            raise unknown_name(f"option of model {name!r}", option, known)
    return models.build_model(name, outputs, **({"conv": conv} if "conv" in known else {}), **options)
