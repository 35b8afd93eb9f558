"""The form of the page New run, made from the fields of a run's configuration."""

from typing import Any

from streamlit.testing.v1 import AppTest

from attribution_core.jobs.requests import SETTINGS
from attribution_core.preparation.config import ScoreConfig


def _page(options: dict | None) -> None:
    import streamlit as st

    from samplescope_app.panels import run_form

    run_form.fill_in(options)
    st.session_state["options"] = run_form.draw()


def form(options: dict | None = None) -> AppTest:
    app = AppTest.from_function(_page, args=(options,), default_timeout=30).run()
    assert not app.exception
    return app


def options_of(app: AppTest) -> dict[str, Any]:
    return app.session_state["options"]


def test_an_untouched_form_leaves_every_setting_at_its_default():
    assert options_of(form()) == {"data": "fashion-demo", "recipe": {}}


def test_options_come_back_as_they_were_given():
    given = {
        "data": "/data/rows.csv",
        "target": "price",
        "task": "regression",
        "hidden": [64, 32],
        "max_train": 50,
        "contributions": "off",
        "sensitivity": "iblr",
        "map": "off",
        "damping": 0.5,
        "weight_decay": 0.25,
        "recipe": {"optimizer": "iblr", "learning_rate": 0.05, "weight_decay": 0.125, "epochs": 3},
    }
    app = form(given)
    assert options_of(app) == given
    assert ScoreConfig.model_validate(options_of(app)).recipe.weight_decay == 0.125


def test_the_form_has_a_widget_for_every_setting():
    app = form({"data": "/data/rows.csv"})
    kinds = (app.selectbox, app.number_input, app.text_input, app.toggle)
    labels = [each.label for widgets in kinds for each in widgets]
    for setting in SETTINGS:
        if setting.name != "data":
            assert setting.title in labels


def test_a_switch_turns_a_measure_off():
    app = form()
    next(each for each in app.toggle if each.label == "Influence function").set_value(False).run()
    assert options_of(app) == {"data": "fashion-demo", "influence": "off", "recipe": {}}


def test_a_wrong_number_says_what_is_allowed_and_is_not_replaced_in_silence():
    app = form()
    for label, wrong, why in (
        ("Epochs", -3, "Epochs: enter a whole number of at least 0."),
        ("Momentum", 1.0, "Momentum: enter a number of at least 0 and less than 1."),
        ("Learning rate", 0.0, "Learning rate: enter a number of more than 0."),
        ("Image size", 2000, "Image size: enter a whole number of at least 4 and at most 1,024."),
    ):
        next(each for each in app.number_input if each.label == label).set_value(wrong)
        app.run()
        assert any(why in each.value.replace("\\", "") for each in app.markdown), why
    assert options_of(app)["recipe"] == {"epochs": -3, "momentum": 1.0, "learning_rate": 0.0}


def _with_costs() -> None:
    from samplescope_app.panels import run_form

    run_form.fill_in(None)
    run_form.turn_off("map")
    run_form.draw({"map": "off, since it takes about 40 min, 80% of the run"})


def test_the_cost_of_a_measure_stands_beside_its_switch():
    app = AppTest.from_function(_with_costs, default_timeout=30).run()
    assert not app.exception
    assert not next(each for each in app.toggle if each.label == "Map").value
    assert any("80% of the run" in each.value for each in app.caption)


def _filled_again(first: dict, second: dict) -> None:
    import streamlit as st

    from samplescope_app.panels import run_form

    run_form.fill_in(first)
    run_form.fill_in(second, replace=True)
    st.session_state["options"] = run_form.draw()


def test_the_configuration_of_a_run_replaces_what_the_form_holds():
    config = ScoreConfig(
        data="/data/rows.csv", training="scratch", hidden=(64, 32), recipe={"epochs": 3, "weight_decay": 0.016}
    )
    plain = config.model_dump(mode="json", exclude={"out", "device", "download"})  # as run.json has it
    first = {"data": "digits", "max_train": 50, "map": "off", "recipe": {"epochs": 7}}
    app = AppTest.from_function(_filled_again, args=(first, plain), default_timeout=30).run()
    assert not app.exception
    assert ScoreConfig.model_validate(options_of(app)) == config
