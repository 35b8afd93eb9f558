"""The map draws every point once, from arrays of numbers; the history of a score stands before all others."""

import numpy as np
import pandas as pd
import pytest

from samplescope_app import figures

RNG = np.random.default_rng(0)
PLACES = RNG.normal(0, 3, (400, 2)).astype(np.float32)
ROWS = np.arange(400)


def categories(names, values):
    return pd.Series(pd.Categorical(values, categories=names, ordered=True))


def test_kinds_differ_by_color_and_symbol_together_and_hold_every_row():
    names = [f"class {i}" for i in range(figures.MOST_KINDS)]
    layers = figures.kinds(PLACES, ROWS, categories(names, RNG.choice(names, 400)))
    assert [layer.name for layer in layers] == names
    assert len({(layer.color, layer.symbol) for layer in layers}) == len(names)
    assert len({layer.symbol for layer in layers}) == len(names)
    np.testing.assert_array_equal(np.sort(np.concatenate([layer.rows for layer in layers])), ROWS)


def test_examples_that_are_not_highlighted_are_gray_and_below():
    layers = figures.kinds(PLACES, ROWS, categories(["cat", "others"], np.where(ROWS < 10, "cat", "others")), "others")
    assert [(layer.name, layer.back) for layer in layers] == [("others", True), ("cat", False)]
    assert layers[1].rows.tolist() == list(range(10))


def test_a_point_of_the_figure_is_found_again_among_the_rows():
    values = np.exp(RNG.normal(-6, 3, 400))
    values[7] = np.nan
    layers = figures.scored(PLACES, ROWS, values)
    figure = figures.map_figure(layers, score_title="Information (nats)", chosen=np.array([5, 7]))
    assert [trace.type for trace in figure.data] == ["scattergl", "scattergl"]
    for layer, trace in zip(layers, figure.data, strict=True):
        assert trace.x.dtype == trace.y.dtype == np.float32  # never a string or a list for each point
        np.testing.assert_array_equal(np.column_stack([trace.x, trace.y]), PLACES[layer.rows])
        assert trace.text is None
    unknown, known = figure.data
    assert layers[0].rows.tolist() == [7]
    assert unknown.selectedpoints == (0,)
    np.testing.assert_allclose(known.customdata, values[layers[1].rows], rtol=1e-6)
    assert layers[1].rows[known.selectedpoints[0]] == 5
    assert len(known.selectedpoints) == 1


@pytest.mark.parametrize("signed", [True, False])
def test_the_color_bar_shows_the_score_itself(signed):
    rng = np.random.default_rng(1)
    heavy = rng.normal(0, 1, 400) if signed else np.exp(rng.normal(-6, 3, 400))
    (layer,) = figures.scored(PLACES, ROWS, heavy)
    figure = figures.map_figure([layer], score_title="Score (nats)", signed=signed)
    marker = figure.data[0].marker
    assert marker.colorbar.title.text == "Score (nats)"
    if signed:
        assert marker.cmin == -marker.cmax
    else:
        # The lowest few share one color.
        np.testing.assert_allclose(marker.color[5:], np.log10(layer.color)[5:], rtol=1e-5)
        assert (marker.color[:5] <= marker.color[5]).all()
        low, high = np.quantile(heavy, [0.01, 0.99])
        assert [float(marker.colorbar.ticktext[end]) for end in (0, -1)] == pytest.approx([low, high], rel=0.05)
    even = figures.map_figure(figures.scored(PLACES, ROWS, RNG.uniform(0, 1, 400))).data[0].marker
    assert even.colorbar.ticktext is None
    constant = figures.map_figure(figures.scored(PLACES, ROWS, np.full(400, 0.5))).data[0].marker
    assert constant.cmin <= 0.5 <= constant.cmax


def test_too_many_points_are_thinned_the_same_way_every_time():
    drawn = figures.drawn_rows(120_000)
    assert len(drawn) == 50_000
    assert (np.diff(drawn) > 0).all()
    assert drawn[-1] < 120_000
    np.testing.assert_array_equal(drawn, figures.drawn_rows(120_000))
    np.testing.assert_array_equal(figures.drawn_rows(50_000), np.arange(50_000))


def test_names_from_the_data_are_text():
    layers = figures.kinds(PLACES, ROWS, categories(["<b>x</b>"], ["<b>x</b>"] * 400))
    figure = figures.name_places(figures.map_figure(layers), layers)
    assert figure.data[0].name == "&lt;b&gt;x&lt;/b&gt;"
    assert figure.data[0].hovertemplate is None  # the card of a point says its class, as text
    assert figure.layout.annotations[0].text == "<b>&lt;b&gt;x&lt;/b&gt;</b>"


def test_a_history_stands_before_the_band_of_all():
    times = np.array([1.0, 10.0, 100.0])
    others = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [5.0, 6.0, 7.0]])
    figure = figures.history(times, np.array([1.0, 5.0, 500.0]), others, x_title="steps", y_title="nats", log_x=True)
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == [
        "90% of all",
        "median",
        "this example",
    ]
    assert list(figure.data[-1].y) == [1.0, 5.0, 500.0]
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")
    signed = figures.history(times, np.array([-1.0, 5.0, 500.0]), others, x_title="", y_title="", log_x=False)
    assert (signed.layout.xaxis.type, signed.layout.yaxis.type) == ("linear", None)
