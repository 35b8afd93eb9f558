"""Histograms hold every example, on an axis that shows them."""

import numpy as np
import pandas as pd
import pytest

from samplescope_app.figures import (
    as_categories,
    bars_by_class,
    heatmap,
    histogram,
    lines,
    mark_lowest,
    mark_place,
    parts,
    score_bins,
    summaries,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        (np.exp(RNG.normal(-6, 2, 1000)), True),
        (np.append(np.exp(RNG.normal(-6, 2, 1000)), [0.0, 1e-30]), True),
        (RNG.uniform(0, 1, 1000), False),
        (RNG.normal(0, 1, 1000), False),
        (np.zeros(10), False),
        (np.full(10, 0.3), False),
        (np.append(np.zeros(1000), 5.0), False),
        (np.array([0.25]), False),
    ],
)
def test_no_example_is_lost(values, logarithmic):
    bins = score_bins(values)
    assert bins.logarithmic == logarithmic
    assert np.all(np.diff(bins.edges) > 0)
    figure = histogram(pd.Series(values), bins, None, "score", log_y=False)
    assert sum(np.sum(trace.y) for trace in figure.data) == len(values)
    assert np.isfinite(figure.data[0].x).all()


def test_colors_split_the_bars():
    values = pd.Series(RNG.uniform(0, 1, 500))
    groups = as_categories(pd.Series(RNG.choice(["b", "a", "c"], 500)))
    figure = histogram(values, score_bins(values.to_numpy()), groups, "score", log_y=True)
    assert [trace.name for trace in figure.data] == ["a", "b", "c"]
    assert sum(np.sum(trace.y) for trace in figure.data) == 500


def test_one_value_stands_out_from_the_others():
    categories = as_categories(pd.Series(["a", "b", "c", "b"]), "b")
    assert categories.tolist() == ["others", "b", "others", "b"]
    assert list(categories.cat.categories) == ["b", "others"]


def test_each_series_is_a_line_that_differs_by_more_than_color():
    points = pd.DataFrame({"series": ["a", "a", "b", "b"], "x": [1, 10, 1, 10], "y": [0.1, 0.2, 0.3, 0.4]})
    figure = lines(points, "steps", "share", log_x=True)
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert [list(trace.y) for trace in figure.data] == [[0.1, 0.2], [0.3, 0.4]]
    assert figure.data[0].line.dash != figure.data[1].line.dash
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.showlegend
    alone = lines(points[points["series"] == "a"], "steps", "share", log_x=False)
    assert not alone.layout.showlegend


def test_a_heatmap_is_centred_on_zero_and_takes_names_as_text():
    names = ["cat", "<b>dog</b>"]
    figure = heatmap(pd.DataFrame([[1.0, -3.0], [np.nan, 0.5]], index=names, columns=names), "of", "to")
    cells = figure.data[0]
    assert -cells.zmin == cells.zmax == pytest.approx(2.8)
    assert figure.layout.xaxis.ticktext == ("cat", "&lt;b&gt;dog&lt;/b&gt;")
    diagonal = pd.DataFrame(np.eye(100))
    assert heatmap(diagonal, "of", "to").data[0].zmax == 1.0
    many = [str(i) for i in range(60)]
    assert heatmap(pd.DataFrame(np.zeros((60, 60)), index=many, columns=many), "of", "to").layout.xaxis.tickvals == ()


def test_an_infinite_cell_of_a_heatmap_is_empty():
    figure = heatmap(pd.DataFrame([[np.inf, -1.0], [np.nan, 0.5]]), "of", "to")
    assert np.isnan(figure.data[0].z[0][0])
    assert figure.data[0].zmax == pytest.approx(0.975)


def test_every_cell_of_a_heatmap_can_be_clicked():
    names = ["cat", "<b>dog</b>"]
    matrix = pd.DataFrame([[1.0, -3.0], [np.nan, 0.5]], index=names, columns=names)
    figure = heatmap(matrix, "of", "to", chosen=("cat", "<b>dog</b>"))
    targets = figure.data[-1]
    assert list(zip(targets.y, targets.x, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert targets.marker.opacity == 0
    assert tuple(targets.customdata[2]) == ("&lt;b&gt;dog&lt;/b&gt;", "cat")
    assert list(targets.text) == ["1", "−3", "–", "0.5"]
    frame = figure.layout.shapes[0]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 1.5, -0.5, 0.5)
    assert not heatmap(matrix, "of", "to", chosen=("cat", "horse")).layout.shapes


def test_the_numbers_of_a_heatmap_are_short_and_stand_on_their_cells():
    names = ["a", "b"]
    figure = heatmap(
        pd.DataFrame([[1.234e-4, -2e-6], [np.nan, -2e-4]], index=names, columns=names), "of", "to", unit="nats"
    )
    pale, strong = figure.data[1:3]
    # In units of 10 to the -6, for the powers go by three.
    assert dict(zip(zip(pale.y, pale.x, strict=True), pale.text, strict=True)) == {(0, 0): "123", (0, 1): "−2"}
    assert dict(zip(zip(strong.y, strong.x, strict=True), strong.text, strict=True)) == {(1, 1): "−200"}
    assert figure.data[0].colorbar.title.text == "10<sup>−6</sup> nats (• beyond the scale)"
    dots = figure.data[3]
    assert [(round(y), round(x)) for y, x in zip(dots.y, dots.x, strict=True)] == [(1, 1)]
    thirteen = pd.DataFrame(np.eye(13))
    assert [trace.type for trace in heatmap(thirteen, "of", "to").data] == ["heatmap", "scatter"]


def test_the_scale_of_counts_begins_at_zero():
    counts, signed = (heatmap(pd.DataFrame([[1.0, np.nan], [last, 2.0]]), "of", "to").data[0] for last in (3.0, -3.0))
    assert (counts.zmin, signed.zmin < 0) == (0, True)
    assert counts.colorscale[-1] == signed.colorscale[-1]
    assert counts.colorscale[0][1] == signed.colorscale[2][1]


def test_a_heatmap_of_zero_is_pale_in_either_theme():
    """Its middle lets the page shine through, and its ends do not."""
    scale = heatmap(pd.DataFrame([[0.0]]), "of", "to").data[0].colorscale
    alphas = {place: color for place, color in scale if "rgba" in color}
    assert set(alphas) == {0.5}
    assert all(float(color.rsplit(",", 1)[1].rstrip(")")) < 0.1 for color in alphas.values())


def test_the_lowest_points_are_marked_in_the_colors_of_their_lines():
    points = pd.DataFrame({"series": ["a"] * 3 + ["b"] * 3, "x": [1, 2, 3] * 2, "y": [3.0, 1.0, 2.0, np.nan, 5.0, 4.0]})
    figure = mark_lowest(lines(points, "x", "y", log_x=False), points, ["b", "a", "c"])
    assert [(trace.x[0], trace.y[0]) for trace in figure.data[2:]] == [(3, 4.0), (2, 1.0)]
    assert [trace.marker.color for trace in figure.data[2:]] == [figure.data[1].line.color, figure.data[0].line.color]


def test_a_place_is_a_line_across_the_figure():
    figure = mark_place(lines(pd.DataFrame({"series": "a", "x": [1], "y": [2]}), "x", "y", log_x=True), 100.0, 0.5)
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].yref) == (100.0, "paper")
    assert figure.data[-1].y == (0.5,)


def test_summaries_are_drawn_over_what_is_kept():
    points = pd.DataFrame(
        {
            "series": ["top", "top", "bottom iterative", "bottom iterative"],
            "x": [0.0, 40.0] * 2,
            "y": [0.9, 0.5, 0.9, 0.8],
            "half_width": [0.01, 0.03, 0.01, np.nan],
        }
    )
    figure = summaries(points)
    assert [trace.name for trace in figure.data] == ["least informative, rescored", "most informative"]
    assert list(figure.data[1].x) == [100.0, 60.0]
    assert list(figure.data[1].error_y.array) == [0.01, 0.03]
    both = summaries(points, points[["series", "x", "y"]])
    assert sum(trace.line.dash == "dot" for trace in both.data) == 2
    assert figure.layout.yaxis.title.text == "test accuracy"
    assert summaries(points, y_title="test R²").layout.yaxis.title.text == "test R²"


def test_classes_are_bars_in_the_order_of_the_first_series():
    points = pd.DataFrame(
        {"series": ["without"] * 3 + ["now"] * 3, "x": [0, 1, 2] * 2, "y": [1.0, 3.0, 2.0, 0.1, 0.2, np.nan]}
    )
    figure = bars_by_class(points, ["a", "<b>b</b>", "c"], "nats")
    assert [trace.name for trace in figure.data] == ["without", "now"]
    assert list(figure.data[0].y) == ["a", "c", "&lt;b&gt;b&lt;/b&gt;"]
    assert list(figure.data[0].x) == [1.0, 2.0, 3.0]
    assert figure.data[0].marker.pattern.shape != figure.data[1].marker.pattern.shape
    in_order = bars_by_class(points, ["a", "b", "c"], "nats", in_order=True)
    assert list(in_order.data[0].y) == ["a", "b", "c"]
    many = pd.DataFrame({"series": "without", "x": range(200), "y": np.arange(200.0)})
    assert len(bars_by_class(many, [str(i) for i in range(200)], "nats").data[0].x) == 40


def test_a_line_of_many_points_has_no_markers():
    points = pd.DataFrame({"series": "a", "x": range(100), "y": range(100)})
    assert lines(points, "x", "y", log_x=False).data[0].mode == "lines"


def test_parts_have_their_numbers_and_cannot_hold_markup():
    table = pd.DataFrame({"part": ["<b>one</b>", "two"], "mean": [48.2248, 0.002], "spread": [2.0, np.nan]})
    bars = parts(table, "distance").data[0]
    assert list(bars.y) == ["&lt;b&gt;one&lt;/b&gt;  <b>48.2</b>", "two  <b>0.002</b>"]
    assert list(bars.x) == [48.2248, 0.002]
    assert bars.error_x.array[0] == 2.0
