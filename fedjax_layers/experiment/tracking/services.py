"""TensorBoard, MLflow and Weights & Biases as trackers; each is imported when it is asked for."""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedjax_layers.experiment.tracking.tracker import keep_id, known_id, summary_numbers

PROJECT = "fedjax-layers"
"""The project of Weights & Biases, unless the variable ``WANDB_PROJECT`` names another."""


class TensorBoard:
    """Event files in ``tensorboard/`` of the run directory, written by tensorboardX.

    A resumed run writes another file there, which takes the place of the rounds that it repeats.

    Args:
      folder: the run directory.

    Raises:
      ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._module = importlib.import_module("tensorboardX")
        self._folder, self._config = folder / "tensorboard", ""
        self._writer: Any = None

    def start(self, config: Mapping[str, Any]) -> None:
        """Keep the config, which is written with the first round."""
        self._config = json.dumps(config, indent=2)

    def log(self, round: int, metrics: Mapping[str, float]) -> None:  # noqa: A002
        """Write a scalar for each metric."""
        if self._writer is None:
            own = f".{secrets.token_hex(4)}"  # else two files of one second have one name
            self._writer = self._module.SummaryWriter(str(self._folder), purge_step=round, filename_suffix=own)
            self._writer.add_text("config", _as_code(self._config))
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, round)
        self._writer.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary as text, and close the file."""
        if self._writer is not None:
            if summary:
                self._writer.add_text("summary", _as_code(json.dumps(summary_numbers(summary), indent=2)))
            self._writer.close()


class Mlflow:
    """A run of MLflow, where ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME`` say.

    Args:
      folder: the run directory, which remembers the id of MLflow's run.

    Raises:
      ImportError: MLflow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._module, self._folder = importlib.import_module("mlflow"), folder

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin or continue the run; MLflow does not let the parameters of a continued one change."""
        before = known_id(self._folder, "mlflow")
        run = self._module.start_run(run_id=before, run_name=None if before else _name_of(config))
        if before is None:
            keep_id(self._folder, "mlflow", run.info.run_id)
            self._module.log_params({name: value for name, value in config.items() if value not in (None, {}, [])})

    def log(self, round: int, metrics: Mapping[str, float]) -> None:  # noqa: A002
        """Log the metrics with the round as step."""
        self._module.log_metrics(dict(metrics), step=round)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Log the numbers of the summary, and end the run."""
        if summary:
            self._module.log_metrics(summary_numbers(summary, "summary/"))
        self._module.end_run("FINISHED" if summary else "KILLED")


class Wandb:
    """A run of Weights & Biases in the project :data:`PROJECT`.

    Args:
      folder: the run directory, which remembers the id of the run.

    Raises:
      ImportError: wandb is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._module, self._folder = importlib.import_module("wandb"), folder
        self._run: Any = None

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin the run, or continue it."""
        self._run = self._module.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=known_id(self._folder, "wandb"),
            resume="allow",
            name=_name_of(config),
            config=dict(config),
            dir=str(self._folder),
        )
        keep_id(self._folder, "wandb", self._run.id)

    def log(self, round: int, metrics: Mapping[str, float]) -> None:  # noqa: A002
        """Log the metrics with the round as step; W&B passes over steps that it has."""
        self._run.log(dict(metrics), step=round)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Add the numbers of the summary, and end the run."""
        if self._run is None:
            return
        self._run.summary.update(summary_numbers(summary, "summary/"))
        self._run.finish(exit_code=0 if summary else 1)


def _name_of(config: Mapping[str, Any]) -> str:
    return f"{config.get('algorithm')}-{config.get('dataset')}-seed-{config.get('seed')}"


def _as_code(text: str) -> str:
    """Indent text, so that TensorBoard's Markdown shows it as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())
