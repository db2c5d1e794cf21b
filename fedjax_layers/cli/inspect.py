"""``fedjax-layers inspect DIR``: show the clients of a finished run with their scores, or what its layers tell."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.cli.inspect_layers import refuse_beside_clients, show_layers
from fedjax_layers.cli.run import usage_errors
from fedjax_layers.cli.status import print_table
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.options import unknown_name
from fedjax_layers.report.client_table import client_table


def command(options: argparse.Namespace) -> int:
    """Print the table, or all scores as comma-separated values; return the exit code."""
    if options.unknown:
        raise UsageError(f"inspect: expected no flags but its own, got {options.unknown[0]!r}")
    if options.layer_metrics is not None:
        return show_layers(options)
    refuse_beside_clients(options)
    folder = Path(options.folder)
    with usage_errors():
        summary, arrays = _read(folder)
        scored_model = _choice("scored_model", options.scored_model, arrays, 0) or str(summary.get("scored_model"))
        scored_round = _choice("scored_round", options.scored_round, arrays, 1) or str(summary.get("scored_round"))
        if f"{scored_model}/{scored_round}/test/loss" not in arrays:
            raise ValueError(f"scored_model: expected one that this run has, got {scored_model}, {scored_round}")
    if options.csv:
        _write_csv(arrays)
        return 0
    console = options.status.console
    if options.json:
        scored = {"scored_model": scored_model, "scored_round": scored_round}
        options.status.print_result({**scored, "clients": _rows(arrays)}, folder)
    else:
        print_table(console, client_table(arrays, scored_model, scored_round, console.width))
    return 0


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the summary and the clients' arrays of a run directory."""
    if not folder.is_dir():
        raise ValueError(f"folder: expected a run directory, found none at {folder}")
    runs = sorted(folder.glob("*/seed-*/clients.npz"))
    if runs and not (folder / "clients.npz").is_file():
        raise ValueError(f"folder: expected one run, got a comparison; its runs are folders like {runs[0].parent}")
    for name in ("summary.json", "clients.npz"):
        if not (folder / name).is_file():
            raise ValueError(f"folder: expected a finished run with {name}, found none in {folder}")
    run = RunDirectory(folder)
    return run.read("summary"), run.read_clients()


def _choice(argument: str, asked: str | None, arrays: Mapping[str, np.ndarray], place: int) -> str | None:
    known = {name.split("/")[place] for name in arrays if name.count("/") == 3}
    if asked is not None and asked not in known:
        raise unknown_name(argument, asked, known)
    return asked


def _write_csv(arrays: Mapping[str, np.ndarray]) -> None:
    """Print the rows of all clients as comma-separated values."""
    found = _rows(arrays)
    rows = csv.DictWriter(sys.stdout, list(found[0]))
    rows.writeheader()
    rows.writerows(found)


def _rows(arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return a row per client: its name, its numbers of examples, and every score."""
    columns = {name: values.tolist() for name, values in arrays.items() if values.ndim == 1}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
