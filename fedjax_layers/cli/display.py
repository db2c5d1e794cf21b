"""What a person sees at the end: the tables of results, and sentences beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from fedjax_layers.simulation.scoring import LOWER_IS_BETTER, headline

HEADLINES = {"macro_f1": "macro-F1", "perplexity": "perplexity", "mae": "MAE", "concordance": "C-index"}
_BESIDE = {"macro_f1": "accuracy", "perplexity": "accuracy", "mae": "r2", "concordance": None}  # in the next column
_COLUMNS = {"accuracy": "accuracy", "r2": "R²"}


def results_table(summaries: Sequence[Mapping[str, Any]], title: str) -> Table:
    """One row per run: the personal models' scores over clients (± their spread), incentive, bytes and cut.

    Where they are not all of the clients, it says how many.

    The runs are all of one kind of task.
    """
    metric = headline(summaries[0]["personal"])
    sign = -1 if metric in LOWER_IS_BETTER else 1
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    beside = _BESIDE[metric]
    columns = (HEADLINES[metric], *([_COLUMNS[beside]] if beside else []), "loss")
    columns += (*(["worst F1"] if metric == "macro_f1" else []), "better off", "MB up", "cut")
    table.add_column("algorithm", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    means = [s["personal"][metric]["mean"] for s in summaries]
    best = max((sign * mean for mean in means if mean is not None), default=None)
    for s, found in zip(summaries, means, strict=True):
        mean = f"{_number(found, '.3f')} ± {_number(s['personal'][metric]['std'], '.3f')}{_of_all(s, metric)}"
        table.add_row(
            s["algorithm"],
            f"[bold]{mean}[/bold]" if found is not None and sign * found == best and len(summaries) > 1 else mean,
            *([_number(s["personal"][beside]["mean"], ".3f")] if beside else []),
            _number(s["personal"]["loss"]["mean"], ".3f"),
            *([_number(s["personal"][metric]["min"], ".3f")] if metric == "macro_f1" else []),
            _number(s["incentive"], ".0%"),
            f"{s['bytes_up'] / 1e6:.2f}",
            "" if s["cut"] is None else f"{s['cut']:.3g} of {len(s['layers'])}",
        )
    return table


def _of_all(summary: Mapping[str, Any], metric: str) -> str:
    scored = summary["personal"][metric]["n"]
    return "" if scored == summary["clients"] else f", {scored:g} of {summary['clients']:g}"


def ranking_table(ranking: Sequence[Mapping[str, Any]], names: Sequence[str], title: str) -> Table:
    """One row per setting of a sweep, best by validation first."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (*names, "validation", "test", "runs", "ended"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in ranking:
        setting = [f"{x:.4g}" if isinstance(x, float) else str(x) for x in (line[name] for name in names)]
        spread = f" ± {_number(line['test_std'], '.3f')}" if line["runs"] > 1 else ""
        test = f"{_number(line['test'], '.3f')}{spread}"
        ended = ", ".join(why if n == line["runs"] else f"{n} {why}" for why, n in line["why"].items())
        table.add_row(*setting, _number(line["validation"], ".3f"), test, str(line["runs"]), ended)
    return table


def _number(value: float | None, spec: str) -> str:
    return "–" if value is None else format(value, spec)


def team_lines(summary: Mapping[str, Any]) -> list[str]:
    """The scores of the teams' models, each on its own clients, as a plain sentence."""
    scores = summary["team"]
    if scores is None:
        return []
    metric = headline(scores)
    found, beside = scores[metric], _BESIDE[metric]
    also = f", {_COLUMNS[beside]} {_number(scores[beside]['mean'], '.3f')}" if beside else ""
    who = f"Team models of {summary['algorithm']}, {summary['teams']:g} team{'s' if summary['teams'] > 1 else ''}"
    spread = f"{_number(found['mean'], '.3f')} ± {_number(found['std'], '.3f')}"
    return [f"{who}: {HEADLINES[metric]} {spread} over clients{also}"]


def cut_lines(summary: Mapping[str, Any]) -> list[str]:
    """PLayer-FL's cut with the cuts that no learning explains, as plain sentences."""
    controls = summary.get("control_cuts")
    if controls is None:
        return []
    names = summary["layers"][: summary["cut"]]
    same = all(cut == summary["cut"] for cut in controls.values())
    verdict = (
        "The same as all three controls: on this model the cut follows from the layer sizes, not from the data."
        if same
        else "It differs from a control: see docs/playerfl.md for what that can mean."
    )
    return [
        f"PLayer-FL shares {summary['cut']} of {len(summary['layers'])} layers ({', '.join(names) or 'none'}).",
        f"Control cuts: {controls['initialisation']} at initialisation, {controls['permuted_labels']} with permuted "
        f"labels, {controls['weight_count']} by weight count. {verdict}",
    ]
