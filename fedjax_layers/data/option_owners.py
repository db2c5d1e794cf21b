"""Which of the options of :func:`fedjax_layers.data.load` are the data set's, the partition's, the feature shift's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fedjax_layers.data.feature_shift import FEATURE_SHIFTS
from fedjax_layers.data.partitions import PARTITIONS
from fedjax_layers.data.sources import DATASETS
from fedjax_layers.options import options_of, unknown_name

OWNERS = ("data", "partition", "feature_shift")
"""What may stand before an option's name, as in ``partition.alpha``, where two of them have an option of one name."""


class SortedOptions(NamedTuple):
    """Options without their prefixes, by who takes them."""

    partition: dict[str, Any]
    feature_shift: dict[str, Any]


def data_set_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the data set takes, before it is known how it is split."""
    own = options_of(DATASETS[name].build)
    chosen = {}
    for key, value in options.items():
        owner, _, bare = key.rpartition(".")
        if bare in own and owner in ("", "data"):
            chosen[bare] = value
    return chosen


def sort_options(
    name: str, scheme: str, asked: bool, feature_shift: str | None, options: Mapping[str, Any]
) -> SortedOptions:
    """Those that are the partition's, and the feature shift's.

    Args:
      name: of the data set.
      scheme: of the partition.
      asked: whether the partition was named; else an option is the data set's before it is the partition's.
      feature_shift: the one asked for.
      options: by name, or by owner and name: ``{"partition.alpha": 0.5}``.

    Raises:
      ValueError: nobody takes an option, or several do and no owner is named.
    """
    takers: dict[str, tuple[str, Callable[..., Any]]] = {"data": (f"data set {name!r}", DATASETS[name].build)}
    takers["partition"] = (f"partition {scheme!r}", PARTITIONS[scheme])
    if feature_shift is not None:
        takers["feature_shift"] = (f"feature shift {feature_shift!r}", FEATURE_SHIFTS[feature_shift])
    taken = {owner: set(options_of(taker)) for owner, (_, taker) in takers.items()}
    taken["partition"] -= {"clients"}  # the natural clients come with the data
    found: dict[str, dict[str, Any]] = {owner: {} for owner in OWNERS}
    for key, value in options.items():
        prefix, _, bare = key.rpartition(".")
        own = [owner for owner, names in taken.items() if bare in names and prefix in ("", owner)]
        if not own:
            known = set().union(*taken.values())
            raise unknown_name(f"option of {name} with partition {scheme!r}", key, known)
        if asked and len(own) > 1:
            whose = " and ".join(takers[owner][0] for owner in own)
            keys = " or ".join(f"{owner}.{bare}" for owner in own)
            raise ValueError(f"{bare}: expected {keys}, got one of {whose}")
        found[own[0]][bare] = value
    return SortedOptions(found["partition"], found["feature_shift"])
