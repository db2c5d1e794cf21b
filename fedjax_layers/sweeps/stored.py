"""The request of a sweep, as its folder holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.config_hash import refuse_changed_config
from fedjax_layers.storage import DAMAGE, StorageError
from fedjax_layers.sweeps.configs import SweptRun, counts_of
from fedjax_layers.sweeps.request import Shard, Stopping
from fedjax_layers.sweeps.results import SweepFolder


class StoredRequest(NamedTuple):
    """What a sweep was asked for.

    Attributes:
      runs: all runs, those of other shards too.
      stopping: which runs end early.
      run_width: how many runs each device computes at once, as the flag has it.
      shard: the part of the runs that belongs to the folder.
      content: the content of ``config.json``.
    """

    runs: list[SweptRun]
    stopping: Stopping
    run_width: str
    shard: Shard
    content: Mapping[str, Any]

    @property
    def own(self) -> list[SweptRun]:
        """The runs of this folder."""
        return self.shard.own(self.runs)

    @property
    def width(self) -> int | None:
        """How many runs each device computes at once; ``None`` measures."""
        return None if self.run_width == "auto" else int(self.run_width)


def stored_request(folder: SweepFolder) -> StoredRequest:
    """Read the request of a sweep.

    Raises:
      StorageError: the file is damaged, was changed, or was written by another version.
    """
    content = folder.read("config")
    refuse_changed_config(folder.path, content, folder.manifest)
    try:
        listed = [content["runs"][str(number)] for number in range(content["size"])]
        names = {name for one in listed for name in one["setting"]}
        runs = []
        for number, one in enumerate(listed):
            config = RunConfig.from_mapping(one["config"])
            counts = counts_of(names, config.algorithm)
            runs.append(SweptRun(number, dict(one["setting"]), one["seed"], config, counts))
        rule = content["options"]["stopping"]
        stopping = Stopping(tuple(rule["rungs"]), rule["keep"], rule["diverged"])
        return StoredRequest(runs, stopping, content["options"]["width"], Shard(*content["shard"]), content)
    except DAMAGE as error:
        told = f"expected the config of a sweep of this version, got: {error}"
        raise StorageError(f"{folder.path / 'config.json'}: {told}") from error
