"""The report's page: whole for every kind of run, and every text in it is inert."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from fedjax_layers.experiment.config.named_options import with_setting
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.report.page.elements import clean, data, el, html, table
from fedjax_layers.report.page.figure import View, figure
from fedjax_layers.report.page.found import find
from fedjax_layers.report.page.line_chart import Labels, Line, line_chart, style_of
from fedjax_layers.report.page.page import page, write_report
from fedjax_layers.report.page.scales import axis_of, byte_unit
from fedjax_layers.storage import StorageError
from fedjax_layers.sweeps.configs import swept_runs
from fedjax_layers.sweeps.request import SweepRequest
from fedjax_layers.sweeps.results import SweepFolder, sweep_config
from tests.report.made_runs import LANGUAGE, made_comparison, made_run

HOSTILE = ("</script><script>alert(1)</script>", "\"'&<b onclick=x>", "\u202egnp\u202c עברית", "x" * 300)
NAN = float("nan")


class Outline(HTMLParser):
    """What a browser would see: elements with their attributes, and texts by element."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, found):
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(found)

    def count(self, tag, **attributes):
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return sum(name == tag and wanted.items() <= own.items() for name, own in self.tags)


def shown(*folders):
    return page(find(folders))


def check_sound(text):
    """No chart is empty, no value is NaN, and no script but the page's own can run."""
    outline = Outline(text)
    assert "nan" not in re.sub(r"<(style|script)[^>]*>.*?</\1>", "", text, flags=re.S).lower().replace("finance", "")
    for tag, attrs in outline.tags:
        assert not any(name.startswith("on") for name in attrs), attrs
        if tag == "path":
            assert re.match(r"M-?[\d.]", attrs["d"]), attrs
        if tag == "script":
            assert attrs in ({}, {"type": "application/json", "class": "people"})
        assert tag not in ("a", "img", "link", "iframe", "object")
    assert outline.count("script", class_="people") <= outline.count("figure")
    assert outline.count("svg", class_="chart") == outline.count("div", class_="view")
    assert "http" not in text.replace('http-equiv="', "")
    return outline


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return made_comparison(tmp_path_factory.mktemp("page") / "all", names=HOSTILE)


@pytest.fixture(scope="module")
def compared_page(compared):
    return shown(compared)


def test_a_comparison(compared, compared_page):
    outline = check_sound(compared_page)
    assert "3 methods, 4 clients of digits, 3 rounds, 2 seeds" in outline.texts["title"]
    for title in ("Results", "Paired differences", "Learning curves", "Clients", "Score against bytes", "Layers"):
        assert title in outline.texts["h2"] + outline.texts["h3"]
    assert outline.texts["code"] == ["fedjax-layers compare local,fedavg,player_fl --seeds 2"]
    rows = outline.texts["td"]
    summary = json.loads((compared / "fedavg" / "seed-0" / "summary.json").read_text())
    assert 0 < summary["bytes_up"] < 5000, "little, and shown as such"
    assert f"{summary['bytes_up'] / 1e6:.2g}" in rows
    assert any(text.startswith("undecided, fewer than 10 seeds") for text in outline.texts["span"])
    assert any("Control cuts" in text for text in outline.texts["li"])
    assert outline.count("svg", class_="interval undecided") == 4
    assert compared_page.count("gain, ") >= 3, "who gains and who loses"
    assert outline.count("button", aria_pressed="true") > 10


def test_names_of_clients_are_inert(compared_page):
    (people,) = re.findall(r'<script type="application/json" class="people">(.*?)</script>', compared_page)
    assert sorted(json.loads(people)) == sorted(f"{name}, seed {seed}" for name in HOSTILE for seed in (0, 1))
    assert "alert(1)</script>" not in compared_page
    assert compared_page.count("<script>") == 1


def test_one_run_one_client_one_round(tmp_path):
    text = shown(made_run(tmp_path / "run", "local", clients=1, rounds=1, models=("trained",), layers=("only",)).path)
    outline = check_sound(text)
    assert "local, 1 client of digits, 1 round, 1 seed" in outline.texts["title"]
    assert "Paired differences" not in text
    assert 'class="line c0 d0 dot"' in text, "a single point is a dot"


def test_the_same_run_in_another_folder_has_the_same_page(tmp_path):
    one, two = (shown(made_run(tmp_path / name, "player_fl", rounds=1).path) for name in ("one", "two"))
    assert one == two


def test_language_models_and_teams(tmp_path):
    models = ("trained", "served", "team", "global")
    folder = made_comparison(tmp_path / "all", ("permfl", "fedavg"), metrics=LANGUAGE, models=models, teams=2)
    outline = check_sound(shown(folder))
    assert "perplexity (lower is better)" in outline.texts["text"]
    assert {"team's", "global", "own, served"} <= set(outline.texts["button"])
    assert any(text.startswith("Team models of permfl, 2 teams: perplexity") for text in outline.texts["li"])


def test_scores_that_are_missing_leave_gaps(tmp_path):
    def some(name, values):
        return np.where(np.arange(4) < 2, NAN, values)

    def none(name, values):
        return values * NAN if "loss" not in name else np.where(np.arange(4) < 3, NAN, np.inf)

    for i, spoil in enumerate((some, none)):
        folder = made_comparison(tmp_path / str(i), ("local", "fedavg", "fedprox"), spoil=spoil)
        check_sound(shown(folder))


def test_what_is_not_finished_or_damaged_is_said(tmp_path, compared):
    folder = made_comparison(tmp_path / "all")
    (folder / "fedavg" / "seed-0" / "summary.json").unlink()
    (folder / "local" / "seed-1" / "summary.json").write_text("{")
    (folder / "player_fl" / "seed-1" / "config.json").unlink()
    outline = check_sound(shown(folder))
    notes = outline.texts["li"]
    assert "fedavg, seed 0: not finished, 3 of 3 rounds." in notes
    assert f"{folder}: 1 of 6 runs have not begun." in notes
    assert any("summary.json: expected a file that can be read" in note for note in notes)
    begun = made_run(tmp_path / "begun", ended=False)
    assert "not finished" in shown(begun.path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"of": "something else"}')
    both = Outline(shown(compared, broken))
    assert any(str(broken) in note for note in both.texts["li"])
    with pytest.raises(StorageError, match="expected the config of a run"):
        shown(broken)


def test_several_folders_are_compared_where_their_clients_are_the_same(tmp_path):
    one = made_run(tmp_path / "one", "local")
    two = made_run(tmp_path / "two", "fedavg")
    three = made_run(tmp_path / "three", "fedavg", dataset="heart")
    together = check_sound(shown(one.path, two.path))
    assert "2 methods, 4 clients of digits, 3 rounds, 1 seed" in together.texts["title"]
    assert len(together.texts["code"]) == 2
    apart = check_sound(shown(one.path, two.path, three.path))
    assert apart.texts["title"][0] == "2 experiments"
    assert apart.texts["h2"].count("Results") == 2


@pytest.mark.parametrize("ended", [0, 1, 4])
def test_a_sweep(tmp_path, ended):
    base = RunConfig(algorithm="fedprox", dataset="heart")
    request = SweepRequest([{"mu": mu} for mu in (0.1, 1.0)], (0, 1))
    runs = swept_runs(request, lambda setting: with_setting(base, setting))
    folder = SweepFolder.create(tmp_path / "sweep", sweep_config(runs, {}))
    scores = ("personal/val/macro_f1", "personal/test/macro_f1", "personal/test/macro_f1/n", "bytes_up")
    rows = [
        {"run": run.number, "seed": run.seed, "why": "finished", "rounds": 3, **run.setting}
        | dict.fromkeys(scores, 0.5)
        for run in runs
    ]
    folder.append(rows[:ended])
    outline = check_sound(shown(folder.path))
    assert "fedprox with 2 settings, heart, 50 rounds, 2 seeds" in outline.texts["title"]
    assert outline.texts["code"] == ["fedjax-layers sweep fedprox --dataset heart --vary mu=0.1,1.0 --seeds 2"]
    assert (outline.count("figure") > 0) == (ended > 0)
    if ended < 4:
        assert outline.texts["li"] == [f"{folder.path}: {4 - ended} of 4 runs are missing."]


def test_only_an_earlier_report_is_replaced(tmp_path, compared):
    out = tmp_path / "page.html"
    size = write_report([compared], out)
    assert write_report([compared], out) == size == out.stat().st_size
    out.write_text("notes of mine")
    for bad, message in ((out, "earlier report"), (tmp_path, "found the folder"), (tmp_path / "no" / "x", "no folder")):
        with pytest.raises(ValueError, match=message):
            write_report([compared], bad)
    with pytest.raises(ValueError, match="found none at"):
        write_report([tmp_path / "nowhere"], tmp_path / "other.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]


def test_everything_is_escaped():
    made = html(el("p", *HOSTILE, title=HOSTILE[1], hidden=True, lang=None))
    assert Outline(made).tags == [("p", {"title": HOSTILE[1], "hidden": ""})]
    assert Outline(made).texts == {"p": ["".join(HOSTILE)]}
    assert "&lt;script&gt;" in made
    assert ' hidden="' in made
    assert "lang" not in made
    assert clean("a\x00b\ud800\x1b\x85") == "a\ufffdb\ufffd\ufffd\ufffd"
    assert "<" not in html(data([HOSTILE])).removeprefix("<script ").removesuffix("</script>")
    cells = Outline(html(table(["a", "b"], [[HOSTILE[0], HOSTILE[1]]], HOSTILE[1])))
    assert cells.texts["th"][2] == HOSTILE[0]


AXES = [
    ([0.11, 0.93], ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ([1, 50], ["0", "10", "20", "30", "40", "50"]),
    ([0.5, 0.5], ["0.44", "0.46", "0.48", "0.50", "0.52", "0.54", "0.56"]),
    ([0, 0], ["-0.4", "-0.2", "0", "0.2", "0.4"]),
    ([3e7, 9e7], ["2.00e7", "4.00e7", "6.00e7", "8.00e7", "1.00e8"]),
    ([0.00101, 0.00399], ["0.001", "0.002", "0.003", "0.004"]),
]


@pytest.mark.parametrize(("values", "texts"), AXES)
def test_axes_have_round_numbers(values, texts):
    axis = axis_of([np.array(values, float), np.array([NAN, np.inf])])
    assert [text for text in axis.texts if text in texts] == texts
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert axis_of([np.array([NAN])]) is None


def test_long_texts_have_room():
    assert axis_of([np.array([123456.0, 123457.0])]).texts == ["123,456.0", "123,456.4", "123,456.8"]


def test_bytes_have_a_unit_of_their_size():
    assert [byte_unit(x) for x in (0, 5e5, 3e6, 2e12)] == [(1e3, "kB"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")]


def test_rounds_are_whole_numbers():
    assert axis_of([np.array([1.0, 3.0])], whole=True, padded=False).texts == ["1", "2", "3"]
    assert axis_of([np.array([1.0])], whole=True, padded=False).texts == ["1"]


def test_a_line_is_interrupted_where_a_value_is_missing():
    line = Line(0, "a", np.arange(5.0), np.array([1, NAN, 2, 3, NAN]))
    chart = line_chart([line], Labels("t", "x", "y"))
    assert [path.get("d") for path in chart.iter("path")] == ["M0 1h0M2 2L3 3"]
    assert line_chart([line._replace(y=np.full(5, NAN))], Labels("t", "x", "y")) is None
    assert figure("f", [View((), Labels("t", "x", "y"), [line._replace(y=np.full(5, NAN))])]) is None


def test_lines_of_one_colour_have_other_dashes():
    assert len({style_of(key) for key in range(32)}) == 32
