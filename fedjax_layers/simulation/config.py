"""The complete description of a run, typed and checked before anything is computed."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any

from fedjax_layers import algorithms, data, models
from fedjax_layers.data.augmentation import AUGMENTATIONS
from fedjax_layers.data.corruption import CORRUPTIONS
from fedjax_layers.data.team_formation import TEAM_FORMATIONS
from fedjax_layers.models.registry import USUAL_MODELS
from fedjax_layers.names import check_options, options_of, unknown_name
from fedjax_layers.ops.poison import POISONS
from fedjax_layers.simulation.conform import conform
from fedjax_layers.simulation.optimizers import CLIENT_OPTIMIZERS, SERVER_OPTIMIZERS

_CHOICES: dict[str, tuple[Any, ...]] = {
    "optimizer": CLIENT_OPTIMIZERS,
    "server_optimizer": (None, *SERVER_OPTIMIZERS),
    "sampling": ("uniform", "by_size"),
    "weighting": ("examples", "uniform"),
    "loss": ("softmax", "focal"),
    "moment": ("trained", "served"),
    "selection": ("best", "last"),
    "moments": ("both", "trained", "served"),
    "conv": ("auto", "patches", "native"),
    "augmentation": (None, *AUGMENTATIONS),
    "team_formation": (None, *TEAM_FORMATIONS),
    "attack": (None, *CORRUPTIONS, *POISONS),
}
_AT_LEAST_ONE = ("rounds", "batch_size", "epochs", "steps", "clients", "cohort", "eval_every", "patience")
_POSITIVE = ("learning_rate", "server_learning_rate", "learning_rate_decay")
_NOT_NEGATIVE = ("weight_decay", "momentum", "focal_gamma", "attack_strength")
_SEEDS = ("seed", "partition_seed", "start_seed")
_LARGEST_SEED = 2**32 - 1  # JAX drops higher bits without x64: two seeds would be one run
_LEAST = {
    "mu": 0, "threshold": 0, "repeat_every": 0, "finish_epochs": 1,
    "personal_layers": 0, "head_layers": 0, "fixed_cut": 0,
    "lam": 0, "inner_learning_rate": 0, "adaptation_rate": 0, "delta": 0, "step_size": 0, "beta": 0,
    "lambda_decay": 0, "gamma_decay": 0, "beta_decay": 0, "amplified_rounds": 0,
    "hyper_learning_rate": 0, "logits_learning_rate": 0, "fresh_rounds": 0,
    "hidden": 1, "channels": 1, "kernel_size": 1, "dropout": 0, "padding": 0,
}  # fmt: skip


def _option(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


def _options(text: str) -> Any:
    return dataclasses.field(default_factory=dict, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's numbers; running it again repeats the run.

    Raises:
      ValueError: a value out of range or of another type, or an unknown name (the nearest is suggested).
    """

    algorithm: str = _option("player_fl", "name in the registry")
    algorithm_options: Mapping[str, Any] = _options("the algorithm's own parameters")
    dataset: str = _option("digits", "name of the data set")
    data_options: Mapping[str, Any] = _options("parameters of the data set and of the partition")
    partition: str | None = _option(None, "how examples go to clients; natural clients, else dirichlet")
    clients: int | None = _option(None, "number of clients; the natural ones, else 10")
    partition_seed: int | None = _option(None, "seed of the partition; the run's seed")
    drift: tuple[str, ...] = _option((), "changes of the data: name@round or name@round:share of the clients")
    team_formation: str | None = _option(None, "who is in whose team; as the partition has it, else sequential")
    team_options: Mapping[str, Any] = _options("the team formation's own parameters")
    team_of: tuple[int, ...] | None = _option(None, "each client's team, in the order of the clients; none")
    augmentation: str | None = _option(None, "random changes of training images: a recipe's name; none")
    attack: str | None = _option(None, "what bad clients do: corrupt their data or poison their updates; none")
    bad_clients: float = _option(0.2, "share of the clients that are bad, where there is an attack")
    attack_strength: float = _option(1.0, "rate of corruption, or strength of poison")
    attack_blocks: tuple[str, ...] | None = _option(None, "blocks of the model that are poisoned; all")
    model: str | None = _option(None, "name of the model; the data set's usual one")
    model_options: Mapping[str, Any] = _options("the model's own parameters")
    init_from: str | None = _option(
        None, "start of the models: a run directory, its model file, or GPT-2's folder; drawn"
    )
    conv: str = _option("auto", "convolution: auto, patches or native")
    loss: str = _option("softmax", "softmax or focal")
    focal_gamma: float = _option(1.0, "focusing parameter of the focal loss")
    focal_alpha: tuple[float, ...] | None = _option(None, "class weights of the focal loss; all 0.5")
    rounds: int = _option(50, "rounds")
    seed: int = _option(0, "seed of start, partition, cohorts and local training")
    start_seed: int | None = _option(None, "seed of the random start of all models; the run's seed")
    optimizer: str = _option("sgd", "each client's optimiser")
    learning_rate: float = _option(0.05, "its step size")
    momentum: float = _option(0.9, "momentum of sgd")
    weight_decay: float = _option(0.0, "weight decay")
    learning_rate_decay: float = _option(1.0, "factor on the step size per round")
    keep_optimizer: bool = _option(False, "clients keep their optimiser state between rounds")
    batch_size: int = _option(32, "examples per local step")
    epochs: int | None = _option(1, "local epochs per round")
    steps: int | None = _option(None, "local steps per round, instead of epochs")
    cohort: int | None = _option(None, "clients per round; all")
    sampling: str = _option("uniform", "how a cohort is drawn: uniform or by_size")
    weighting: str = _option("examples", "aggregation weights: examples or uniform")
    server_optimizer: str | None = _option(None, "optimiser of the server; plain averaging")
    server_learning_rate: float = _option(1.0, "its step size")
    eval_every: int = _option(1, "rounds between evaluations")
    patience: int | None = _option(None, "evaluations without a better validation loss before stopping; never")
    moment: str = _option("trained", "which personal model the summary scores: trained or served")
    selection: str = _option("best", "each client's best round by validation loss, or its last")
    moments: str = _option("both", "which personal models are evaluated: both, trained or served")
    save_model: bool = _option(False, "keep the last global model as a file that other runs can start from")
    client_width: str = _option("auto", "clients vectorised at once: auto, all or a number")

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, conform(field.name, getattr(self, field.name), hints[field.name]))
        if self.steps is not None:
            object.__setattr__(self, "epochs", None)
        if self.algorithm not in algorithms.registry:
            raise unknown_name("algorithm", self.algorithm, algorithms.registry)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown_name(name, getattr(self, name), [str(c) for c in choices if c is not None])
        if self.moments not in ("both", self.moment):
            raise ValueError(f"moments: expected both or the scored {self.moment!r}, got {self.moments!r}")
        self._check_numbers()
        self._check_algorithm()
        self._check_teams()
        self._conform_options("algorithm_options", [algorithms.registry[self.algorithm]])
        self._conform_options("data_options", _data_factories(self.dataset, self.partition))
        model = self.model or USUAL_MODELS.get(self.dataset, "mlp")
        self._conform_options("model_options", [models.MODELS[model]] if model in models.MODELS else [])

    def _check_algorithm(self) -> None:
        factory = algorithms.registry[self.algorithm]
        check_options(f"algorithm {self.algorithm!r}", self.algorithm_options, factory)
        if "server_optimizer" in self.algorithm_options:
            raise ValueError("algorithm_options: expected the server's optimiser in the field server_optimizer")
        if "team_of" in self.algorithm_options:
            raise ValueError("algorithm_options: expected the clients' teams in the field team_of")
        if self.server_optimizer is not None and "server_optimizer" not in options_of(factory):
            raise ValueError(f"server_optimizer: expected none for {self.algorithm}, got {self.server_optimizer!r}")

    def _check_teams(self) -> None:
        for name in ("team_formation", "team_of", "team_options"):
            value = getattr(self, name)
            if value not in (None, {}) and not has_teams(self.algorithm):
                raise ValueError(f"{name}: expected none for {self.algorithm}, which has no teams, got {value!r}")
        listed = {} if self.team_of is None else {"team_of": self.team_of}
        name = self.team_formation or ("given" if listed else "")
        if not name:
            if self.team_options:
                raise ValueError(f"team_options: expected none without a team_formation, got {self.team_options!r}")
            return
        if listed and name != "given":
            raise ValueError(f"team_of: expected none with team_formation {name!r}, got {self.team_of}")
        if "team_of" in self.team_options:
            raise ValueError("team_options: expected the clients' teams in the field team_of")
        formation = TEAM_FORMATIONS[name]
        check_options(f"team formation {name!r}", {**self.team_options, **listed}, formation)
        self._conform_options("team_options", [formation])

    def _conform_options(self, field: str, factories: list[Callable[..., Any]]) -> None:
        """Options as the annotations of those who take them have it; names they do not take are refused later."""
        hints: dict[str, Any] = {}
        for factory in factories:
            hints |= typing.get_type_hints(factory.func if isinstance(factory, functools.partial) else factory)
        fitted = {}
        for name, value in getattr(self, field).items():
            one = fitted[name] = conform(f"option {name}", value, hints.get(name, Any))
            numbers = [x for x in (one if isinstance(one, tuple) else (one,)) if isinstance(x, int | float)]
            if not all(math.isfinite(x) for x in numbers):
                raise ValueError(f"option {name}: expected a finite number, got {value}")
            if min(numbers, default=math.inf) < _LEAST.get(name, -math.inf):
                raise ValueError(f"option {name}: expected at least {_LEAST[name]}, got {value}")
        object.__setattr__(self, field, fitted)

    def _check_numbers(self) -> None:
        if self.start_seed is not None and self.init_from is not None:
            raise ValueError(f"start_seed: expected none with init_from, got {self.start_seed}")
        for name in _AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        for name in _POSITIVE + _NOT_NEGATIVE:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and name in _POSITIVE):
                expected = "a positive number" if name in _POSITIVE else "a number of at least 0"
                raise ValueError(f"{name}: expected {expected}, got {value}")
        if not 0 <= self.bad_clients <= 1:
            raise ValueError(f"bad_clients: expected a share of 0 to 1, got {self.bad_clients}")
        for name in _SEEDS:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _LARGEST_SEED:
                raise ValueError(f"{name}: expected 0 to {_LARGEST_SEED}, got {value}")
        if self.client_width not in ("auto", "all") and (
            not self.client_width.isdecimal() or int(self.client_width) < 1
        ):
            raise ValueError(f"client_width: expected auto, all or a number of at least 1, got {self.client_width!r}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunConfig:
        """A config from plain values, as ``config.json`` holds them.

        Raises:
          ValueError: an unknown field; the nearest is suggested.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise unknown_name("config field", name, known)
        return cls(**values)


def has_teams(algorithm: str) -> bool:
    """Whether an algorithm of the registry puts clients into teams."""
    return "team_of" in options_of(algorithms.registry[algorithm])


def _data_factories(dataset: str, partition: str | None) -> list[Callable[..., Any]]:
    """Whoever may take the data's options; without a named partition, the one that data without clients get."""
    loaders = [data.DATASETS[dataset].build] if dataset in data.DATASETS else []
    scheme = partition or "dirichlet"
    partitions = [data.PARTITIONS[scheme]] if scheme in data.PARTITIONS else []
    return [data.load, *data.FEATURE_SHIFTS.values(), *partitions, *loaders]
