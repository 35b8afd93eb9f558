"""Histograms hold every example, on an axis that shows them."""

import numpy as np
import pandas as pd
import pytest

from samplescope_app.figures import as_categories, bars_by_class, heatmap, histogram, lines, score_bins

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


def test_colours_split_the_bars():
    values = pd.Series(RNG.uniform(0, 1, 500))
    groups = as_categories(pd.Series(RNG.choice(["b", "a", "c"], 500)))
    figure = histogram(values, score_bins(values.to_numpy()), groups, "score", log_y=True)
    assert [trace.name for trace in figure.data] == ["a", "b", "c"]
    assert sum(np.sum(trace.y) for trace in figure.data) == 500


def test_one_value_stands_out_from_the_others():
    categories = as_categories(pd.Series(["a", "b", "c", "b"]), "b")
    assert categories.tolist() == ["others", "b", "others", "b"]
    assert list(categories.cat.categories) == ["b", "others"]


def test_each_series_is_a_line_that_differs_by_more_than_colour():
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
    assert cells.customdata[1][0] == "&lt;b&gt;dog&lt;/b&gt;, cat"
    diagonal = pd.DataFrame(np.eye(100))
    assert heatmap(diagonal, "of", "to").data[0].zmax == 1.0
    many = [str(i) for i in range(60)]
    assert heatmap(pd.DataFrame(np.zeros((60, 60)), index=many, columns=many), "of", "to").layout.xaxis.tickvals == ()


def test_classes_are_bars_in_the_order_of_the_first_series():
    points = pd.DataFrame(
        {"series": ["without"] * 3 + ["now"] * 3, "x": [0, 1, 2] * 2, "y": [1.0, 3.0, 2.0, 0.1, 0.2, np.nan]}
    )
    figure = bars_by_class(points, ["a", "<b>b</b>", "c"], "nats")
    assert [trace.name for trace in figure.data] == ["without", "now"]
    assert list(figure.data[0].y) == ["a", "c", "&lt;b&gt;b&lt;/b&gt;"]
    assert list(figure.data[0].x) == [1.0, 2.0, 3.0]
    assert figure.data[0].marker.pattern.shape != figure.data[1].marker.pattern.shape
    many = pd.DataFrame({"series": "without", "x": range(200), "y": np.arange(200.0)})
    assert len(bars_by_class(many, [str(i) for i in range(200)], "nats").data[0].x) == 40


def test_a_line_of_many_points_has_no_markers():
    points = pd.DataFrame({"series": "a", "x": range(100), "y": range(100)})
    assert lines(points, "x", "y", log_x=False).data[0].mode == "lines"
