"""The memory forecast of a config's run, and an error for one that cannot fit, before its data are made."""

from __future__ import annotations

import warnings

import jax

from fedjax_layers.data.outline import outline_clients
from fedjax_layers.data.team_formation import NEEDS_NO_DATA
from fedjax_layers.engine.memory.forecast import Forecast, Place, fitting, forecast
from fedjax_layers.engine.memory.process import free_memory
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup.design import Design, make_design
from fedjax_layers.ops import ClientAxis


def foreseen(config: RunConfig, design: Design, *, loaded: bool, axis: ClientAxis | None = None) -> Forecast:
    """Forecast the memory of a run.

    Args:
      config: the run's config.
      design: the run's parts.
      loaded: whether the data are in memory already.
      axis: the chosen client axis; ``None`` means the config's, and the narrowest where the width is to be measured.
    """
    auto = axis is None and config.client_width == "auto"
    devices = 1 if auto else jax.local_device_count() if axis is None else axis.num_devices
    width = int(config.client_width) if config.client_width.isdecimal() else 1 if auto else None
    evaluated_models = ("trained", "served") if config.evaluated_models == "both" else (config.evaluated_models,)
    with warnings.catch_warnings():  # the same warnings were shown when the design was made
        warnings.simplefilter("ignore")
        algorithm = design.builder(design.hyper).bind(design.setting)
        optimizer = design.builder.make_trainer(design.hyper, design.setting).optimizer
    return forecast(
        design.task,
        [phase.data for phase in design.phases],
        algorithm,
        Place(devices, jax.default_backend() == "cpu"),
        width=width if axis is None else axis.width,
        slots=design.sampling.size,
        batch_size=min(config.batch_size, design.setting.max_examples),
        optimizer=optimizer,
        evaluated_models=evaluated_models,
        loaded=loaded,
        on_host=config.on_host,
        stored=config.store is not None,
    )


def refuse_too_large(found: Forecast) -> None:
    """Raise ``ValueError`` for a forecast that does not fit into the free memory, with advice on what would fit."""
    refusal = fitting(found, free_memory())
    if refusal is not None:
        raise ValueError(refusal)


def outlined(config: RunConfig) -> Forecast | None:
    """Forecast a run with generated data before they are generated; ``None`` where the data must be known.

    Raises:
      ValueError: an option of data, model or algorithm does not fit.
    """
    if config.drift or config.attack or config.team_formation not in (None, *NEEDS_NO_DATA):
        return None  # these depend on the examples
    seed = config.seed if config.partition_seed is None else config.partition_seed
    clients = outline_clients(
        config.dataset, partition=config.partition, clients=config.clients, seed=seed, **config.data_options
    )
    return None if clients is None else foreseen(config, make_design(config, clients), loaded=False)


def refuse_early(config: RunConfig) -> None:
    """Raise ``ValueError`` for a run that cannot fit, if this is known before its data are generated."""
    found = outlined(config)
    if found is not None:
        refuse_too_large(found)
