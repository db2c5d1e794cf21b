"""``fedjax-layers inspect DIR --layer-metrics NAMES``: show what each layer of a run's saved models tells."""

from __future__ import annotations

import argparse
import csv
import sys
from typing import Any

from fedjax_layers.cli.flags import name_list
from fedjax_layers.cli.run import usage_errors
from fedjax_layers.cli.status import print_table
from fedjax_layers.cli.usage import UsageError, check_place
from fedjax_layers.experiment.layer_profile.profile import LayerProfile, layer_profile
from fedjax_layers.experiment.layer_profile.saved import saved_file, task_and_data
from fedjax_layers.report.plots import plot_profile
from fedjax_layers.report.profile_table import profile_table

ALL = "all"
_OWN = ("layers", "examples", "plot", "data_dir")  # flags that have a meaning for layers alone


def refuse_beside_clients(options: argparse.Namespace) -> None:
    """Refuse the flags of a layer profile where none is asked for."""
    for name in _OWN:
        if name in options.given:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag}: expected --layer-metrics beside it, got none")


def show_layers(options: argparse.Namespace) -> int:
    """Compute the profile, print its table (or CSV, or JSON), and draw it if a file is named; return the exit code."""
    for name in ("scored_model", "scored_round"):
        if name in options.given:
            raise UsageError(f"--{name.replace('_', '-')}: expected none beside --layer-metrics")
    check_place("--plot", options.plot)
    status = options.status
    asked = None if options.layer_metrics == ALL else name_list(options.layer_metrics)
    layers = None if options.layers is None else name_list(options.layers)
    with usage_errors():
        file = saved_file(options.folder)
        status.say("loading the data")
        task, data = task_and_data(file.parent, options.data_dir)
        status.say("computing the metrics of the layers")
        profile = layer_profile(task, file, data, asked, layers=layers, examples=options.examples)
        if options.plot is not None:
            _save(profile, options.plot)
    status.stop()
    if options.csv:
        _write_csv(profile)
    elif options.json:
        status.print_result({"file": str(file), **_content(profile)}, file.parent)
    else:
        print_table(status.console, profile_table(profile, status.console.width))
        status.console.print(f"Models: {file}", soft_wrap=True)
        if options.plot is not None:
            status.console.print(f"Picture: {options.plot}", soft_wrap=True)
    return 0


def _save(profile: LayerProfile, path: str) -> None:
    """Draw the profile without a display, and write the picture in the format that its name ends in."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  (an extra of the package)
    except ImportError as error:
        raise UsageError("--plot: it takes matplotlib, pip install 'fedjax-layers[plot]'") from error
    with mpl.rc_context({"backend": "agg"}):
        figure = plot_profile(profile)[0].figure
        try:
            figure.savefig(path)
        except (OSError, ValueError) as error:
            told = f"expected the path of a picture, such as layers.png, got {path}: {error}"
            raise UsageError(f"--plot: {told}") from error


def _content(profile: LayerProfile) -> dict[str, Any]:
    metrics = {name: values.tolist() for name, values in profile.values.items()}
    return {"layers": profile.layers, "clients": profile.clients, "metrics": metrics}


def _write_csv(profile: LayerProfile) -> None:
    """Print a row for each layer as comma-separated values."""
    means = profile.means()
    rows = csv.writer(sys.stdout)
    rows.writerow(["depth", "layer", *means])
    for place, layer in enumerate(profile.layers):
        rows.writerow([place + 1, layer, *(float(values[place]) for values in means.values())])
