"""Draws the pictures of docs/concepts.md: ``python docs/pictures/draw.py`` writes them beside this file.

They are drawn narrow, so that their words can be read on a phone, and take the colours of a light or a dark page.
"""

from html import escape
from pathlib import Path

WIDTH = 460
LIGHT = "--ink:#22303c;--soft:#5c6b78;--paper:#ffffff;--line:#9aa7b2;--shared:#cfe3f7;--own:#fbdcb8;--team:#d3ecd0"
DARK = "--ink:#e8edf2;--soft:#aab6c1;--paper:#1b2127;--line:#66727d;--shared:#1f4668;--own:#6b4415;--team:#25512a"
STYLE = f"""
svg.picture{{{LIGHT}}}
@media (prefers-color-scheme:dark){{svg.picture{{{DARK}}}}}
html[data-theme=light] svg.picture{{{LIGHT}}}
html[data-theme=dark] svg.picture{{{DARK}}}
svg.picture text{{font:14px system-ui,sans-serif;fill:var(--ink)}}
svg.picture .small{{font-size:12.5px;fill:var(--soft)}}
svg.picture .bold{{font-weight:600}}
svg.picture rect,svg.picture path.box{{stroke:var(--line);fill:var(--paper)}}
svg.picture .shared{{fill:var(--shared)}}
svg.picture .own{{fill:var(--own)}}
svg.picture .team{{fill:var(--team)}}
svg.picture .faint{{opacity:.4}}
svg.picture .dashed{{stroke-dasharray:5 4;fill:none}}
svg.picture .arrow{{stroke:var(--ink);stroke-width:1.5;fill:none}}
svg.picture .head{{fill:var(--ink)}}
"""


class Drawing:
    """A picture that grows by shapes."""

    def __init__(self, name: str, height: int) -> None:
        self.name, self.height, self.parts = name, height, []

    def box(self, x: float, y: float, w: float, h: float, kind: str = "", label: str = "", words: str = "") -> None:
        """Draw a box with a label in its middle."""
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="5"/>')
        if label:
            faint = "faint" if "faint" in kind else ""
            self.text(x + w / 2, y + h / 2 + 5, label, f"{words} {faint}".strip())

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> None:
        """Write a line of words."""
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>')

    def arrow(self, *points: tuple[float, float], kind: str = "") -> None:
        """Draw an arrow along points."""
        path = " L".join(f"{x} {y}" for x, y in points)
        self.parts.append(f'<path class="arrow {kind}" d="M{path}" marker-end="url(#{self.name}-head)"/>')

    def stack(self, x: float, y: float, w: float, kinds: list[str], words: tuple[str, ...] = (), h: float = 26) -> None:
        """Draw a model as its layers, the last one on top."""
        for place, kind in enumerate(reversed(kinds)):
            label = words[len(kinds) - 1 - place] if words else ""
            self.box(x, y + place * (h + 3), w, h, kind, label, "small")

    def save(self) -> None:
        """Write the file."""
        head = (
            f'<defs><marker id="{self.name}-head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            'markerHeight="7" orient="auto"><path class="head" d="M0 0L10 5L0 10z"/></marker></defs>'
        )
        size = f'viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}"'
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" {size}>', f"<style>{STYLE}</style>", head]
        text = "\n".join([*lines, *self.parts, "</svg>", ""])
        (Path(__file__).parent / f"{self.name}.svg").write_text(text, encoding="utf-8")


def client() -> None:
    """A client: its examples in three splits, and its model of layers."""
    d = Drawing("client", 204)
    d.box(6, 6, 448, 192, "dashed")
    d.text(20, 30, "client 2: one hospital", "bold", "start")
    d.text(20, 62, "its examples", "small", "start")
    d.text(346, 62, "its model", "small", "start")
    d.stack(346, 72, 96, ["", "", ""], ("layer 1", "layer 2", "layer 3"), 36)
    whats = (("train", 44, "change the weights"), ("val", 30, "choose the round that counts"), ("test", 30, "score it"))
    y = 72
    for label, height, what in whats:
        d.box(20, y, 74, height, "", label, "small")
        d.text(218, y + height / 2 - 3, what, "small")
        d.arrow((96, y + height / 2 + 3), (340, y + height / 2 + 3))
        y += height + 4
    d.save()


def round_() -> None:
    """A round: a cohort gets the server's model, trains, and sends back."""
    d = Drawing("round", 300)
    d.box(150, 10, 160, 62, "shared", "")
    d.text(230, 36, "server", "bold")
    d.text(230, 57, "4  averages what came", "small")
    taking = (0, 2, 3)
    for place in range(5):
        x, kind = 8 + place * 91, "own" if place in taking else "faint"
        d.box(x, 176, 80, 62, kind, "")
        d.text(x + 40, 202, f"client {place + 1}", "" if place in taking else "faint")
        if place in taking:
            d.text(x + 40, 223, "2  trains", "small")
            end = 190 + taking.index(place) * 40
            d.arrow((end - 7, 74), (x + 30, 173))
            d.arrow((x + 50, 173), (end + 7, 75))
    d.text(62, 112, "1  sends its model", "small")
    d.text(400, 112, "3  send theirs back", "small")
    d.text(8, 268, "Clients 1, 3 and 4 are this round's cohort; the others wait.", "small", "start")
    d.text(8, 288, "The next round draws another cohort.", "small", "start")
    d.save()


def layers() -> None:
    """Layers that are shared, and layers that stay with the client."""
    d = Drawing("layers", 262)
    for place in range(3):
        x = 8 + place * 96
        d.text(x + 42, 24, f"client {place + 1}")
        d.stack(x, 36, 84, ["shared", "shared", "own"], ("layer 1", "layer 2", "layer 3"), 36)
    d.text(400, 24, "server")
    d.stack(350, 75, 100, ["shared", "shared"], ("layer 1", "layer 2"), 36)
    d.parts.append('<path class="arrow" stroke-dasharray="6 5" d="M0 73.5 L338 73.5"/>')
    d.arrow((292, 104), (346, 104))
    d.arrow((346, 124), (292, 124))
    d.box(8, 176, 22, 18, "own")
    d.text(38, 190, "personal: each client keeps its own", "small", "start")
    d.box(8, 204, 22, 18, "shared")
    d.text(38, 218, "shared: the average over the clients, the same for all", "small", "start")
    d.text(8, 248, "The dashed line is the cut. Methods differ in where they draw it.", "small", "start")
    d.save()


def models() -> None:
    """The global model, the teams' models and the personal models."""
    d = Drawing("models", 262)
    d.box(150, 10, 160, 40, "shared", "global model")
    for place, x in enumerate((40, 270)):
        d.box(x, 96, 150, 40, "team", f"model of team {place + 1}")
        d.arrow((230, 52), (x + 75, 93))
        for slot in range(2):
            own = x - 28 + slot * 106
            d.box(own, 182, 98, 40, "own", f"client {2 * place + slot + 1}")
            d.arrow((x + 75, 138), (own + 49, 179))
    d.text(230, 248, "Each arrow is a pull: a model is kept near the one above it.", "small")
    d.save()


def served_trained() -> None:
    """The two moments at which a client's model is scored."""
    d = Drawing("served_trained", 212)
    for x, label, kind in ((6, "served", "shared"), (176, "trained", "own"), (346, "served", "shared")):
        d.box(x, 40, 108, 44, kind, label, "bold")
    d.arrow((116, 62), (173, 62))
    d.arrow((286, 62), (343, 62))
    d.text(60, 26, "round begins", "small")
    d.text(400, 26, "round ends", "small")
    d.text(145, 108, "local training", "small")
    d.text(315, 108, "the server's step", "small")
    for x in (60, 230, 400):
        d.arrow((x, 150), (x, 88), kind="")
    d.text(60, 168, "scored", "small")
    d.text(230, 168, "scored", "small")
    d.text(400, 168, "scored", "small")
    d.text(230, 200, "FedAvg serves one model to all; trained, it differs from client to client.", "small")
    d.save()


def way_of_the_data() -> None:
    """From files to a report."""
    d = Drawing("way_of_the_data", 474)
    steps = [
        ("files", "tables, pictures, texts", ""),
        ("one data set", "inputs [N, ...], labels [N]", ""),
        ("clients' data", "one pool; each client owns a range of rows", "own"),
        ("device", "the pool is copied once", ""),
        ("rounds", "one compiled program per interval", "shared"),
        ("history", "scores of every client, [C]", ""),
        ("run directory", "JSON, Parquet, safetensors", ""),
        ("report", "tables, pictures, pages", "team"),
    ]
    calls = ["fl.data.load", "partition, splits", "fl.to_device", "fl.simulate", "evaluation", "records", "fl.plot_..."]
    for place, (name, what, kind) in enumerate(steps):
        y = 6 + place * 59
        d.box(6, y, 300, 42, kind)
        d.text(18, y + 18, name, "bold", "start")
        d.text(18, y + 35, what, "small", "start")
        if place < len(calls):
            d.arrow((60, y + 44), (60, y + 57))
            d.text(318, y + 54, calls[place], "small", "start")
    d.save()


if __name__ == "__main__":
    for draw in (client, round_, layers, models, served_trained, way_of_the_data):
        draw()
