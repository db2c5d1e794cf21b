"""The data of configs, loaded once for all runs that use them at the same time."""

from __future__ import annotations

import json
import weakref

from fedjax_layers import data
from fedjax_layers.engine.announce import Say, say_nothing
from fedjax_layers.experiment.config.run_config import RunConfig


def load_clients(config: RunConfig, data_dir: str | None = None) -> data.ClientData:
    """Load the config's data, partitioned and split."""
    return data.load(
        config.dataset,
        partition=config.partition,
        clients=config.clients,
        seed=_seed(config),
        data_dir=data_dir,
        **config.data_options,
    )


class SharedData:
    """A loader of configs' data, which runs of the same data share, and which drops data that no run uses.

    The last data are kept until others are loaded, so that two sets are in memory only where runs need both.

    Args:
      data_dir: folder of the data files.
      say: called with what is loaded.
    """

    def __init__(self, data_dir: str | None, say: Say = say_nothing) -> None:
        self._data_dir, self._say = data_dir, say
        self._held: weakref.WeakValueDictionary[str, data.ClientData] = weakref.WeakValueDictionary()
        self._last: data.ClientData | None = None

    def of(self, config: RunConfig) -> data.ClientData:
        """Return the config's data, loaded if need be."""
        key = loaded_key(config)
        found = self._held.get(key)
        if found is None:
            self._last = None
            self._say(f"loading {config.dataset}, seed {_seed(config)}")
            found = self._held[key] = load_clients(config, self._data_dir)
        self._last = found
        return found


def loaded_key(config: RunConfig) -> str:
    """Equal for configs that load the same data."""
    parts = (config.dataset, config.partition, config.clients, _seed(config), dict(config.data_options))
    return json.dumps(parts, sort_keys=True, default=str)


def _seed(config: RunConfig) -> int:
    return config.seed if config.partition_seed is None else config.partition_seed
