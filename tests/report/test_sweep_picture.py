"""Pictures: what is drawn is what the rows say."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from fedjax_layers.report.sweep_picture import draw_sweep, save_sweep_picture


def rows_of(**values):
    found = []
    for chosen in itertools.product(*values.values()):
        setting = dict(zip(values, chosen, strict=True))
        for seed in (0, 1):
            score = None if chosen[0] == "broken" else 0.1 * len(found)
            found.append(
                setting
                | {"seed": seed, "why": "finished", "personal/test/macro_f1": score, "personal/val/macro_f1": score}
            )
    return found


def axes_of(rows, names, metric="macro_f1"):
    figure = Figure()
    draw_sweep(figure, rows, names, metric)
    return figure.axes[0]


def test_one_number_is_a_line_with_its_seeds():
    ax = axes_of(rows_of(mu=[0.1, 0.01, 10.0]), ["mu"])
    (line,) = ax.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[0.01, 0.25], [0.1, 0.05], [10.0, 0.45]])
    assert ax.get_xscale() == "log"
    (band,) = ax.collections
    assert band.get_datalim(ax.transData).intervaly.tolist() == pytest.approx([0, 0.5])


def test_a_scale_is_as_its_range_was_declared_and_guessed_where_nobody_knows():
    def scale(values, log=None):
        figure = Figure()
        draw_sweep(figure, rows_of(mu=values), ["mu"], "macro_f1", log)
        return figure.axes[0].get_xscale()

    assert scale([1.0, 2.0, 20.0]) == "log"
    assert scale([1.0, 2.0, 19.0]) == "linear"
    assert scale([1.0, 2.0], {"mu": True}) == "log"
    assert scale([1.0, 2.0, 100.0], {"mu": False}) == "linear"


def test_the_cut_is_drawn_beside_the_scores():
    rows = [row | {"num_shared_layers": 3 if row["threshold"] < 2 else 1} for row in rows_of(threshold=[1.0, 1.5, 2.0])]
    figure = Figure()
    draw_sweep(figure, rows, ["threshold"], "macro_f1")
    _, right = figure.axes
    np.testing.assert_allclose(right.get_lines()[0].get_xydata(), [[1, 3], [1.5, 3], [2, 1]])
    assert right.get_ylabel().startswith("layers that are shared")
    both = [row | {"mu": mu} for row in rows for mu in (0.1, 0.2)]
    figure = Figure()
    draw_sweep(figure, both, ["threshold", "mu"], "macro_f1")
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), [[3, 3], [3, 3], [1, 1]])


def test_names_stand_side_by_side_and_what_has_no_score_is_left_out():
    ax = axes_of(rows_of(model=["mlp", "broken", "cnn"]), ["model"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["mlp", "broken", "cnn"]
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), [[0, 0.05], [2, 0.45]])


def test_lists_stand_side_by_side_as_texts():
    ax = axes_of(rows_of(hidden=[[8], [16, 8]]), ["hidden"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "16,8"]
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), [[0, 0.05], [1, 0.25]])


def test_two_are_a_map():
    ax = axes_of(rows_of(a=[1, 2], b=[3.0, 4.0, 5.0]), ["a", "b"])
    np.testing.assert_allclose(ax.images[0].get_array(), 0.05 + 0.2 * np.arange(6).reshape(2, 3))
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("a", "b")
    assert len(ax.texts) == 6


def test_three_are_parallel_lines_and_one_value_is_no_axis():
    rows = rows_of(a=[1, 2], b=[3.0, 4.0], c=["x", "y"], d=[7])
    ax = axes_of(rows, ["a", "b", "c", "d"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    assert sorted(tuple(line.get_ydata()) for line in lines) == sorted(itertools.product([0.0, 1.0], repeat=3))
    assert tuple(lines[-1].get_ydata()) == (1, 1, 1)  # the best is drawn last, on top


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_a_file_is_written_whatever_there_is(tmp_path, names):
    rows = rows_of(a=[1, 2], b=[3, 4], c=[5, 6])
    save_sweep_picture(rows, names, tmp_path / "some.png")
    save_sweep_picture(
        [row | {"personal/test/macro_f1": None} for row in rows], names, tmp_path / "none.png", "macro_f1"
    )
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("some.png", "none.png"))
