"""FedTLU on GPT-2: a round of the 124-million-parameter model, its seconds and its memory.

With the published weights in ``DATA/gpt2`` (``config.json``, ``model.safetensors``, ``tokenizer.json``) the run
fine-tunes them on WikiText-2. Without, it is GPT-2's architecture from random numbers, the head tied to WikiText's
33,279 words: 111 million parameters. The paper preset wants a GPU; smoke and laptop are the same at reduced size.

    python -m experiments.fedtlu_gpt2 --preset paper --data-dir DATA
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.fedtlu_runs import plain
from experiments.harness import run_cells
from fedjax_layers.data import resolve_data_dir
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.summary import pooled_scores
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.initial import is_gpt2
from fedjax_layers.experiment.setup.prepare import prepare

GPT2 = {"layers": 12, "width": 768, "heads": 12, "tied": True}
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "rounds": 1,
        "steps": 1,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "model_options": {"layers": 3, "width": 32, "heads": 4, "tied": True},
        "data": {"vocabulary": 500, "length": 16, "split": "val", "limit": 8},
        "clients": 4,
        "cohort": 2,
    },
    "laptop": {
        "seeds": 1,
        "rounds": 3,
        "steps": 4,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "model_options": {"layers": 12, "width": 96, "heads": 12, "tied": True},
        "data": {"vocabulary": 5_000, "length": 64, "split": "val"},
        "clients": 20,
        "cohort": 4,
    },
    "paper": {
        "seeds": 1,
        "rounds": 3,
        "steps": 10,
        "batch_size": 8,
        "learning_rate": 5e-5,
        "model_options": GPT2,
        "data": {"length": 128, "split": "all", "global_test": "official"},
        "clients": 100,
        "cohort": 10,
    },
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {"FedAvg": ("fedavg", {}), "FedTLU": ("fedtlu", {"k": 2})}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("fedtlu_gpt2", __doc__, argv, PRESETS, _cells, _run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    shared = {name: preset[name] for name in ("clients", "cohort", "model_options", "data")}
    for name, (algorithm, options) in METHODS.items():
        yield {"method": name}, shared | {"algorithm": algorithm, "options": options}


def _run(
    data_dir: str | None,
    *,
    seed: int,
    algorithm: str,
    options: dict[str, Any],
    data: dict[str, Any],
    model_options: dict[str, Any],
    **fields: Any,
) -> dict[str, Any]:
    folder = resolve_data_dir(data_dir) / "gpt2"
    published = model_options == GPT2 and is_gpt2(str(folder))
    config = RunConfig(
        algorithm=algorithm,
        algorithm_options=options,
        dataset="wikitext2",
        data_options={"global_test": 0.1, "alpha": 0.5, "topics": 5, "min_size": 1}
        | data
        | ({"tokens": str(folder / "tokenizer.json")} if published else {}),
        partition="dirichlet",
        model="transformer",
        model_options={} if published else model_options,
        init_from=str(folder) if published else None,
        optimizer="adam",
        scored_model="served",
        evaluated_models="served",
        scored_round="last",
        client_width="1",
        seed=seed,
        **fields,
    )
    experiment = prepare(config, data_dir)
    summary, history = execute(experiment)
    scores = pooled_scores(history, "global_test")
    seconds = summary["wall_seconds"] - summary["compile_seconds"]
    return {
        "parameters": sum(experiment.plan.task.layers.sizes),
        "published_weights": published,
        "perplexity": None if scores is None else scores["perplexity"],
        "compile_seconds": summary["compile_seconds"],
        "seconds": seconds / fields["rounds"],
        "memory": summary["peak_memory_bytes"],
    }


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = [
        "| method | parameters | weights | perplexity | compilation, s | a round, scored, s | peak memory, GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        weights = "published" if r["published_weights"] else "random"
        numbers = [f"{r['parameters']:,}", weights, plain({0: r["perplexity"]}), f"{r['compile_seconds']:.0f}"]
        lines.append(f"| {r['method']} | {' | '.join(numbers)} | {r['seconds']:.1f} | {r['memory'] / 2**30:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
