"""Run directories of numbers drawn at random, in no time: the report reads files, and no run is needed for it."""

import dataclasses

import jax
import numpy as np

from fedjax_layers import ops
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.records.soundness import soundness
from fedjax_layers.experiment.records.summary import client_arrays, round_record, summarise_run

CLASSES = ("accuracy", "macro_f1", "loss")
LANGUAGE = ("accuracy", "perplexity", "loss")


def made_run(
    path,
    algorithm="fedavg",
    seed=0,
    *,
    clients=4,
    rounds=3,
    metrics=CLASSES,
    models=("trained", "served", "global"),
    layers=("first", "last"),
    names=None,
    spoil=lambda name, values: values,
    ended=True,
    teams=None,
    partition_hash="same",
    **config,
):
    """Write the folder of a run.

    Args:
      path: the folder.
      spoil: ``(name, scores [C]) -> scores``, for scores that are missing.
      ended: whether there are a summary and clients' scores.
    """
    rng = np.random.default_rng([seed, len(algorithm)])
    chosen = RunConfig(algorithm=algorithm, seed=seed, rounds=rounds, clients=clients, **config)
    run = RunDirectory.create(path, chosen)
    run.write("manifest", {"partition_hash": partition_hash, "versions": {"jax": "1.2.3"}, "devices": {"count": 1}})
    units = [{"w": jax.ShapeDtypeStruct((10 * i + 5,), "float32")} for i in range(len(layers))]
    layer_map = dataclasses.replace(ops.layer_map(units), names=tuple(layers))
    history = History(HistoryFiles.new(run.history))
    for number in range(1, rounds + 1):
        history.add(_round(rng, clients, len(layers)), _evaluation(rng, number, clients, metrics, models, spoil))
        run.append_round(round_record(history))
    history.flush()
    if ended:
        about = {"algorithm": algorithm, "dataset": chosen.dataset, "seed": seed, "layers": layer_map}
        scored = {"scored_model": chosen.scored_model, "scored_round": chosen.scored_round}
        team_of = None if teams is None else np.arange(clients) % teams
        summary = summarise_run(history, **about, **scored, sizes=np.ones(clients), timing={}, team_of=team_of)
        more = {"unseen": None, "privacy": None, "controls": dict.fromkeys(_CONTROLS, 1), "cut": 1}
        run.write_summary(summary | soundness(history, chosen.scored_model) | more)
        named = {"client_names": np.array(names or [f"client {c}" for c in range(clients)])}
        run.write_clients(named | client_arrays(history))
    return run


_CONTROLS = ("initialisation", "permuted_labels", "weight_count")


def made_comparison(folder, algorithms=("local", "fedavg", "player_fl"), seeds=(0, 1), **options):
    """Write the folder of a comparison whose runs have all ended."""
    configs = [RunConfig(algorithm=name, seed=seed) for seed in seeds for name in algorithms]
    RunDirectory.create(folder, {"runs": configs})
    for config in configs:
        models = ("trained", "served") if config.algorithm == "local" else ("trained", "served", "global")
        path = folder / config.algorithm / f"seed-{config.seed}"
        made_run(path, config.algorithm, config.seed, **{"models": models, **options})
    return folder


def _round(rng, clients, layers):
    moved = np.full((1, layers), clients, np.int32)
    one = {"loss": rng.random(1), "participants": np.full(1, clients), "steps": np.full(1, clients)}
    bad = {"nonfinite": np.zeros(1, np.int32), "nonfinite_clients": np.full((1, 8), -1)}
    return (
        one | bad | {"sent": moved, "received": moved, "sent_scalars": np.full(1, 3), "scores": rng.random((1, layers))}
    )


def _evaluation(rng, number, clients, metrics, models, spoil):
    row = {"round": np.int64(number), "finished": np.bool_(False), "examples": np.ones(clients)}
    for model in models:
        for split in ("val", "test"):
            for metric in metrics:
                name = f"{model}/{split}/{metric}"
                row[name] = spoil(name, rng.random(clients))
    return row
