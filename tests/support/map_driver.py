"""Draw around points of the map with the mouse, as a user does."""

from __future__ import annotations

import numpy as np
import pandas as pd
from playwright.sync_api import Locator, expect

from attribution_core.runs import Run
from tests.support.app_driver import App

_PLACE = """(plot, [x, y]) => {
  const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)];
}"""


def plot(app: App) -> Locator:
    found = app.page.locator(".js-plotly-plot")
    expect(found.locator("canvas").first).to_be_attached()
    expect(found.locator(".modebar-btn[data-val=lasso]")).to_be_visible()
    app.settle()
    return found


def at(map_: Locator, x: float, y: float) -> list[float]:
    """Where a place of the map is on the screen."""
    return map_.evaluate(_PLACE, [float(x), float(y)])


def gap(values: pd.Series, near: float) -> float:
    """The middle of the widest gap between values around a place, where a border divides them clearly."""
    around = np.sort(values[np.abs(values - near) < 0.8])
    widest = int(np.diff(around).argmax())
    return float(around[widest : widest + 2].mean())


def draw_around(app: App, run: Run) -> set[str]:
    """Draws a lasso around digit 0, whose places are about (5, 0); the ids of what lies within."""
    x, y = run.examples["umap_x"], run.examples["umap_y"]
    left, low, high = gap(x, 3.6), gap(y, -1.4), gap(y, 1.4)
    right = float(x.max()) + 0.5
    map_ = plot(app)
    map_.locator(".modebar-btn[data-val=lasso]").click()
    corners = [(left, low), (right, low), (right, high), (left, high), (left, low)]
    places = [at(map_, *corner) for corner in corners]
    app.page.mouse.move(*places[0])
    app.page.mouse.down()
    for place in places[1:]:
        app.page.mouse.move(*place, steps=6)
    app.page.mouse.up()
    inside = x.between(left, right) & y.between(low, high)
    return set(run.examples["id"][inside])
