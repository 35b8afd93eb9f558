"""The page Classes without a browser."""

from tests.support.app_pages import open_page, page_text


def test_effects_are_in_their_unit_unless_normalization_is_asked_for(run):
    app = open_page("classes", run="digits", **{"from": "digit 1", "to": "digit 2"})
    assert "Each mean is divided by" not in page_text(app)
    assert "Effects are in half squared error." in page_text(app)
    app.toggle[0].set_value(True).run()
    assert app.toggle[0].label == "Normalized"
    assert "Each mean is divided by" in page_text(app)
    assert "help and harm nearly cancel out" in page_text(app)
