"""The page's section on layers: what is shared, how many bytes it takes, and what algorithms record of each layer."""

from __future__ import annotations

import numpy as np

from fedjax_layers.experiment.finished.methods import Compared, Method, Traffic, layer_band, traffic_of
from fedjax_layers.report.page.elements import Element, el, name, table
from fedjax_layers.report.page.figure import View, figure
from fedjax_layers.report.page.line_chart import Labels, Line
from fedjax_layers.report.page.scales import byte_unit


def layer_section(compared: Compared) -> Element | None:
    """Make the section; ``None`` where nothing is known of any layer."""
    figures = [figure for method in compared.methods if (figure := _recorded(method)) is not None]
    tables = _traffic(compared)
    if not figures and not tables:
        return None
    return el("section", el("h2", "Layers"), tables, el("div", figures, class_="figures"))


def _traffic(compared: Compared) -> list[Element]:
    """Make a table for each model: its layers in rows, the methods in columns, bytes and how often each was sent."""
    known = [(method, found) for method in compared.ended if (found := traffic_of(method)) is not None]
    made = []
    for layers in dict.fromkeys(found.layers for _, found in known):
        own = [(method, found) for method, found in known if found.layers == layers]
        most = max(float(found.bytes.max(initial=0)) for _, found in own) or 1.0
        size, unit = byte_unit(most)
        rows = [[name(layer), *(_cell(found, i, most, size) for _, found in own)] for i, layer in enumerate(layers)]
        caption = f"{unit} of each layer, up and down; on the left, the share of rounds in which clients sent it"
        made.append(table(["layer", *(name(method.label) for method, _ in own)], rows, caption, class_="heat"))
    return made


def _cell(found: Traffic, layer: int, most: float, size: float) -> Element:
    moved, share = float(found.bytes[layer]) / size, float(found.shared[layer])
    told = f"{share:.0%}" if np.isfinite(share) else ""
    strength = f"--share:{found.bytes[layer] / most:.3f}"
    return el("div", el("span", f"{moved:,.2f}"), el("small", told), class_="share", style=strength)


def _recorded(method: Method) -> Element | None:
    """Make the figure of what the algorithm records of its layers or blocks in each round."""
    views, several = [], len(method.runs) > 1
    for number, record in enumerate(method.runs[0].layers):
        band = layer_band(method, number)
        if band is None:
            continue
        lines = [
            Line(i, one, band.x, band.mean[:, i], band.low[:, i], band.high[:, i]) for i, one in enumerate(record.names)
        ]
        labels = Labels(f"{method.label}: {record.title}", "round", record.short)
        views.append(View((record.short,), labels, lines, whole=True, note=f"{record.title}."))
    told = "The band goes from the lowest to the highest seed." if several else ""
    return figure(
        f"{method.label}: its layers over the rounds",
        views,
        pickers=("show",),
        told=told,
        scope=f"{method.label}, {method.runs[0].config.get('dataset')}",
    )
