"""Writes what the pages of the algorithms take from the code: ``python docs/algorithms/refresh.py``.

That is the tables of options and costs of every page, and the table of all algorithms in ``index.md``. A page is about
the algorithms that its title names in backticks. ``tests/test_algorithm_pages.py`` fails where a page is out of date.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import optax

from fedjax_layers import models
from fedjax_layers.algorithms import registry
from fedjax_layers.clients import LocalSolver, Setting
from fedjax_layers.options import Mark, Option, options_of
from fedjax_layers.types import Algorithm

HERE = pathlib.Path(__file__).parent
COMMAND = "python docs/algorithms/refresh.py"
CLIENTS, TEAMS = 20, 4  # TEAMS is the default of every algorithm with teams


class Row(NamedTuple):
    """What the tables say of an algorithm and no declaration has; a test compares the last three with a round.

    Attributes:
      idea: one sentence for the table of all algorithms.
      shared: what the clients have in common.
      up: what a client uploads in a round.
      down: what it downloads.
      work: local training in a round, by which the solver's is multiplied.
      more: other work of a round or after the last one.
    """

    idea: str
    shared: str
    up: str = "the model"
    down: str = "the model"
    work: str = "1"
    more: str = ""


ROWS = {
    "local": Row("Every client trains alone.", "nothing", "nothing", "nothing"),
    "fedavg": Row("The server averages the clients' models.", "all layers"),
    "fedprox": Row("FedAvg, in which local training is pulled to the server's model.", "all layers"),
    "scaffold": Row(
        "FedAvg, whose local steps are corrected by control variates.",
        "all layers",
        "the model and a variate",
        "the model and a variate",
        "1",
        "with option I, a gradient for each step",
    ),
    "local_adaptation": Row(
        "FedAvg, after which each client trains its copy further.", "all layers", more="`finish_epochs` after the end"
    ),
    "fedper": Row(
        "Each client keeps its last layers.", "all but the last layers", "the shared layers", "the shared layers"
    ),
    "lg_fedavg": Row(
        "Each client keeps its first layers.", "all but the first layers", "the shared layers", "the shared layers"
    ),
    "fixed_sharing": Row(
        "The layers that you name are averaged.", "the layers named", "the shared layers", "the shared layers"
    ),
    "fedrep": Row(
        "Each client trains its head first, then the common layers below it.",
        "all but the head",
        "the shared layers",
        "the shared layers",
        "1, and head_epochs of the head",
    ),
    "fedbabu": Row(
        "The head stays at its random start until all rounds are over.",
        "all but the head, and the head's start",
        "the shared layers",
        "the shared layers",
        more="`finish_epochs` of the head after the end",
    ),
    "fedrod": Row(
        "FedAvg on a loss balanced by class counts, and each client's own head beside the common one.",
        "all layers",
        more="the gradient of the own head, with a forward pass of the model",
    ),
    "fedbn": Row("Each client keeps its batch normalisation.", "all but batch norms"),
    "player_fl": Row(
        "Layers are shared up to the first jump of a sensitivity score.",
        "the layers before the cut",
        "the shared layers",
        "the shared layers",
        more="once, a gradient of one batch, and a number for each layer",
    ),
    "fedtlu": Row(
        "The server updates the blocks with the best score alone.",
        "all layers",
        down="the chosen blocks",
        more="a score for each block, on the server",
    ),
    "random_layers": Row("The server updates random blocks.", "all layers", down="the chosen blocks"),
    "last_layers": Row("The server updates the last blocks.", "all layers", down="the chosen blocks"),
    "fedlp": Row("Each client sends each layer with a probability.", "all layers", "the layers that its coins keep"),
    "fedpart": Row(
        "Each round trains and averages one group of layers.",
        "all layers",
        "the layers of one group",
        "the layers of one group",
    ),
    "fedlama": Row(
        "Layers on which the clients hardly differ are averaged in fewer rounds.",
        "all layers",
        "the layers that are due",
        "the layers averaged since its last round",
        more="the distance of each model of the round from the mean",
    ),
    "fedlag": Row(
        "Layers in which the clients' updates oppose each other become personal.",
        "after the warm-up, all but the layers in conflict",
        "the shared layers",
        "the shared layers",
        more="in the warm-up, cosines between all updates of the round",
    ),
    "fednova": Row(
        "FedAvg of updates that are divided by how far each client's steps reach.",
        "all layers",
        "the model and a number",
    ),
    "fedala": Row(
        "Each client learns, number by number, how much of the server's top layers it takes over.",
        "all layers, of the top ones as much as each client takes over",
        more="a pass over `subset_share` of the examples, in a client's second round up to `max_epochs`",
    ),
    "fedit": Row("FedAvg of low-rank adapters beside a frozen model.", "all adapters", "the adapters", "the adapters"),
    "ffa_lora": Row(
        "The adapters' A is frozen as it was drawn, and B is averaged.", "every A and B", "every B", "every B"
    ),
    "fedsa_lora": Row("The adapters' A is averaged, and each client keeps its B.", "every A", "every A", "every A"),
    "per_fedavg": Row(
        "FedAvg of the loss after one step of adaptation.",
        "all layers",
        more="2 gradients a step, 4 with `hf`; `finish_epochs` after the end",
    ),
    "pfedme": Row(
        "A client's model is a proximal point of its copy of the server's.",
        "all layers of the copy",
        more="`inner_steps` gradients a step",
    ),
    "ditto": Row(
        "FedAvg, and beside it a model of each client's own that is pulled to the server's.",
        "all layers of the server's model",
        work="2",
        more="`personal_epochs` may differ for the second",
    ),
    "fedproto": Row(
        "Clients keep their models, and pull the features of each class to a common mean.",
        "mean features of each class",
        "the means of its classes, with counts",
        "the common means",
        more="features in each step, their gradient, and a forward pass of all examples after training",
    ),
    "apfl": Row(
        "Each client mixes a model of its own with its copy of the server's.",
        "all layers of the server's model",
        more="2 gradients a step",
    ),
    "permfl": Row(
        "Client, team and server have a model each, pulled to the one above.",
        "a model for each team, and one above",
        "the model, in each team round",
        "the model, in each team round",
        "team_rounds",
    ),
    "hsgd": Row(
        "Teams average several times before the server does.",
        "a model for each team, and one above",
        "the model, in each team round",
        "the model, in each team round",
        "team_rounds",
    ),
    "l2gd": Row(
        "By a coin, clients train, or move towards their mean.",
        "the mean",
        "the model, in rounds of averaging",
        "the model, in rounds of averaging",
        "1, none in rounds of averaging",
    ),
    "al2gd": Row(
        "L2GD with clusters: a client moves towards its cluster's mean, the cluster towards all.",
        "the means of the clusters, and of all",
        "the model, in rounds of averaging",
        "the model, in rounds of averaging",
        "1, none in rounds of averaging",
    ),
    "demlearn": Row(
        "Clients are grouped anew each round, and mixed with their groups.",
        "means over a tree of groups",
        more="clustering of all models of the round",
    ),
    "pfedhn": Row(
        "One hypernetwork on the server emits each client's model.",
        "the hypernetwork",
        more="a step of the hypernetwork",
    ),
    "pfedla": Row(
        "Each client starts from its own mix of all models, layer by layer, with weights that are learnt.",
        "mixes of all models",
        more="a mix of all models and a step of a hypernetwork for each client",
    ),
    "heurpfedla": Row(
        "pFedLA, in which each client keeps the layers where its own weight is largest.",
        "mixes of all models",
        down="the layers not kept",
        more="a mix of all models and a step of a hypernetwork for each client",
    ),
    "layer_mix": Row(
        "pFedLA's rounds with weights from a simple rule.",
        "mixes of all models",
        more="a mix of all models for each client",
    ),
    "fedfomo": Row(
        "Each client moves towards others' models that do better on its held-back examples.",
        "models of a few others",
        "the model and num_models numbers",
        "num_models models",
        "1, of the examples that are not held back",
        "`num_models` + 1 passes over the held-back examples, without gradients",
    ),
    "fedamp": Row(
        "Each client is pulled to its mix of all models, in which near ones weigh most.",
        "mixes of all models",
        more="a mix of all models for each client",
    ),
    "fedcac": Row(
        "Critical parameters come from a mix of like clients' models, the others from the mean of all.",
        "uncritical parameters; critical ones with like clients",
        "the model and its marks",
        more="a sort of every tensor; overlaps and mixes of all models of the round",
    ),
}


def pages() -> dict[pathlib.Path, list[str]]:
    """Find the pages, each with the algorithms that its title names."""
    found = {}
    for page in sorted(HERE.glob("*.md")):
        title = page.read_text(encoding="utf-8").partition("\n")[0]
        found[page] = re.findall(r"`(\w+)`", title)
    return found


def refreshed(page: pathlib.Path, names: list[str]) -> str:
    """Return the text of a page with its tables made anew."""
    text = page.read_text(encoding="utf-8")
    tables = {"options": _options, "costs": _costs, "algorithms": lambda _: _algorithms()}
    for kind, table in tables.items():
        block = rf"(<!-- {kind}: begin[^>]*-->\n).*?(<!-- {kind}: end -->)"
        if re.search(block, text, re.DOTALL):
            made = table(names)
            text = re.sub(block, lambda m, made=made: m[1] + made + "\n" + m[2], text, flags=re.DOTALL)
    return text


def _options(names: list[str]) -> str:
    """Make the table of options; one that several algorithms declare alike has one row, with the first one's words."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    told: dict[tuple[str, str, str], tuple[str, str]] = {}
    for name in names:
        for option in options_of(registry[name]).values():
            cells = (f"`{option.name}`", _default(option), _values(option))
            rows.setdefault(cells, []).append(name)
            told.setdefault(cells, (re.sub(r"\s+", " ", option.help), _remarks(option)))
    if not rows:
        return "None."
    several = len(names) > 1
    lines = ["| option | default | values | what it does | remarks |" + (" of |" if several else "")]
    lines.append("|---" * (6 if several else 5) + "|")
    for cells, takers in rows.items():
        of = ["all" if takers == names else ", ".join(f"`{name}`" for name in takers)] if several else []
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, *told[cells], *of)) + " |")
    return "\n".join(lines)


def _remarks(option: Option) -> str:
    """Return the further sentences of an option's declaration, without what the column of values says."""
    return re.sub(r"(?:^|(?<= ))May be traced\.\s*", "", option.remarks).strip()


def _default(option: Option) -> str:
    if option.required:
        return "must be given"
    return "none" if option.default in (None, ()) else f"`{option.default}`"


def _values(option: Option) -> str:
    """Say in words which values an option takes, and whether a run can trace them."""
    if option.name == "server_optimizer":
        return "an optimiser of optax; `--server-optimizer` on the command line"
    if option.name == "team_of":
        return "integers; `--team-formation` on the command line"
    kinds, bounds = " or ".join(f"`{choice}`" for choice in option.choices) or _kinds(option), option.bounds
    if bounds == "a positive number":
        kinds, bounds = kinds.replace("a number", bounds), ""
    said = [kinds, bounds] if bounds else [kinds]
    said += ["or one for each"] if option.has(Mark.PER_CLIENT) else []
    said += ["at most the number of layers"] if option.has(Mark.LAYERS) else []
    said += ["traced"] if option.has(Mark.TRACED) else []
    return ", ".join(said)


def _kinds(option: Option) -> str:
    """Name the types in words; arrays are left out, since every traced number may be one."""
    words = {bool: "true or false", int: "a whole number", float: "a number", type(None): "none", str: "text"}
    kinds = list(option.kinds)
    if float in kinds and int in kinds:
        kinds.remove(int)
    found = [words[kind] for kind in kinds if kind in words]
    found += [f"several, each {words[kind.__args__[0]]}" for kind in kinds if hasattr(kind, "__args__")]
    found += ["an optimiser of optax"] if optax.GradientTransformation in kinds else []
    return " or ".join(dict.fromkeys(found))


def _costs(names: list[str]) -> str:
    """Make the table of what algorithms cost, beside FedAvg."""
    shown = names if "fedavg" in names else [*names, "fedavg"]
    columns = [_cost(name) for name in shown]
    lines = ["| | " + " | ".join(f"`{name}`" for name in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for what in columns[0]:
        cells = [column[what] for column in columns]
        if set(cells) - {"nothing", ""} or what.startswith(("sent", "kept")):
            lines.append(f"| {what} | " + " | ".join(cell or "nothing" for cell in cells) + " |")
    return "\n".join(lines)


def _cost(name: str) -> dict[str, str]:
    row, memory = ROWS[name], _bound(name).memory
    once = [_models(memory.server, "model"), _hypernetworks(memory.server_bytes, name)]
    slot = [_models(memory.slot, "model"), "a hypernetwork" if memory.slot_bytes else ""]
    client = _models(max(memory.client, memory.served), "model")
    teams = f", with {TEAMS} teams" if "num_teams" in options_of(registry[name]) else ""
    return {
        "sent up by a client in a round": row.up,
        "sent down to it": row.down,
        "local work in a round, times the solver's": row.work,
        "further work": row.more,
        "kept for each client between rounds": kept(name),
        "the same of optimiser states, with `keep_optimizer`": _models(_kept_states(name), "state"),
        "held for each client that is trained at once": f"{_models(memory.visit, 'model')} and "
        f"{_models(memory.states, 'optimiser state')}",
        "held once, beside the state": " and ".join(filter(None, once)) + teams,
        "held for each slot of the cohort": " and ".join(filter(None, slot)),
        "held for each client of the federation": client,
    }


def _models(number: float, what: str) -> str:
    return f"{number:.3g} {what}{'' if number == 1 else 's'}" if number else ""


def _hypernetworks(size: int, name: str) -> str:
    """Say how many hypernetworks ``size`` bytes are."""
    if not size:
        return ""
    state = _state(name, keep=False)
    one = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.net))
    return f"{size / one:g} hypernetworks"


def kept(name: str) -> str:
    """Say what an algorithm keeps for each client between rounds, from the shapes of its state."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(_params(name))]
    found, partial, others = 0, False, []
    for field, tree in _per_client(_state(name, keep=False)):
        own = [leaf.shape[1:] for leaf in jax.tree.leaves(tree)]
        if field in _OTHERS and own:
            others.append(_OTHERS[field])
        elif own == shapes:
            found += 1
        elif own and all(shape in shapes for shape in own) and any(own[0]):
            partial = True
    said = [_models(found, "model"), "what stays with it" if partial else "", *others]
    return " and ".join(filter(None, said))


_OTHERS = {
    "affinity": "a number for each client",
    "rules": "a hypernetwork",
    "personal_weight": "a number",
    "masks": "a mark for each number",
}


def _kept_states(name: str) -> float:
    """Count the optimiser states that are kept for each client, in those of one model."""
    sizes = [_size(dict(_per_client(_state(name, keep=keep)))) for keep in (True, False)]
    return round((sizes[0] - sizes[1]) / CLIENTS / _size(_optimizer(name).init(_params(name))))


def _size(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _per_client(state: Any) -> Iterator[tuple[str, Any]]:
    """List the fields of a state, and of dataclasses in it, that have a row for each client."""
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if field.metadata.get("per_client"):
            yield field.name, value
        elif dataclasses.is_dataclass(value):
            yield from _per_client(value)


@functools.cache
def _task(name: str) -> Any:
    model = models.build_model("bn_cnn" if name == "fedbn" else "mlp", 10)
    task = models.task(model, (8, 8, 1), 10)
    return models.low_rank(task) if name in ("fedit", "ffa_lora", "fedsa_lora") else task


@functools.cache
def _params(name: str) -> Any:
    return jax.eval_shape(_task(name).init, jax.random.key(0))


def _optimizer(name: str) -> optax.GradientTransformation:
    """Return an optimiser with a state; SCAFFOLD and FedNova refuse Adam."""
    return optax.sgd(0.1, momentum=0.9) if name in ("scaffold", "fednova") else optax.adam(0.1)


def _bound(name: str, *, keep: bool = False) -> Algorithm:
    """Bind an algorithm with its default options to a small network and 20 clients; nothing is computed."""
    task = _task(name)
    options = {"shared": task.layers.names[:1]} if name == "fixed_sharing" else {}
    solver = LocalSolver(_optimizer(name), batch_size=4, keep_optimizer=keep)
    return registry[name](Setting(task, CLIENTS, 8).bind(solver), **options)


@functools.cache
def _state(name: str, *, keep: bool) -> Any:
    return jax.eval_shape(_bound(name, keep=keep).init, jax.random.key(0), _params(name))


def _algorithms() -> str:
    """Make the table of all algorithms."""
    page_of = {name: page.name for page, names in pages().items() for name in names}
    heads = ["name", "idea", "shared", "sent up and down", "local work", "kept for each client", "held at work"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, row in ROWS.items():
        sent = row.up if row.up == row.down else f"up {row.up}, down {row.down}"
        memory = _bound(name).memory
        held = [f"{memory.visit:.3g} at once"]
        held += [f"{memory.slot:g} a slot"] if memory.slot else []
        held += [f"{max(memory.client, memory.served):g} a client"] if memory.client or memory.served else []
        told = [row.idea, row.shared, sent, row.work, kept(name) or "nothing", ", ".join(held)]
        lines.append("| " + " | ".join([f"[`{name}`]({page_of[name]})", *told]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    for page, names in pages().items():
        page.write_text(refreshed(page, names), encoding="utf-8")
