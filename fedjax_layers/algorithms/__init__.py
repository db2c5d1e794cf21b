"""Federated algorithms, one file each: a state dataclass, and a factory of pure functions.

``registry`` maps the name used on the command line to the factory. Every factory takes a
:class:`fedjax_layers.clients.LocalSolver`, and its own hyper-parameters by keyword, some of which may be traced. It
makes a :class:`Method`, which ``simulate`` binds to the task and the clients. Given a bound solver, a
:class:`fedjax_layers.clients.Trainer`, it makes the :class:`fedjax_layers.types.Algorithm` itself.
"""

from typing import Any

from fedjax_layers.algorithms.combined import Registry
from fedjax_layers.algorithms.composition import composed
from fedjax_layers.algorithms.factory import Factory, Method, aggregated, attacked, colluded, factory, faulty, private
from fedjax_layers.algorithms.mixing.fedamp import fedamp
from fedjax_layers.algorithms.mixing.fedcac import fedcac
from fedjax_layers.algorithms.mixing.fedfomo import fedfomo
from fedjax_layers.algorithms.mixing.heurpfedla import heurpfedla
from fedjax_layers.algorithms.mixing.layer_mix import layer_mix
from fedjax_layers.algorithms.mixing.pfedhn import pfedhn
from fedjax_layers.algorithms.mixing.pfedla import pfedla
from fedjax_layers.algorithms.objectives import OBJECTIVES
from fedjax_layers.algorithms.plug_ins import add_file, add_installed
from fedjax_layers.algorithms.sharing.cut_report import threshold_decision
from fedjax_layers.algorithms.sharing.fedala import fedala
from fedjax_layers.algorithms.sharing.fedavg import fedavg
from fedjax_layers.algorithms.sharing.fedbabu import fedbabu
from fedjax_layers.algorithms.sharing.fedbn import fedbn
from fedjax_layers.algorithms.sharing.fedit import fedit
from fedjax_layers.algorithms.sharing.fedlag import fedlag
from fedjax_layers.algorithms.sharing.fedlama import fedlama
from fedjax_layers.algorithms.sharing.fedlp import fedlp
from fedjax_layers.algorithms.sharing.fednova import fednova
from fedjax_layers.algorithms.sharing.fedpart import fedpart
from fedjax_layers.algorithms.sharing.fedper import fedper
from fedjax_layers.algorithms.sharing.fedprox import fedprox
from fedjax_layers.algorithms.sharing.fedrep import fedrep
from fedjax_layers.algorithms.sharing.fedrod import fedrod
from fedjax_layers.algorithms.sharing.fedsa_lora import fedsa_lora
from fedjax_layers.algorithms.sharing.fedtlu import fedtlu, last_layers, random_layers
from fedjax_layers.algorithms.sharing.ffa_lora import ffa_lora
from fedjax_layers.algorithms.sharing.fixed_sharing import fixed_sharing
from fedjax_layers.algorithms.sharing.lg_fedavg import lg_fedavg
from fedjax_layers.algorithms.sharing.local import local
from fedjax_layers.algorithms.sharing.local_adaptation import local_adaptation
from fedjax_layers.algorithms.sharing.per_fedavg import per_fedavg
from fedjax_layers.algorithms.sharing.player_fl import player_fl
from fedjax_layers.algorithms.sharing.scaffold import scaffold
from fedjax_layers.algorithms.sharing.sensitivity_cut import CutRule, cut_controls
from fedjax_layers.algorithms.tethered.apfl import apfl
from fedjax_layers.algorithms.tethered.ditto import ditto
from fedjax_layers.algorithms.tethered.fedproto import fedproto
from fedjax_layers.algorithms.tethered.l2gd import al2gd, l2gd
from fedjax_layers.algorithms.tethered.pfedme import pfedme
from fedjax_layers.algorithms.tiers.demlearn import demlearn
from fedjax_layers.algorithms.tiers.hsgd import hsgd
from fedjax_layers.algorithms.tiers.permfl import permfl, unstable

_named: dict[str, Factory[Any]] = {
    "local": local,
    "fedavg": fedavg,
    "fedprox": fedprox,
    "scaffold": scaffold,
    "local_adaptation": local_adaptation,
    "fedper": fedper,
    "lg_fedavg": lg_fedavg,
    "fixed_sharing": fixed_sharing,
    "fedrep": fedrep,
    "fedbabu": fedbabu,
    "fedrod": fedrod,
    "fedbn": fedbn,
    "player_fl": player_fl,
    "fedtlu": fedtlu,
    "random_layers": random_layers,
    "last_layers": last_layers,
    "fedlp": fedlp,
    "fedpart": fedpart,
    "fedlama": fedlama,
    "fedlag": fedlag,
    "fednova": fednova,
    "fedala": fedala,
    "fedit": fedit,
    "ffa_lora": ffa_lora,
    "fedsa_lora": fedsa_lora,
    "per_fedavg": per_fedavg,
    "pfedme": pfedme,
    "ditto": ditto,
    "fedproto": fedproto,
    "apfl": apfl,
    "permfl": permfl,
    "hsgd": hsgd,
    "l2gd": l2gd,
    "al2gd": al2gd,
    "demlearn": demlearn,
    "pfedhn": pfedhn,
    "pfedla": pfedla,
    "heurpfedla": heurpfedla,
    "layer_mix": layer_mix,
    "fedfomo": fedfomo,
    "fedamp": fedamp,
    "fedcac": fedcac,
}

registry = Registry(_named)


ALONE, COMMON = "local", "fedavg"
"""The two baselines of comparisons: every client trains alone, and all share one model."""

USUAL = "player_fl"
"""The algorithm of a run that names none."""


def add_installed_algorithms() -> None:
    """Add the algorithms of all installed packages, by their entry points of the group ``fedjax_layers.algorithms``."""
    add_installed(registry)


def add_algorithm_file(file: str) -> list[str]:
    """Run a Python file and add the algorithms that it defines to ``registry``.

    Args:
      file: path of the file.

    Returns:
      The names of the algorithms, which are those of the functions.

    Raises:
      ValueError: there is no such file, it has no algorithm, it fails, or a name is taken already.
    """
    return add_file(registry, file)


__all__ = [
    "ALONE",
    "COMMON",
    "OBJECTIVES",
    "USUAL",
    "CutRule",
    "Factory",
    "Method",
    "add_algorithm_file",
    "add_installed_algorithms",
    "aggregated",
    "al2gd",
    "apfl",
    "attacked",
    "colluded",
    "composed",
    "cut_controls",
    "demlearn",
    "ditto",
    "factory",
    "faulty",
    "fedala",
    "fedamp",
    "fedavg",
    "fedbabu",
    "fedbn",
    "fedcac",
    "fedfomo",
    "fedit",
    "fedlag",
    "fedlama",
    "fedlp",
    "fednova",
    "fedpart",
    "fedper",
    "fedproto",
    "fedprox",
    "fedrep",
    "fedrod",
    "fedsa_lora",
    "ffa_lora",
    "fixed_sharing",
    "heurpfedla",
    "hsgd",
    "l2gd",
    "layer_mix",
    "lg_fedavg",
    "local",
    "local_adaptation",
    "per_fedavg",
    "permfl",
    "pfedhn",
    "pfedla",
    "pfedme",
    "player_fl",
    "private",
    "registry",
    "scaffold",
    "threshold_decision",
    "unstable",
]
