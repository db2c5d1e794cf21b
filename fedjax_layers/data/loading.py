"""``load``, which loads, partitions and splits a data set in one call."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.feature_shift import FEATURE_SHIFTS
from fedjax_layers.data.federated.chosen import NaturalChoice, withheld_rows
from fedjax_layers.data.federated.client_data import ClientData
from fedjax_layers.data.federated.federate import federate
from fedjax_layers.data.federated.owners import OfficialTest, owners, place_examples, teams_of
from fedjax_layers.data.federated.partition_file import apply_partition
from fedjax_layers.data.partitions import PARTITIONS
from fedjax_layers.data.sources import DATASETS, load_dataset
from fedjax_layers.data.sources.own.detect import resolve
from fedjax_layers.data.sources.own.names import option_names
from fedjax_layers.options import Mark, defaults_of, options_of, unknown_name

_BESIDE_A_FILE = ("name", "seed", "data_dir", "partition_file", "options")  # arguments allowed beside a partition file
_OF_SPLITS = ("test_fraction", "val_fraction", "stratified", "in_order", "unseen")  # arguments passed to ``federate``
_DESCRIBED = ("smallest_client", "duplicates", "reserve", "reserved", "feature_shift")  # recorded with the data


def load(
    name: str,
    *,
    partition: Annotated[str | None, Mark.FIELD] = None,
    clients: Annotated[int | None, Mark.FIELD] = None,
    natural_clients: tuple[str, ...] = (),
    smallest_client: int = 0,
    seed: Annotated[int, Mark.FIELD] = 0,
    data_dir: Annotated[str | os.PathLike[str] | None, Mark.FIELD] = None,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    stratified: bool = True,
    in_order: bool = False,
    split_seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 42,
    global_test: float | str | None = None,
    official_test: OfficialTest = "auto",
    unseen: int | tuple[int, ...] = 0,
    duplicates: Literal["keep", "drop"] = "keep",
    reserve: float = 0.0,
    reserved: bool = False,
    feature_shift: str | None = None,
    partition_file: str | os.PathLike[str] | None = None,
    **options: Any,
) -> ClientData:
    """Load, partition and split a data set.

    Args:
      name: a key of ``DATASETS``, or ``"own"`` for the reader that fits the files at ``path`` or that ``format`` names.
      partition: a key of ``PARTITIONS``; ``None`` is ``"natural"`` where the data have natural clients, else
        ``"dirichlet"`` (alpha 0.5).
      clients: C; ``None`` is 10, or the number of natural clients. Fewer than there are of these, with partition
        ``"natural"``, are so many whole ones, drawn by ``seed`` and kept in the data's order. A generated data set
        makes that many.
      natural_clients: names of the natural clients to take, in any order; empty takes all of them.
      smallest_client: natural clients with fewer examples than this are left out.
      seed: of the partition, of the draw of natural clients, and of a generated data set.
      data_dir: folder of the data files; see :func:`resolve_data_dir`.
      test_fraction: share of a client's examples that are test.
      val_fraction: share of the remaining examples, after the test split, that is validation.
      stratified: give each of a client's splits the same shares of the classes.
      in_order: take a client's last examples for testing and its first for training, as a series in time needs whose
        windows overlap.
      split_seed: seed of the split within each client, and of the draw of the global test set.
      global_test: a test set that belongs to no client: a share of all examples, or official, the test part that the
        data come with. ``"official"`` needs the data set loaded with ``split="all"``. A natural client that it leaves
        without examples, as where the official part is one of other people, is no client.
      official_test: what becomes of the test part that the data come with, unless it is the global test set.
        ``"apart"``: nobody trains on it. An example of a natural client that trains is in that client's test split, and
        validation is cut from its other examples; all others are the global test set. A client without test examples of
        its own gets the usual share. ``"joined"``: its examples are like all others. ``"auto"`` is ``"apart"`` for a
        user's own data, and for other data whose natural clients have examples of both parts; else ``"joined"``.
      unseen: clients that never train: how many to draw, or their numbers.
      duplicates: keep all copies of an example, or drop all but the first. A dropped one belongs to no client.
      reserve: share of the natural clients (of the examples, where there are no natural clients) that is set aside for
        central training before the federated run. No client owns it; see
        :func:`~fedjax_layers.data.federated.chosen.reserved_rows`.
      reserved: load the share that is set aside (see ``reserve``) instead of the rest.
      feature_shift: name of a change of the inputs that differs from client to client. A key of ``FEATURE_SHIFTS``.
      partition_file: a file that says which client owns which example, in place of the partition and the split.
        :func:`save_partition` writes it, as does ``fedjax-layers data show --save``. A feature shift is made
        again as the file says.
      **options: further options of the data set (``limit``), of the partition (``alpha``) and of the feature shift,
        told apart by name, or by owner and name where two have it: ``{"partition.alpha": 0.5, "data.alpha": 1}``.

    Returns:
      The federated data, on the host.

    Raises:
      ValueError: an unknown name or option (the nearest is suggested), one out of range, or one that two of data set,
        partition and feature shift take, without its owner.
      FileNotFoundError: data files are missing.
    """
    choices = {argument: value for argument, value in locals().items() if argument not in _BESIDE_A_FILE}
    name, options = _named(name, options, partition, feature_shift)
    chosen = data_set_options(name, options, partition, clients, seed)
    dataset = load_dataset(name, data_dir, **chosen)
    scheme = partition or ("dirichlet" if dataset.clients is None else "natural")
    params, shift_params = _split_options(name, scheme, partition is not None, feature_shift, options)
    if partition_file is not None:
        made = {"clients": None} if "clients" in chosen else {}  # the set was generated for this number of clients
        return _from_file(dataset, partition_file, chosen, choices | params | made)
    places = place_examples(
        dataset,
        scheme=scheme,
        dropped=withheld_rows(dataset, reserve, reserved, split_seed),
        duplicates=duplicates,
        global_test=global_test,
        official_test=official_test,
        own_data=DATASETS[name].own,
        choice=NaturalChoice(option_names(natural_clients), smallest_client, clients, seed),
        seed=split_seed,
    )
    free = np.flatnonzero(places.free)
    client_of = np.full(len(dataset), -1, np.int32)
    client_of[free], client_names = owners(dataset, free, scheme, clients, seed, params)
    num_clients = len(client_names) or int(client_of.max()) + 1
    params = defaults_of(PARTITIONS[scheme]) | params
    described = {"options": chosen, "scheme": scheme, "params": params, "seed": seed}
    described |= {"natural_clients": list(option_names(natural_clients)), "feature_shift_params": shift_params}
    return federate(
        _shifted(dataset, feature_shift, client_of, num_clients, seed, shift_params),
        client_of,
        **{argument: choices[argument] for argument in _OF_SPLITS},
        seed=split_seed,
        num_clients=num_clients,
        client_names=client_names,
        global_test=places.global_test,
        own_test=places.own_test,
        teams=teams_of(scheme, params, num_clients, dataset.clients, free),
        reuse=True,
        partition=described | {argument: choices[argument] for argument in _DESCRIBED},
    )


def _shifted(
    dataset: Dataset, name: str | None, client_of: np.ndarray, num_clients: int, seed: int, params: dict[str, Any]
) -> Dataset:
    if name is None:
        return dataset
    inputs = FEATURE_SHIFTS[name](dataset.inputs, client_of, num_clients, seed, **params)
    return dataclasses.replace(dataset, inputs=inputs)


def _named(
    name: str, options: dict[str, Any], partition: str | None, feature_shift: str | None
) -> tuple[str, dict[str, Any]]:
    """Return the data set's name and options, with the reader in place of ``own``, after a check of all names."""
    name, options = resolve(name, options)
    registries: dict[str, tuple[str | None, Mapping[str, Any]]] = {
        "data set": (name, DATASETS),
        "partition": (partition, PARTITIONS),
        "feature_shift": (feature_shift, FEATURE_SHIFTS),
    }
    for argument, (value, registry) in registries.items():
        if value is not None and value not in registry:
            raise unknown_name(argument, value, registry)
    return name, options


def data_set_options(
    name: str, options: Mapping[str, Any], partition: str | None, clients: int | None, seed: int
) -> dict[str, Any]:
    """Select the data set's options of :func:`load`; a generated set also takes clients and seed."""
    own = options_of(DATASETS[name].build)
    chosen = _taken("data", own, options)
    if "seed" in own:
        chosen["seed"] = seed
    if "clients" in own and clients is not None and partition in (None, "natural"):
        chosen["clients"] = clients
    return chosen


def _taken(owner: str, own: Collection[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Select the options with these names, with or without the owner's prefix, by their bare names."""
    split = {key: key.rpartition(".") for key in options}
    return {bare: options[key] for key, (prefix, _, bare) in split.items() if bare in own and prefix in ("", owner)}


def _split_options(
    name: str, scheme: str, asked: bool, feature_shift: str | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split options of :func:`load` into those of the partition and those of the feature shift.

    Args:
      name: name of the data set.
      scheme: name of the partition.
      asked: whether the partition was named; if not, an option of both belongs to the data set.
      feature_shift: name of the feature shift, or ``None``.
      options: options by name, or by owner and name: ``{"partition.alpha": 0.5}``.

    Raises:
      ValueError: no owner has an option, or several have it and none is named.
    """
    takers: dict[str, tuple[str, Callable[..., Any]]] = {"data": (f"data set {name!r}", DATASETS[name].build)}
    takers["partition"] = (f"partition {scheme!r}", PARTITIONS[scheme])
    if feature_shift is not None:
        takers["feature_shift"] = (f"feature shift {feature_shift!r}", FEATURE_SHIFTS[feature_shift])
    names = {owner: set(options_of(taker)) for owner, (_, taker) in takers.items()}
    names["partition"] -= {"clients"}  # the data set provides the natural clients
    found: dict[str, dict[str, Any]] = {"data": {}, "partition": {}, "feature_shift": {}}
    for key, value in options.items():
        own = [owner for owner in takers if _taken(owner, names[owner], {key: value})]
        if not own:
            raise unknown_name(f"option of {name} with partition {scheme!r}", key, set().union(*names.values()))
        bare = key.rpartition(".")[2]
        if asked and len(own) > 1:
            whose = " and ".join(takers[owner][0] for owner in own)
            keys = " or ".join(f"{owner}.{bare}" for owner in own)
            raise ValueError(f"{bare}: expected {keys}, got one of {whose}")
        found[own[0]][bare] = value
    return found["partition"], found["feature_shift"]


def _from_file(
    dataset: Dataset, path: str | os.PathLike[str], chosen: dict[str, Any], choices: dict[str, Any]
) -> ClientData:
    """Apply a partition file, which decides all of ``choices``; generated data must be those it was written for."""
    usual = defaults_of(load)
    for argument, value in choices.items():
        if argument not in usual or value != usual[argument]:
            expected = f"no other choice of clients or splits beside {path}"
            raise ValueError(f"partition_file: expected {expected}, got {argument}={value!r}")
    data = apply_partition(dataset, path)
    recorded = data.partition.get("options")
    if "seed" in chosen and isinstance(recorded, dict):  # generated data: other examples would have the same ids
        made = defaults_of(DATASETS[dataset.name].build)
        written, now = made | recorded, made | chosen
        for argument, value in written.items():
            if value != now.get(argument):
                expected = f"{dataset.name} generated with {argument}={value!r}"
                raise ValueError(f"{path}: expected {expected}, got {argument}={now.get(argument)!r}")
    return data
