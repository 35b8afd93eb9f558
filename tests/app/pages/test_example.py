"""The page Example without a browser."""

import numpy as np

from samplescope_app.data import effects
from samplescope_app.data.effects import Ranked
from samplescope_app.panels import influencers
from tests.support.app_pages import open_page, page_text


def test_effects_that_no_removal_can_have_are_marked_with_the_reason(run):
    matrix, credible = run.effects("hydra")[:], run.credible_effects("hydra")
    row, column = np.argwhere(credible.excludes(matrix))[0]
    for query in ({"id": run.examples["id"].iloc[row]}, {"evaluation": str(column)}):
        app = open_page("example", run="digits", **query)
        assert "not credible" not in page_text(app)
        app.selectbox(key="effect method").set_value("hydra").run()
        text = page_text(app).replace("\\", "")
        assert "cannot take a loss below zero, and hardly raises it by more than 0.00015 nats" in text
    beyond = effects.not_credible(run, "hydra", matrix[row])
    assert beyond.tolist() == credible.excludes(matrix[row]).tolist()
    helped, _ = effects.strongest(matrix[row], 3, beyond)
    assert helped.beyond.tolist() == beyond[helped.rows].tolist()
    ranked = Ranked(np.array([0, 1]), np.array([43.0, 1e-5]), np.array([True, False]))
    for shown in (influencers.evaluation_tiles(run, ranked, "nats"), influencers.effect_tiles(run, ranked, "nats")):
        assert [tile.note for tile in shown] == ["not credible", ""]
        assert "effect +43 nats, helpful" in shown[0].alt
        assert ["not credible" in tile.alt for tile in shown] == [True, False]
    assert not effects.not_credible(run, "ntk", np.array([1e9]), 0).any()
