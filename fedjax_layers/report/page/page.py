"""The whole page: its sections in order, its style and its script, and the file that it is written to."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fedjax_layers.experiment.finished.methods import Compared, experiments_of
from fedjax_layers.report.page.client_section import client_distribution
from fedjax_layers.report.page.curve_section import bytes_curves, learning_curves
from fedjax_layers.report.page.elements import Element, el, html
from fedjax_layers.report.page.found import Found, find
from fedjax_layers.report.page.layer_section import layer_section
from fedjax_layers.report.page.results_section import results_section
from fedjax_layers.report.page.settings_section import (
    commands_section,
    environment_line,
    settings_section,
    sweep_settings,
)
from fedjax_layers.report.page.sweep_section import sweep_section, sweep_sentence
from fedjax_layers.storage import replacing
from fedjax_layers.sweeps.results import SweepFolder

REPORT = "report.html"
_MARK = "fedjax-layers report"


def write_report(folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> int:
    """Write the page of some folders, and return how many bytes it has.

    Args:
      folders: folders of runs, comparisons and sweeps.
      out: the file. An earlier report is replaced, any other file is not.

    Raises:
      ValueError: a folder is not there, or the file is something else than a report.
      StorageError: no folder can be read, or the file cannot be written.
    """
    path, found = Path(out), find(folders)
    if path.is_dir():
        raise ValueError(f"out: expected a file, found the folder {path}")
    if path.exists() and _MARK.encode() not in path.read_bytes()[:2000]:
        raise ValueError(f"out: expected a new file or an earlier report, found another file at {path}")
    if not path.parent.is_dir():
        raise ValueError(f"out: expected a file in a folder that is there, found no folder {path.parent}")
    text = page(found).encode()
    with replacing(path) as file:
        file.write(text)
    return len(text)


def page(found: Found) -> str:
    """Make the page, a whole HTML document."""
    experiments = experiments_of(found.runs)
    sentences = [*map(experiment_sentence, experiments), *map(sweep_sentence, found.sweeps)]
    title = sentences[0] if len(sentences) == 1 else f"{len(sentences)} experiments"
    parts: list[Any] = [_header(title, found)]
    single = len(sentences) == 1
    labels = dict.fromkeys(method.label for compared in experiments for method in compared.methods)
    keys = {label: i for i, label in enumerate(labels)}  # a method has one colour on the whole page
    for sentence, compared in zip(sentences, experiments, strict=False):
        parts += [None if single else el("h2", sentence, class_="experiment"), *_experiment(compared, keys)]
    for sentence, sweep in zip(sentences[len(experiments) :], found.sweeps, strict=True):
        parts += [None if single else el("h2", sentence, class_="experiment"), *_sweep(sweep)]
    parts.append(commands_section(found.commands))
    environment = environment_line(found.runs)
    parts.append(el("footer", el("p", f"Computed with {environment}.") if environment else None))
    return _document(title, parts)


def experiment_sentence(compared: Compared) -> str:
    """Say in one sentence what was run."""
    runs = [run for method in compared.methods for run in method.runs]
    config = runs[0].config
    ended = [run.summary for run in runs if run.summary is not None]
    clients = ended[0]["clients"] if ended else config.get("clients")
    many = len(compared.methods)
    what = compared.methods[0].label if many == 1 else f"{many} methods"
    whose = f"{clients} client{'s' if clients != 1 else ''} of " if clients is not None else ""
    rounds = max(int(run.config.get("rounds") or 0) for run in runs)
    seeds = len({run.seed for run in runs})
    told = f"{rounds} round{'s' if rounds != 1 else ''}, {seeds} seed{'s' if seeds != 1 else ''}"
    return f"{what}, {whose}{config.get('dataset')}, {told}"


def _header(title: str, found: Found) -> Element:
    notes = [el("li", line) for line in dict.fromkeys(found.notes)]
    return el(
        "header",
        el("h1", el("bdi", title)),
        el("ul", notes, class_="notes", role="note") if notes else None,
    )


def _experiment(compared: Compared, keys: Mapping[str, int]) -> list[Element | None]:
    figures = [
        learning_curves(compared, keys),
        client_distribution(compared, keys),
        bytes_curves(compared, keys),
    ]
    there = [figure for figure in figures if figure is not None]
    return [
        results_section(compared),
        el("div", there, class_="figures") if there else None,
        layer_section(compared),
        settings_section(compared),
    ]


def _sweep(sweep: SweepFolder) -> list[Element]:
    content = sweep.read("config")
    return [*sweep_section(sweep), sweep_settings(content["runs"]["0"]["config"])]


def _document(title: str, parts: Sequence[Element | None]) -> str:
    style, script = (resources.files(__package__).joinpath(file).read_text() for file in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="generator", content=_MARK),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", style),
    )
    tip = el("div", class_="tip", role="status", aria_live="polite", hidden=True)
    body = el("body", el("main", parts), tip, el("script", script))
    return f"<!doctype html>\n{html(el('html', head, body, lang='en'))}\n"
