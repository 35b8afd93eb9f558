"""The scatter plot of errors and variances."""

import numpy as np
import pytest

from samplescope_app import figures


def made(n: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.column_stack([rng.lognormal(-3, 2, n), rng.lognormal(2, 0.5, n)]).astype(np.float32)


def drawn(places: np.ndarray, color: np.ndarray | None = None):
    shown, logarithmic = figures.causes_axes(places)
    rows = np.flatnonzero(np.isfinite(places).all(axis=1))
    layers = figures.scored(shown, rows, np.ones(len(places)) if color is None else color)
    return figures.causes_figure(layers, "error", "variance", logarithmic, score_title="sensitivity"), layers


def test_points_are_where_their_values_are_and_lines_have_equal_products():
    places = made()
    places[7, 0] = 0.0  # at the end of the axis, not decades away
    places[9] = np.nan
    figure, (layer,) = drawn(places, places[:, 1])
    points, *lines = figure.data
    assert sorted(layer.rows) == [row for row in range(400) if row != 9]
    inside = places[layer.rows, 0] > np.quantile(places[:, 0][places[:, 0] > 0], 0.01)
    assert np.array_equal(points.x[inside], places[layer.rows, 0][inside])
    assert np.array_equal(points.y, np.maximum(places[layer.rows, 1], points.y.min()))
    assert points.x.min() > 1e-5
    products = places[layer.rows].astype(float).prod(axis=1)
    assert len(lines) >= 3
    for line in lines:
        product = float(line.text[0])
        assert np.allclose(np.asarray(line.x) * np.asarray(line.y), product)
        assert products.min() < product < products.max()
        assert np.log10(product) == pytest.approx(round(np.log10(product)))
    assert [line.showlegend for line in lines] == [True] + [False] * (len(lines) - 1)


def test_lines_stay_within_the_axes():
    figure, _ = drawn(made())
    for line in figure.data[1:]:
        for values, axis in ((line.x, figure.layout.xaxis), (line.y, figure.layout.yaxis)):
            low, high = (10**end for end in axis.range)
            assert low * 0.999 <= min(values) <= max(values) <= high * 1.001


def test_values_that_are_all_zero_are_drawn_too():
    figure, _ = drawn(np.column_stack([np.zeros(5), np.arange(1, 6)]).astype(np.float32))
    assert figure.layout.xaxis.type is None
    assert figure.layout.yaxis.type == "log"
    assert len(figure.data) == 1  # there is no product to draw a line for


def test_fifty_thousand_points_are_few_bytes():
    figure, _ = drawn(made(50_000))
    assert figure.data[0].type == "scattergl"
    assert len(figure.to_json()) < 1_500_000
