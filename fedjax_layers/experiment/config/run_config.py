"""The config of a run, typed and checked before anything is computed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from fedjax_layers import algorithms, data, models
from fedjax_layers.data.augmentation import AUGMENTATIONS
from fedjax_layers.data.team_formation import TEAM_FORMATIONS
from fedjax_layers.experiment.config.aggregation_fields import AggregationFields, check_aggregation
from fedjax_layers.experiment.config.asked import as_asked
from fedjax_layers.experiment.config.attack_fields import AttackFields
from fedjax_layers.experiment.config.checks import check_together
from fedjax_layers.experiment.config.fault_fields import FaultFields
from fedjax_layers.experiment.config.fields import (
    AVERAGING,
    COHORT,
    CONVOLUTION,
    DRAWN,
    EPOCHS,
    FOCAL,
    ON_HOST,
    SERVER_OPTIMIZER,
    SGD,
    option,
    options,
)
from fedjax_layers.experiment.config.low_rank_fields import LowRankFields
from fedjax_layers.experiment.config.optimizers import CLIENT_OPTIMIZERS, SERVER_OPTIMIZERS
from fedjax_layers.experiment.config.privacy_fields import PrivacyFields
from fedjax_layers.models.own_model import is_own
from fedjax_layers.models.registry import USUAL_MODELS, model_options
from fedjax_layers.options import Mark, Option, check_options, declared, options_of, taken_from_config, unknown_name

algorithms.add_installed_algorithms()


LARGEST_SEED = 2**32 - 1  # without x64, JAX drops higher bits, so that two seeds would be one run


@dataclasses.dataclass(frozen=True)
class RunConfig(FaultFields, AttackFields, AggregationFields, PrivacyFields, LowRankFields):
    """Everything that decides a run's numbers; a second run of the same config repeats them.

    Raises:
      ValueError: a value is out of range or of another type, or a name is unknown (the nearest is suggested).
    """

    algorithm: str = option(algorithms.USUAL, "run", "name in the registry", choices=algorithms.registry)
    algorithm_file: str | None = option(
        None, "algorithm", "Python file with an algorithm of your own, which is run", unset="none"
    )
    algorithm_options: Mapping[str, Any] = options("algorithm", "the algorithm's own parameters")
    dataset: str = option("digits", "data", "name of the data set, see fedjax-layers data list")
    data_options: Mapping[str, Any] = options("data", "parameters of the data set and of the partition")
    partition: str | None = option(
        None, "data", "how examples go to clients", unset="the natural clients, else dirichlet", choices=data.PARTITIONS
    )
    clients: Annotated[int | None, Ge(1)] = option(
        None,
        "data",
        "number of clients, drawn at random if there are more natural ones",
        unset="the natural ones, else 10",
    )
    partition_seed: Annotated[int | None, Ge(0), Le(LARGEST_SEED)] = option(
        None, "data", "seed of the partition", unset="the run's seed", needs=DRAWN
    )
    drift: tuple[str, ...] = option(
        (), "data", "changes of the data: NAME@ROUND, or NAME@ROUND:SHARE of the clients", unset="none",
        metavar="NAME@ROUND:SHARE,...",
    )  # fmt: skip
    team_formation: str | None = option(
        None, "algorithm", "how clients are put into teams", unset="as the partition says, else sequential",
        choices=TEAM_FORMATIONS,
    )  # fmt: skip
    team_options: Mapping[str, Any] = options("algorithm", "the team formation's own parameters")
    team_of: tuple[int, ...] | None = option(
        None, "algorithm", "team number of each client, in the order of the clients", unset="by --team-formation"
    )
    augmentation: str | None = option(
        None, "data", "recipe of random changes of training images", unset="none", choices=AUGMENTATIONS
    )
    model: str | None = option(
        None,
        "model",
        "name of the model, or your own factory as package.module:factory or file.py:factory",
        unset="the data set's usual one",
        choices=models.MODELS,
    )
    model_options: Mapping[str, Any] = options("model", "the model's own parameters")
    init_from: str | None = option(
        None, "model", "start of the models: a run directory, its model file, or GPT-2's folder", unset="drawn"
    )
    conv: str = option(
        "auto", "model", "how convolutions are computed", choices=("auto", "patches", "native"), needs=CONVOLUTION
    )
    loss: str | None = option(
        None,
        "local training",
        "loss of an example",
        unset="softmax for classes, huber for regression, cox for survival",
        choices=("softmax", "focal", "squared", "absolute", "huber", "cox"),
    )
    focal_gamma: Annotated[float, Ge(0)] = option(
        1.0, "local training", "focusing parameter of the focal loss", needs=FOCAL
    )
    focal_alpha: tuple[float, ...] | None = option(
        None, "local training", "class weights of the focal loss, from 0 to 1", unset="all terms weigh 1", needs=FOCAL
    )
    rounds: Annotated[int, Ge(1)] = option(50, "run", "rounds of training and communication")
    seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] = option(
        0, "run", "seed of start, partition, cohorts and local training"
    )
    start_seed: Annotated[int | None, Ge(0), Le(LARGEST_SEED)] = option(
        None, "model", "seed of the random start of all models", unset="the run's seed"
    )
    optimizer: str = option("sgd", "local training", "each client's optimiser", choices=CLIENT_OPTIMIZERS)
    learning_rate: Annotated[float, Gt(0), Mark.TRACED] = option(
        0.05, "local training", "step size of each client's optimiser"
    )
    momentum: Annotated[float, Ge(0), Mark.TRACED] = option(0.9, "local training", "momentum of sgd", needs=SGD)
    weight_decay: Annotated[float, Ge(0), Mark.TRACED] = option(
        0.0, "local training", "weight decay of each client's optimiser"
    )
    learning_rate_decay: Annotated[float, Gt(0), Mark.TRACED] = option(
        1.0, "local training", "factor on the clients' step size per round"
    )
    keep_optimizer: bool = option(False, "local training", "clients keep their optimiser state between rounds")
    batch_size: Annotated[int, Ge(1)] = option(32, "local training", "examples per local step")
    min_batch: Annotated[int | None, Ge(1)] = option(
        None, "local training", "examples below which an epoch's last batch is left out", needs=EPOCHS,
        unset="1; with batch normalisation an eighth of the batch size, or 4 if that is more",
    )  # fmt: skip
    epochs: Annotated[int | float | tuple[float, ...] | None, Gt(0)] = option(
        1, "local training", "local epochs per round, fractions allowed, or one number for each client", needs=EPOCHS
    )
    steps: Annotated[int | tuple[int, ...] | None, Ge(1)] = option(
        None, "local training", "local steps per round in place of epochs, or one number for each client",
        unset="by epochs",
    )  # fmt: skip
    cohort: Annotated[int | None, Ge(1)] = option(None, "server", "clients per round", unset="all")
    sampling: str = option("uniform", "server", "how a cohort is drawn", choices=("uniform", "by_size"), needs=COHORT)
    weighting: str = option(
        "examples", "server", "how clients are weighted", choices=("examples", "uniform"), needs=AVERAGING
    )
    server_optimizer: str | None = option(
        None, "server", "optimiser of the server", unset="plain averaging", choices=SERVER_OPTIMIZERS
    )
    server_learning_rate: Annotated[float, Gt(0), Mark.TRACED] = option(
        1.0, "server", "step size of the server's optimiser", needs=SERVER_OPTIMIZER
    )
    eval_every: Annotated[int, Ge(1)] = option(1, "evaluation", "rounds between evaluations")
    patience: Annotated[int | None, Ge(1)] = option(
        None, "evaluation", "evaluations in a row without a better validation loss before stopping", unset="never"
    )
    scored_model: str = option(
        "auto", "evaluation", "model that is scored: after local training (trained), or as the server left it (served)",
        choices=("auto", "trained", "served"),
    )  # fmt: skip
    scored_round: str = option(
        "best", "evaluation", "each client's best round by validation loss, or its last", choices=("best", "last")
    )
    evaluated_models: str = option(
        "both", "evaluation", "personal models that are evaluated", choices=("both", "trained", "served")
    )
    save_model: bool = option(False, "run", "save the final models as files: the global, the clients' and the teams'")
    client_width: str = option(
        "auto",
        "run",
        "clients that are trained at once: a number, all, or auto, which measures it; it changes speed and memory",
        metavar="N|all|auto",
    )
    on_host: tuple[str, ...] = option(
        (),
        "run",
        "what stays in the host's memory while the device gets each round's part: data, state or both",
        unset="none",
        metavar="data,state",
    )
    store: str | None = option(
        None,
        "run",
        "folder on disk for the state that --on-host keeps, while the run lasts",
        unset="memory",
        needs=ON_HOST,
    )

    def __post_init__(self) -> None:
        file = config_options()["algorithm_file"].fit(self.algorithm_file)
        if file is not None:  # first, since the algorithm may be one of its own
            algorithms.add_algorithm_file(file)
        for name, field_option in config_options().items():
            object.__setattr__(self, name, field_option.fit(getattr(self, name)))
        if self.steps is not None:
            object.__setattr__(self, "epochs", None)
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            own = field.name == "model" and value is not None and is_own(value)
            if choices and value is not None and value not in choices and not own:
                if field.name == "algorithm":
                    algorithms.registry.refuse_combination(value)
                raise unknown_name(field.name, value, choices)
        if self.scored_model == "auto":
            usual = "trained" if self.cohort is None else "served"  # absent clients have no trained model
            object.__setattr__(
                self, "scored_model", usual if self.evaluated_models == "both" else self.evaluated_models
            )
        check_together(self)
        check_aggregation(self)
        factory = options_of(algorithms.registry[self.algorithm])
        if self.server_optimizer is not None and "server_optimizer" not in factory:
            raise ValueError(f"server_optimizer: expected none for {self.algorithm}, got {self.server_optimizer!r}")
        check_options(f"algorithm {self.algorithm!r}", self.algorithm_options, factory)
        self._check_teams()
        self._fit_options("algorithm_options", {"": [factory]})
        self._fit_options("data_options", _data_takers(self.dataset, self.partition))
        self._fit_options("model_options", {"": [model_options(self.model_name)]})

    @property
    def model_name(self) -> str:
        """The name of the model: the given one, or the data set's usual one."""
        return self.model or USUAL_MODELS.get(self.dataset, "mlp")

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
        formation = options_of(TEAM_FORMATIONS[name])
        check_options(f"team formation {name!r}", {**self.team_options, **listed}, formation)
        self._fit_options("team_options", {"": [formation]})

    def _fit_options(self, field: str, takers: Mapping[str, list[Mapping[str, Option]]]) -> None:
        """Convert options to their declared types; unknown names are refused later.

        ``takers`` are keyed by the prefix that an option's name may have.
        """
        known: dict[str, Option] = {}
        for prefix, several in takers.items():
            for own in several:
                known |= {**own} | {f"{prefix}.{name}": one for name, one in own.items()}
        fitted = {}
        for name, value in getattr(self, field).items():
            if name in known and known[name].has(Mark.FIELD):
                raise ValueError(f"{field}: expected {name} in the field {name}, got it as an option")
            fitted[name] = known[name].fit(value, f"option {name}") if name in known else value
        object.__setattr__(self, field, fitted)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunConfig:
        """Make a config from plain values, as ``config.json`` holds them, without those filled in (:func:`as_asked`).

        Raises:
          ValueError: a field is unknown; the nearest is suggested.
        """
        values = as_asked(values)
        known = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise unknown_name("config field", name, known)
        return cls(**values)


@functools.cache
def config_options() -> dict[str, Option]:
    """Return the declarations of the config's fields, by name."""
    fields = dataclasses.fields(RunConfig)
    found = declared(RunConfig, {field.name: field.default for field in fields})
    return {field.name: dataclasses.replace(found[field.name], help=field.metadata["help"]) for field in fields}


def has_teams(algorithm: str) -> bool:
    """Return whether a registered algorithm puts clients into teams."""
    return taken_from_config(algorithms.registry[algorithm], "team_of")


def _data_takers(dataset: str, partition: str | None) -> dict[str, list[Mapping[str, Option]]]:
    """Return the options of data set and partition; if no partition is named, of the one for data without clients."""
    scheme = partition or "dirichlet"
    return {
        "feature_shift": [options_of(shift) for shift in data.FEATURE_SHIFTS.values()],
        "partition": [options_of(data.PARTITIONS[scheme])] if scheme in data.PARTITIONS else [],
        "data": [
            options_of(data.load),
            *([options_of(data.DATASETS[dataset].build)] if dataset in data.DATASETS else []),
        ],
    }
