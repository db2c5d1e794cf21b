"""What every experiment shares: its command line, its rows on disk, and the statistics of the papers' tables."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedjax_layers.engine.history.client_statistics import fairness_variance
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.experiment.records.run_directory import to_json
from fedjax_layers.experiment.statistics import critical_difference, friedman, incentive, median_interval, ranks
from fedjax_layers.storage import JsonLines
from fedjax_layers.sweeps.config_sweep import run_sweep
from fedjax_layers.sweeps.configs import SweptRun
from fedjax_layers.sweeps.widths import Programs

PRESETS = ("smoke", "laptop", "paper")
RESULTS = Path(__file__).parent / "results"
USUAL = ("rounds", "steps", "epochs", "batch_size", "learning_rate", "model", "client_size")  # of every run of a preset
MEASURED = ("second", "memory")  # columns whose names hold one of these are other ones every time
Cells = Callable[[dict[str, Any]], Iterable[tuple[dict[str, Any], dict[str, Any]]]]


def arguments(name: str, doc: str | None, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags common to all experiments; puts one CPU device per core in place unless told otherwise."""
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{name}", description=doc)
    parser.add_argument(
        "--preset", choices=PRESETS, default="smoke", help="smoke: seconds; laptop: 2 cores; paper: GPU"
    )
    parser.add_argument("--data-dir", help="folder of the data files; FEDJAX_LAYERS_DATA")
    parser.add_argument("--out", type=Path, help="folder of the results; experiments/results/NAME/PRESET")
    parser.add_argument("--devices", type=int, default=1, help="CPU devices that clients are spread over")
    parser.add_argument("--verify", action="store_true", help="compute the first row again, and compare it")
    options = parser.parse_args(argv)
    if options.devices > 1:
        jax.config.update("jax_num_cpu_devices", options.devices)
    options.out = options.out or RESULTS / name / options.preset
    return options


class Rows:
    """Finished units of work, one JSON line each; what is there is not computed again.

    With ``verify`` the first row is computed again and compared with the stored one, and nothing is written.
    """

    def __init__(self, folder: Path, *, verify: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lines = JsonLines(folder / "rows.jsonl")
        self.rows = self._lines.read()
        if verify and not self.rows:
            raise SystemExit(f"--verify: expected rows in {folder}, found none")
        self._stored = self.rows.pop(0) if verify else None

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether the row with this key is there."""
        return self._find(key) is not None

    def _find(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        return next((row for row in self.rows if all(row[k] == v for k, v in key.items())), None)

    def get(self, key: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The row with this key, computed and stored if it is missing."""
        found = self._find(key)
        if found is not None:
            return found
        row = self.add({**key, **compute()})
        print(" ".join(f"{k}={v}" for k, v in key.items()), flush=True)
        return row

    def add(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Store a row."""
        stored: dict[str, Any] = to_json(row)
        if self._stored is None:
            self._lines.append([stored])
        else:
            _refuse_another(self._stored, stored)
        self.rows.append(stored)
        return stored

    def finish(self, **more: Any) -> None:
        """Write what the rows stand on; of rows that were verified, say that they are."""
        if self._stored is not None:
            print("The first row repeats.")
            return
        (self.folder / "environment.json").write_text(json.dumps({**environment(), **more}, indent=2) + "\n")


def _refuse_another(stored: Mapping[str, Any], computed: Mapping[str, Any]) -> None:
    """End the command with one line where a row differs by more than the rounding of another place in a sweep."""
    for name, value in stored.items():
        if any(word in name for word in MEASURED):
            continue
        found = computed.get(name)
        if value != found and not _near(value, found):
            raise SystemExit(f"--verify: {name} of the first row: expected {value}, got {found}")


def _near(stored: Any, computed: Any) -> bool:
    try:
        return np.allclose(np.asarray(stored, float), np.asarray(computed, float), rtol=1e-4, equal_nan=True)
    except (TypeError, ValueError):  # texts, or other shapes
        return False


def run_cells(
    name: str,
    doc: str | None,
    argv: Sequence[str] | None,
    presets: Mapping[str, dict[str, Any]],
    cells: Cells,
    run: Callable[..., Mapping[str, Any]],
    tables: Callable[[list[dict[str, Any]], dict[str, Any]], str],
) -> None:
    """The command of an experiment: every cell with every seed, a row each, and the tables at the end.

    Args:
      name: of the experiment.
      doc: its text.
      argv: its arguments.
      presets: name -> numbers; ``seeds``, and of ``USUAL`` what ``run`` needs.
      cells: ``preset -> (key of the row, arguments of run)``; among the arguments, ``seeds`` in place of the preset's.
      run: ``(data_dir, *, seed, ...) -> what the row holds``.
      tables: ``(rows, preset) -> text``.
    """
    options = arguments(name, doc, argv)
    preset = presets[options.preset]
    rows = Rows(options.out, verify=options.verify)
    usual: dict[str, Any] = {field: preset[field] for field in USUAL if field in preset}
    for key, how in cells(preset):  # seeds inside: where the sizes are the same, they share the compiled programs
        for seed in how.pop("seeds", range(preset["seeds"])):
            rows.get(key | {"seed": seed}, functools.partial(run, options.data_dir, **(usual | how | {"seed": seed})))
    rows.finish(preset=preset)
    print(tables(rows.rows, preset))


def run_grid(
    name: str,
    doc: str | None,
    argv: Sequence[str] | None,
    presets: Mapping[str, dict[str, Any]],
    runs: Callable[[dict[str, Any]], list[SweptRun]],
    columns: Sequence[str],
    report: Callable[[list[dict[str, Any]], dict[str, Any], Path], str],
) -> None:
    """The command of an experiment that is a sweep: every run of a grid, a row each, and the tables at the end.

    Args:
      name: of the experiment.
      doc: its text.
      argv: its arguments.
      presets: name -> numbers.
      runs: ``preset -> runs``; a row's key is its setting and seed.
      columns: what is kept of each run's row, see :func:`fedjax_layers.sweeps.results.row_of`.
      report: ``(rows, preset, folder) -> text``; it may draw into the folder.
    """
    options = arguments(name, doc, argv)
    preset = presets[options.preset]
    rows = Rows(options.out, verify=options.verify)

    def store(new: Sequence[Mapping[str, Any]]) -> None:
        for row in new:
            kept = {column: row[column] for column in columns}
            rows.add({**wanted[row["run"]].setting, "seed": row["seed"], **kept})
        print(f"{len(rows.rows)} of {len(wanted)} runs", flush=True)

    wanted = {run.number: run for run in runs(preset)}
    missing = [run for run in wanted.values() if not rows.has(run.setting | {"seed": run.seed})]
    programs = Programs(say=lambda kind, record: print(f"{kind}: {record}", flush=True))
    run_sweep(missing, programs, options.data_dir, on_rows=store)
    rows.finish(preset=preset)
    print(report(rows.rows, preset, options.out))


def paper_table(rows: Sequence[Mapping[str, Any]], variants: Sequence[str], published: Mapping[str, Any]) -> str:
    """A Markdown table as the PLayer-FL paper reports one row of its tables, published numbers beside ours.

    Each row has ``variant``, ``seed``, ``macro_f1``, ``accuracy``, ``loss`` (weighted means over clients) and
    ``client_macro_f1``. Median over seeds ± half width of its 95 % bootstrap interval; fairness and incentive on
    clients' medians over seeds; ranks by seed on macro-F1.
    """
    by = {v: sorted((r for r in rows if r["variant"] == v), key=lambda r: r["seed"]) for v in variants}
    clients = {v: np.median([r["client_macro_f1"] for r in by[v]], axis=0) for v in variants}
    table = np.array([[r["macro_f1"] for r in by[v]] for v in variants]).T
    mean_ranks = dict(zip(variants, ranks(table), strict=True))
    lines = [
        "| algorithm | macro-F1 % | accuracy % | loss | fairness var. ×1e-4 | better off | rank "
        "| published macro-F1 | published accuracy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for v in variants:
        f1, accuracy, loss = (median_interval([r[m] for r in by[v]]) for m in ("macro_f1", "accuracy", "loss"))
        bars = (clients["local"], clients["fedavg"])
        better = "–" if v in ("local", "fedavg") else f"{incentive(clients[v], *bars):.0%}"
        fairness = f"{fairness_variance(clients[v]) * 1e4:.1f}"
        known = published.get(v, {})
        lines.append(
            f"| {v} | {_percent(f1)} | {_percent(accuracy)} | {loss[0]:.3f} | {fairness} "
            f"| {better} | {mean_ranks[v]:.1f} | {known.get('macro_f1', '–')} | {known.get('accuracy', '–')} |"
        )
    if len(table) > 1:
        test = friedman(table)
        gap = critical_difference(len(variants), len(table))
        lines.append(
            f"\nFriedman over {len(table)} seeds: p = {test.p_value:.3f}; Nemenyi critical difference {gap:.2f} ranks."
        )
    return "\n".join(lines)


def spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation in per cent."""
    there = [100 * v for v in values if v is not None]
    if not there:
        return "–"
    return f"{np.mean(there):.1f} ± {np.std(there, ddof=1):.1f}" if len(there) > 1 else f"{there[0]:.1f}"


def _percent(interval: tuple[float, float]) -> str:
    median, half = interval
    return f"{100 * median:.1f}" if np.isnan(half) else f"{100 * median:.1f} ± {100 * half:.1f}"
