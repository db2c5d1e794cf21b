"""``fedjax-layers report DIR...``: write the report of finished and unfinished runs as one HTML page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from fedjax_layers.cli.status import Status
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.storage import DAMAGE, StorageError

_MOST_SCORES = 2_000_000  # scores of clients up to which a report takes well under a second


def command(options: argparse.Namespace) -> int:
    """Write the page, and print where it is; return the exit code."""
    from fedjax_layers.report.page.page import REPORT, write_report  # noqa: PLC0415

    usual = Path(options.folders[0]) / REPORT if len(options.folders) == 1 else Path(REPORT)
    out = Path(options.out) if options.out else usual
    try:
        size = write_report(options.folders, out)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    options.status.stop()
    options.status.console.print(f"Report: {out}, {decimal(size)}", soft_wrap=True)
    options.status.print_result({"file": str(out), "bytes": size}, out if options.quiet else None)
    return 0


def add_report(options: argparse.Namespace, folder: Path, scores: int) -> None:
    """Write the report of a command that has ended into its folder, and print where it is.

    A report that cannot be written costs a line, and nothing of the results.

    Args:
      options: the command's options, with ``report``, which switches it off.
      folder: the folder of the run, the comparison or the sweep.
      scores: the number of clients' scores, by which its report is left to the command ``report`` if they are many.
    """
    from fedjax_layers.report.page.page import REPORT, write_report  # noqa: PLC0415  (a run that is refused needs none)

    status: Status = options.status
    if not options.report:
        return
    if scores > _MOST_SCORES:
        status.console.print(f"For a report: fedjax-layers report {folder}", soft_wrap=True)
        return
    try:
        write_report([folder], folder / REPORT)
        status.console.print(f"Report: {folder / REPORT}", soft_wrap=True)
    except (StorageError, *DAMAGE) as error:
        status.console.print(f"No report: {' '.join(str(error).split())}", soft_wrap=True)


def scores_in(summary: Mapping[str, Any], eval_every: int) -> int:
    """Estimate how many scores of clients a run has recorded of each kind."""
    return int(summary["clients"] * -(-summary["rounds"] // eval_every))
