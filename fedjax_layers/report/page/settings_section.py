"""The page's settings, the commands that repeat the runs, and the environment in which they were computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedjax_layers.experiment.finished.measured import MeasuredRun
from fedjax_layers.experiment.finished.methods import Compared
from fedjax_layers.experiment.finished.settings import flat_config, given_settings, shown
from fedjax_layers.report.page.elements import Element, el, name, table


def settings_section(compared: Compared) -> Element:
    """Make the section: settings that were given, those in which methods differ, and all."""
    configs = {method.label: flat_config(method.runs[0].config) for method in compared.methods}
    given: dict[str, Any] = {}
    for method in compared.methods:
        given |= given_settings(method.runs[0].config)
    rows = [[key, *_values(key, configs)] for key in given if key != "algorithm"]
    seeds = sorted({run.seed for method in compared.methods for run in method.runs})
    rows.append(["seeds", *[shown(seeds)] * (len(rows[0]) - 1)])
    every = list(dict.fromkeys(key for config in configs.values() for key in config))
    rest = [[key, *_values(key, configs)] for key in every if key not in given]
    head = ["setting", *(name(label) for label in configs)]
    return el(
        "section",
        el("h2", "Settings"),
        table(head, _merged(rows, len(configs)), "What was chosen", class_="settings", left=len(head)),
        el(
            "details",
            el("summary", f"All {len(rest)} other settings, as they were by default"),
            table(head, _merged(rest, len(configs)), "Other settings", class_="settings", left=len(head)),
        ),
        class_="long",
    )


def _values(key: str, configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [shown(config[key]) if key in config else "–" for config in configs.values()]


def _merged(rows: Sequence[list[str]], columns: int) -> list[list[Any]]:
    """Write a value that all methods have in one cell across all of them."""
    return [row if len(set(row[1:])) > 1 else [row[0], el("td", row[1], colspan=columns)] for row in rows]


def sweep_settings(config: Mapping[str, Any]) -> Element:
    """Make the section of a sweep, from the config of its first run."""
    given = given_settings(config)
    rows = [[key, shown(value)] for key, value in given.items()]
    rest = [[key, shown(value)] for key, value in flat_config(config).items() if key not in given]
    more = table(["setting", "value"], rest, "Other settings", class_="settings", left=2)
    summary = el("summary", f"All {len(rest)} other settings of the first run")
    told = "What was chosen, in the first run"
    first = table(["setting", "value"], rows, told, class_="settings", left=2)
    return el("section", el("h2", "Settings"), first, el("details", summary, more))


def commands_section(commands: Sequence[tuple[str, str]]) -> Element | None:
    """Make the section with the command that repeats each folder."""
    if not commands:
        return None
    blocks = [
        el("div", el("p", name(folder), class_="note") if len(commands) > 1 else None, _command(command))
        for folder, command in commands
    ]
    return el("section", el("h2", "To run this again"), blocks)


def _command(text: str) -> Element:
    copy = el("button", "Copy", type="button", class_="copy")
    return el("div", el("pre", el("code", text), tabindex="0"), copy, class_="command")


def environment_line(runs: Sequence[MeasuredRun]) -> str:
    """Say with which versions and on what the first run was computed; empty where it is not known."""
    manifest = next((run.manifest for run in runs if isinstance(run.manifest.get("versions"), Mapping)), {})
    versions, devices = manifest.get("versions", {}), manifest.get("devices", {})
    named = [f"{one} {versions[one]}" for one in ("fedjax_layers", "jax", "numpy", "python") if one in versions]
    where = f"{devices.get('count')} × {devices.get('kind', devices.get('backend', 'device'))}" if devices else ""
    written = str(manifest.get("written", ""))[:10]
    return ", ".join(part for part in (*named, where, written) if part)
