"""Runs whose data, or clients' state, stay on the host, from where each round's part is copied to the device."""

from fedjax_layers.engine.on_host.check import check_host
from fedjax_layers.engine.on_host.examples import first_cohort
from fedjax_layers.engine.on_host.intervals import adapt_scores, finish_run, run_intervals
from fedjax_layers.engine.on_host.models import models_of
from fedjax_layers.engine.on_host.run import first_state, moved_to_host

__all__ = [
    "adapt_scores",
    "check_host",
    "finish_run",
    "first_cohort",
    "first_state",
    "models_of",
    "moved_to_host",
    "run_intervals",
]
