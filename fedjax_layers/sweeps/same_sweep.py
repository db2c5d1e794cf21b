"""What has to be the same where a sweep is continued: the data of each group of runs, and how JAX computes."""

from __future__ import annotations

from fedjax_layers.data import ClientData
from fedjax_layers.experiment.records.config_hash import HASHES, config_hash
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.experiment.records.same_run import other_inputs, warn_of_environment
from fedjax_layers.storage import StorageError
from fedjax_layers.sweeps.results import SweepFolder


def tell_other_environment(folder: SweepFolder) -> None:
    """Warn of other releases or devices than those of the first start, and record those where this is the first."""
    if folder.manifest:
        warn_of_environment(folder.path, folder.manifest)
    else:
        hashes = [config_hash(folder.read("config"))]
        folder.write("manifest", {**environment(), HASHES: hashes, "data": {}})


def refuse_other_data(folder: SweepFolder, first: int, data: ClientData) -> None:
    """Compare the data of a group of runs with those of an earlier start, and record them where there was none.

    Args:
      folder: of the sweep.
      first: number of the group's first run, which names the group.
      data: the clients' data of the group.

    Raises:
      StorageError: other data, another partition, or other settings of JAX's numbers; the first that differs is named.
    """
    manifest, group = folder.manifest, str(first)
    now = {"partition_hash": data.partition_hash, "content_hash": data.content_hash}
    known = manifest["data"]
    for told in other_inputs(manifest | known.get(group, now), data):
        raise StorageError(f"{folder.path}: cannot resume run {first}, {told}")
    if group not in known:
        folder.write("manifest", manifest | {"data": known | {group: now}})
