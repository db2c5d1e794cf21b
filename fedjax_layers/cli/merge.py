"""``fedjax-layers merge PART... --out DIR``: the parts of a sweep as one."""

from __future__ import annotations

import argparse

from fedjax_layers.cli.run import usage_errors
from fedjax_layers.cli.sweep import report
from fedjax_layers.sweeps.results import merge


def command(options: argparse.Namespace) -> int:
    """Join the parts; return the exit code."""
    with usage_errors():
        folder = merge(options.parts, options.out)
    report(options, folder)
    return 0
