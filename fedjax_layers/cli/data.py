"""``fedjax-layers data``: list data sets, prepare them, and show how one is split among clients."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from fedjax_layers import data
from fedjax_layers.algorithms import ALONE
from fedjax_layers.cli.arguments import config_of
from fedjax_layers.cli.given import refuse_unused
from fedjax_layers.cli.run import usage_errors
from fedjax_layers.cli.usage import UsageError, check_place
from fedjax_layers.data.catalog import facts_of, markdown_table, numbers_of, whereabouts
from fedjax_layers.data.federated.partition_report import partition_facts, plot_partition, skew
from fedjax_layers.data.sources.own.hugging_face.columns import listed
from fedjax_layers.data.sources.own.pfllib.convert import convert
from fedjax_layers.data.tables.source import Found
from fedjax_layers.experiment.setup.early import check_early
from fedjax_layers.experiment.setup.prepare import load_clients
from fedjax_layers.options import unknown_name

_MOST_ROWS = 40  # largest number of clients that are listed one by one


def command(options: argparse.Namespace) -> int:
    """Run ``list``, ``prepare``, ``convert`` or ``show``; return 0."""
    actions = {"list": list_sets, "prepare": prepare, "convert": convert_folder, "show": show}
    with usage_errors():
        actions[options.action](options, options.status.console)
    return 0


def list_sets(options: argparse.Namespace, console: Console) -> None:
    """Print the data sets and their places on this machine; ``--markdown`` prints the documentation's table."""
    if options.unknown:
        raise UsageError(f"data list: expected no further arguments, got {options.unknown[0]!r}")
    if options.markdown:
        print(markdown_table())  # noqa: T201  (rich would wrap it)
        return
    folder = data.resolve_data_dir(options.data_dir)
    if options.json:
        sets = [facts_of(entry, whereabouts(entry, folder)) for entry in data.DATASETS.values()]
        options.status.print_result({"data_folder": str(folder), "data_sets": sets})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "what", "task", "examples", "classes", "natural clients", "here"):
        table.add_column(column, justify="right" if column in ("examples", "classes") else "left")
    details = []
    for entry in data.DATASETS.values():
        where = whereabouts(entry, folder)
        if where.detail:
            details.append(f"{entry.name}: {where.detail}")
        table.add_row(
            entry.name,
            entry.title,
            entry.task.replace("_", " "),
            numbers_of(entry),
            str(entry.classes or ""),
            entry.clients,
            where.kind,
        )
    console.print(table)
    for line in details:
        console.print(line, soft_wrap=True, markup=False)
    console.print(
        "own: stands for the one of these that fits the files at --path, or that --format names", soft_wrap=True
    )
    console.print(f"Data folder: {folder}. Licences and sources: fedjax-layers data list --markdown", soft_wrap=True)


def prepare(options: argparse.Namespace, console: Console) -> None:
    """Download missing files, write array_record data with TFDS, and decode them once into arrays."""
    if options.unknown:
        raise UsageError(
            f"data prepare: expected names and --data-dir, --out or --no-download, got {options.unknown[0]!r}"
        )
    for name in options.names:
        if name not in data.DATASETS:
            raise unknown_name("data set", name, data.DATASETS)
        if not data.DATASETS[name].layouts:
            raise ValueError(f"{name}: expected a data set with files to prepare, got one without")
    check_place("--out", options.out, folder=True)
    from fedjax_layers.data.tables import builders  # noqa: PLC0415  (imports TFDS)

    folder = data.resolve_data_dir(options.data_dir)
    out = Path(options.out or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    for number, name in enumerate(options.names, start=1):
        source = data.DATASETS[name]
        if options.download and not whereabouts(source, folder).there:
            console.print(f"[{number}/{len(options.names)}] {name}: downloading", markup=False)
            builders.download(source, folder)
        console.print(f"[{number}/{len(options.names)}] {name}: preparing", markup=False)
        counts = builders.counts(builders.prepare(source, folder, out))
        source.tables(out)  # decodes the data, so that the first run need not
        numbers = ", ".join(f"{split} {n:,}" for split, n in counts.items())
        console.print(f"{name}: {numbers} examples in {out / f'federated_{name}'}", soft_wrap=True)
    console.print(f"Runs find them with --data-dir {out}", soft_wrap=True)


def convert_folder(options: argparse.Namespace, console: Console) -> None:
    """Convert a folder in PFLlib's layout, and say how to read the new one."""
    if options.unknown:
        raise UsageError(f"data convert: expected a folder and --out, got {options.unknown[0]!r}")
    found = convert(Path(options.folder), Path(options.out), lambda name: options.status.say(f"converting {name}"))
    options.status.stop()
    numbers = ", ".join(f"{part} {number:,}" for part, number in found.examples.items())
    moved = "; channels are the last axis now" if found.moved else ""
    kind = f"{found.dtype} {list(found.shape)}{moved}"
    console.print(f"{found.clients} clients, {numbers} examples of {kind}", soft_wrap=True, markup=False)
    console.print(f"Runs read it with --dataset client_folder --path {options.out}", soft_wrap=True, markup=False)


def show(options: argparse.Namespace, console: Console) -> None:
    """Print each client's examples by class; ``--plot`` draws them, ``--save`` writes the partition file."""
    config = config_of(options, ALONE)
    refuse_unused(options, [config])
    if config.model_options:
        flag = "--" + next(iter(config.model_options)).replace("_", "-")
        raise UsageError(f"data show: expected flags of the data and their split, got {flag}")
    if options.save and Path(options.save).exists() and not options.overwrite:
        raise UsageError(f"--save: expected a new file, found one at {options.save}; --overwrite replaces it")
    with usage_errors():
        check_early(config, options.data_dir)
    check_place("--plot", options.plot)
    check_place("--save", options.save)
    options.status.say(f"loading {config.dataset}")
    clients = load_clients(config, options.data_dir)
    # Files are written before anything is printed, so that an error is the only line.
    if options.plot:
        plot_partition(clients, options.plot)
    if options.save:
        data.save_partition(clients, options.save)
    describe, path = data.DATASETS[config.dataset].describe, config.data_options.get("path")
    found = describe(Path(str(path)).expanduser()) if describe is not None and path else None
    options.status.stop()
    if options.json:
        told = {} if found is None else {"found": found._asdict()}
        options.status.print_result(partition_facts(clients) | told)
        return
    if found is not None:
        _print_found(found, console)
    _report(clients, console)
    if options.plot:
        console.print(f"Picture: {options.plot}", soft_wrap=True)
    if options.save:
        console.print(f"Partition file: {options.save} (for a run: --partition-file {options.save})", soft_wrap=True)


def _print_found(found: Found, console: Console) -> None:
    splits = ", ".join(f"{name} {number:,}" for name, number in found.splits.items())
    owned = f"; {found.clients:,} clients" if found.clients else ""
    console.print(f"Found: {splits} examples{owned}", soft_wrap=True, markup=False)
    for name, told in found.columns.items():
        console.print(f"  {name}: {told}", soft_wrap=True, markup=False)


def _report(clients: data.ClientData, console: Console) -> None:
    """Print sizes, a row per client, the distances between clients, duplicates, and the hash."""
    counts = clients.stratum_counts()
    numbers = skew(counts)
    strata = "classes" if clients.task == "classification" else "strata"
    console.print(
        f"{clients.name}: {clients.num_clients} clients, {int(counts.sum()):,} examples "
        f"({', '.join(f'{split} {int(n.sum()):,}' for split, n in clients.sizes.items())}"
        + (f", global test {clients.global_test:,}" if clients.global_test else "")
        + f"), {counts.shape[1]} {strata}",
        soft_wrap=True,
    )
    named = f"; classes: {listed(clients.class_names)}" if clients.class_names else ""
    shape = list(clients.inputs.shape[1:])
    console.print(f"Inputs: {clients.inputs.dtype} {shape}{named}", soft_wrap=True, markup=False)
    scheme = clients.partition
    console.print(
        f"Partition: {scheme.get('scheme')} {scheme.get('params', {})}, seed {scheme.get('seed')}", soft_wrap=True
    )
    if scheme.get("own_test"):
        console.print(f"Test splits: {scheme['own_test']:,} examples come from the test part of the data")
    if clients.num_clients <= _MOST_ROWS:
        console.print(_per_client(clients, counts, strata))
    console.print(
        f"Examples per client: {numbers.smallest:,} to {numbers.largest:,}, median {numbers.median:,.0f}; "
        f"{strata} held: {numbers.strata_held:.1f} on average; distance of a client's {strata} from all clients': "
        f"{numbers.distance:.3f} (0 alike, 1 apart)",
        soft_wrap=True,
    )
    copies = clients.duplicates
    console.print(
        f"Copies (equal content, another id): {copies.copies:,}; in more than one split of a client: "
        f"{copies.across_splits:,}; with more than one client: {copies.across_clients:,}; both trained and tested on: "
        f"{copies.train_test:,}",
        soft_wrap=True,
    )
    console.print(f"Partition hash: {clients.partition_hash}", soft_wrap=True)


def _per_client(clients: data.ClientData, counts: np.ndarray, strata: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("client", no_wrap=True)
    for column in (*clients.sizes, strata, "most frequent"):
        table.add_column(column, justify="right" if column != "most frequent" else "left")
    for c in range(clients.num_clients):
        top = int(counts[c].argmax())
        share = counts[c, top] / max(counts[c].sum(), 1)
        table.add_row(
            clients.client_name(c) + (", unseen" if clients.unseen[c] else ""),
            *(f"{int(n[c]):,}" for n in clients.sizes.values()),
            str(int((counts[c] > 0).sum())),
            f"{clients.strata_names[top] if clients.strata_names else top} ({share:.0%})",
        )
    return table
