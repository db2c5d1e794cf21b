"""Execution of an experiment, with records and checkpoints on the way."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fedjax_layers.algorithms import registry
from fedjax_layers.engine.announce import Say, say_nothing
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import setting_of
from fedjax_layers.engine.memory.process import peak_memory_bytes
from fedjax_layers.engine.on_host import models_of
from fedjax_layers.engine.patience import Patience
from fedjax_layers.engine.programs.compile_clock import compile_clock
from fedjax_layers.engine.run_loop import finish_run, run_intervals, start_state
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.controls import control_decisions
from fedjax_layers.experiment.privacy import guarantee
from fedjax_layers.experiment.recorder import Recorder
from fedjax_layers.experiment.records.class_summary import class_summary
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.records.same_run import refuse_another_run
from fedjax_layers.experiment.records.saved_models import save_models
from fedjax_layers.experiment.records.soundness import refuse_nonfinite, soundness
from fedjax_layers.experiment.records.summary import (
    client_arrays,
    client_facts,
    summarise_run,
)
from fedjax_layers.experiment.setup.attack import attackers_of
from fedjax_layers.experiment.setup.design import deciding_sizes
from fedjax_layers.experiment.setup.prepare import Experiment
from fedjax_layers.experiment.tracking.tracker import Tracker, Tracking
from fedjax_layers.experiment.unseen import adapted_scores, unseen_summary
from fedjax_layers.storage import locked

SAVE_EVERY = 20.0
"""Seconds between two checkpoints, unless others are asked for."""
Progress = Callable[[int, History], object]
Stop = Callable[[int], bool]


def execute(
    experiment: Experiment,
    directory: RunDirectory | None = None,
    *,
    resume: bool = False,
    progress: Progress = lambda *_: None,
    stop: Stop = lambda _: False,
    say: Say = say_nothing,
    save_every: float | None = None,
    track: Tracker | None = None,
) -> tuple[dict[str, Any], History]:
    """Run an experiment to its end, or until ``stop`` returns True.

    Args:
      experiment: the experiment, from :func:`prepare`.
      directory: the run directory for records and checkpoints; ``None`` writes nothing.
      resume: whether to continue from the newest checkpoint, if there is one.
      progress: called with (rounds done, history) when an evaluation has arrived; the next rounds may have started.
      stop: called with the rounds done before further ones start; True ends the run after a checkpoint.
      say: called with what starts outside the rounds: compiling, controls, saving.
      save_every: seconds between two checkpoints, also within an interval that takes longer; ``None`` means
        :data:`SAVE_EVERY`.
      track: a tracker that is told of each evaluated round and of the end; its errors are warnings.

    Returns:
      The summary (empty if the run was stopped) and the history.

    Raises:
      ValueError: the continued run has more rounds than the config asks for.
      NonFiniteError: the results of a client are not finite, and the config says to stop then.
      StorageError: another process runs in the directory, the run was begun with other data or settings of JAX, or a
        file cannot be written.
    """
    seconds = SAVE_EVERY if save_every is None else save_every
    with contextlib.nullcontext() if directory is None else locked(directory.path), Tracking(track) as tracking:
        recorder = Recorder(directory, resume, seconds, tracking)
        summary, history = _execute(experiment, directory, recorder, progress, stop, say)
        tracking.finish(summary)
        return summary, history


def _execute(
    experiment: Experiment,
    directory: RunDirectory | None,
    recorder: Recorder,
    progress: Progress,
    stop: Stop,
    say: Say,
) -> tuple[dict[str, Any], History]:
    started = time.perf_counter()
    with compile_clock() as clock, recorder:
        if directory is not None and recorder.resume:
            refuse_another_run(directory, experiment.data)
        builder, inputs = experiment.builder, experiment.inputs
        say("compiling the start")
        first_round, state = recorder.restore(start_state(builder, experiment.plan, inputs, experiment.config.store))
        if first_round > experiment.config.rounds:
            raise ValueError(f"rounds: expected at least the {first_round} done, got {experiment.config.rounds}")
        history = recorder.begin(experiment, first_round)
        say("compiling and running the first rounds")
        state, complete = _run_rounds(experiment, state, history, recorder, progress, stop)
        if not complete:
            return {}, history
        say("after the last round")
        keep = directory is not None and experiment.config.save_model
        finished = finish_run(builder, experiment.plan, inputs, state, history, keep=keep)
        unseen = experiment.data.unseen
        adapted = adapted_scores(builder, experiment.plan, inputs, state, history, unseen)
        history.flush()
    seconds = time.perf_counter() - started
    steps = int(history.rounds["steps"][first_round:].sum(dtype=np.int64))
    timing = {
        "client_steps_per_second": steps / max(seconds - clock.seconds, 1e-9),
        "compile_seconds": clock.seconds,
        "compilations": clock.compilations,
        "wall_seconds": seconds,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    summary = summary_of(experiment, history, timing, say)
    summary["unseen"] = unseen_summary(history, adapted, unseen, experiment.data.sizes["train"])
    if directory is not None:
        say("writing the results")
        facts = client_facts(experiment.data, experiment.team_of, attackers_of(experiment.config, experiment.data))
        directory.write_clients(facts | client_arrays(history) | adapted)
        if keep:
            models = models_of(builder, setting_of(experiment.plan, inputs.device_data), inputs.hyper, state)
            save_models(directory.path, models, finished, experiment.plan.task.layers)
        directory.write_summary(summary)  # last, since a comparison passes over a run that has one
    return summary, history


def _run_rounds(
    experiment: Experiment, state: Any, history: History, recorder: Recorder, progress: Progress, stop: Stop
) -> tuple[Any, bool]:
    """Run all rounds; return the state, and False if they were stopped."""
    config, builder, plan, inputs = experiment.config, experiment.builder, experiment.plan, experiment.inputs
    ended = patience_of(config, deciding_sizes(experiment.data))
    # A run that had stopped early has no round left when it is resumed.
    rounds = history.rounds_done if ended(history) else config.rounds
    stopped, looked = False, history.rounds_done

    def looked_at(done: int) -> bool:
        nonlocal stopped
        stopped = stop(done)
        return stopped or config.patience is not None or recorder.due

    parts = recorder.part_seconds
    for done, current, _ in run_intervals(
        builder, plan, inputs, state, history, rounds, looked_at=looked_at, part_seconds=parts
    ):
        evaluated = int(history.latest.get("round", 0)) == done  # or the rounds are a part of an interval
        if evaluated:
            progress(done, history)
            recorder.record(history)
        refuse_nonfinite(config, history, looked)
        looked = done
        if current is None:  # the state was donated to the next interval
            continue
        state = current
        last = done == config.rounds or (evaluated and ended(history))
        if stopped or last or recorder.due:
            recorder.save(done, state, history)
        if stopped or last:
            return state, last
    return state, True


def summary_of(
    experiment: Experiment, history: History, timing: dict[str, float | int], say: Say = say_nothing
) -> dict[str, Any]:
    """Make the content of ``summary.json``, including what the algorithm reports beside its scores."""
    config = experiment.config
    summary = summarise_run(
        history,
        algorithm=config.algorithm,
        dataset=config.dataset,
        seed=config.seed,
        layers=experiment.plan.task.layers,
        sizes=experiment.data.sizes["train"],
        scored_model=config.scored_model,
        scored_round=config.scored_round,
        timing=timing,
        unseen=experiment.data.unseen,
        team_of=experiment.team_of,
        attackers=attackers_of(config, experiment.data),
    )
    unseen = experiment.data.unseen
    of_values = experiment.data.task in ("regression", "survival")
    guess = math.inf if of_values else math.log(max(experiment.data.num_classes, 2))
    summary["privacy"] = guarantee(config, experiment.data, history.rounds_done)
    summary |= soundness(history, config.scored_model, unseen, guess)
    summary["per_class"] = class_summary(
        history, config.scored_model, config.scored_round, experiment.data.class_names, unseen
    )
    report = registry[config.algorithm].report
    if report is not None:
        summary |= report.summary(history.rounds)
    if report is not None and report.controls is not None:
        say("computing the controls")
        parts = (experiment.builder, experiment.plan, experiment.inputs, experiment.data)
        summary["controls"] = control_decisions(report.controls, *parts, config.seed)
    return summary


def patience_of(config: RunConfig, sizes: np.ndarray) -> Callable[[History], bool]:
    """Make a function that says of one run's growing history whether the run should stop early.

    Args:
      config: the config with ``patience`` and ``scored_model``.
      sizes: ``[C]`` weights, see :func:`deciding_sizes`.
    """
    if config.patience is None:
        return lambda history: False
    watch, name = Patience(sizes, config.patience), f"{config.scored_model}/val/loss"
    return lambda history: watch.follow(history.rows(name, watch.looked))


def out_of_patience(config: RunConfig, history: History, sizes: np.ndarray) -> bool:
    """Return whether a run with this history has stopped early; ``sizes [C]`` as in :func:`patience_of`."""
    name = f"{config.scored_model}/val/loss"
    return config.patience is not None and Patience(sizes, config.patience).follow(history.evaluations.get(name, ()))
