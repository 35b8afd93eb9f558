"""Training: the slider over training time, the epochs, and the curves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator, Page, expect

from attribution_core.runs import Run, RunWriter
from attribution_core.runs.regularization import read_regularization
from attribution_core.runs.schema import CONTRIBUTION_SPREAD
from attribution_core.runs.tables import curve_points
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from attribution_core.workflows.live_information import LiveInformation
from samplescope_app.wording.text import format_score
from tests.support.app_driver import App
from tests.support.map_driver import at


def test_the_time_is_moved_by_keyboard(app: App, run: Run, page: Page):
    """A stored time answers at once; one between two of them is computed, and is what the method gives."""
    app.open("training")
    times, stored = run.evolution("fsi")
    slider = page.get_by_role("slider", name="Training time")
    expect(page.get_by_text("Stored in the run, at 1,000 steps")).to_be_visible()
    slider.focus()
    app.press("Home")
    expect(page.get_by_text("Stored in the run, at 10 steps")).to_be_visible()
    _shows_the_highest(app, "Most informative at 10 steps", stored[0])
    slider.focus()
    app.press("ArrowRight")
    # The server reads PyTorch first, in the background, which takes a busy machine its time.
    expect(page.get_by_text("Computed from the run's linearized model, at 11.2 steps")).to_be_visible(timeout=60_000)
    exact = LiveInformation.open(run).at(11.2)
    _shows_the_highest(app, "Most informative at 11.2 steps", exact)
    agreement = np.corrcoef(*(np.argsort(np.argsort(each)) for each in (exact, run.examples["fsi"])))[0, 1]
    expect(page.get_by_text(f"at 11.2 steps: {agreement:.3f}")).to_be_visible()
    app.tiles("Most informative at 11.2 steps").first.click()
    app.wait_for_path("/example")
    assert app.example_id == run.examples["id"].iloc[int(np.argmax(exact))]
    assert times[0] == 10


def _shows_the_highest(app: App, strip: str, values: np.ndarray) -> None:
    row = int(np.argmax(values))
    first = app.tiles(strip).first
    expect(first.locator("img")).to_have_attribute("alt", re.compile(f"^#{row},"))
    expect(first.locator(".score")).to_have_text(format_score(float(values[row])))


def test_an_epoch_shows_what_the_model_depended_on_then(app: App, run: Run, page: Page):
    app.open("training")
    _, stored = run.evolution("sensitivity")
    expect(page.get_by_text("Most sensitive after epoch 10")).to_be_visible()
    page.get_by_role("slider", name="After epoch").focus()
    app.press("ArrowLeft")
    _shows_the_highest(app, "Most sensitive after epoch 5", stored[2])
    page.locator(".js-plotly-plot .legendtext", has_text="top 1%").wait_for()
    tile = app.tiles("Largest contributions").nth(0)
    expect(app.tiles("Largest contributions")).to_have_count(6)
    _, contributions = run.evolution("contribution")
    expect(tile.locator("img")).to_have_attribute("alt", re.compile(f"^#{np.argmax(contributions[:].sum(axis=0))},"))
    tile.click()
    app.wait_for_path("/example")


def test_the_courses_of_losses_and_of_wrong_labels_are_drawn(app: App, page: Page):
    app.open("overview")
    page.get_by_role("link", name="Scores over training").click()
    app.wait_for_path("/training")
    expect(page.get_by_text("Generalization estimated from the training examples")).to_be_visible()
    expect(
        page.get_by_text("The leave-one-out loss is lowest after epoch 2, the test loss after epoch 2")
    ).to_be_visible()
    losses = page.locator(".js-plotly-plot").filter(has=page.locator(".legendtext", has_text="test loss"))
    expect(losses.locator(".scatterlayer .trace")).to_have_count(5)  # three losses and two stars
    expect(page.locator(".js-plotly-plot .legendtext", has_text="among the most influential")).to_be_visible()
    expect(page.locator(".js-plotly-plot .legendtext", has_text="after epoch 3")).to_be_visible()
    expect(page.get_by_text("test accuracy 90.0%").first).to_be_visible()


def test_contributions_are_averaged_over_trainings(page: Page, tmp_path: Path, serve: Callable[[Path], str]):
    """Of a run by Adam, which has no effects of pairs by HYDRA, but pages like any other."""
    recipe = Recipe(epochs=2, optimizer="adam", learning_rate=0.01)
    lean = {"sensitivity": "off", "influence": "off", "map": "off"}
    config = ScoreConfig(data="digits", out=tmp_path / "runs" / "small", hidden=(8,), recipe=recipe, **lean)
    first = score(config.model_copy(update={"max_train": 120})).examples["contribution"].to_numpy()
    app = App(page, serve(tmp_path / "runs"), "small")
    app.open("training")
    expect(page.get_by_text("These contributions are of one training.")).to_be_visible()
    expect(page.get_by_text(re.compile("^4 more trainings, about"))).to_be_visible()
    app.button("Average over 5 trainings").click()
    expect(page.get_by_text(re.compile("Averaging contributions over trainings"))).to_be_visible(timeout=30_000)
    expect(page.get_by_text(re.compile("^Means over 5 trainings"))).to_be_visible(timeout=90_000)
    after = Run.open(tmp_path / "runs" / "small")
    median = format_score(float(after.examples[CONTRIBUTION_SPREAD].median()))
    expect(page.get_by_text(f"a standard deviation of {median} nats")).to_be_visible()
    expect(app.button("Average over 10 trainings")).to_be_visible()
    assert not np.allclose(after.examples["contribution"], first)
    expect(app.tiles("Largest contributions")).to_have_count(6)
    for name in ("browse", "example", "trust", "classes", "overview"):
        app.open(name)
        expect(page.get_by_test_id("stException")).to_have_count(0)


def test_the_causes_of_sensitivity_are_points_and_tiles(app: App, run: Run, page: Page):
    """A point opens its example, a box selects examples, and the corners are there for the keyboard."""
    app.open("training")
    frame = run.examples
    plot = causes(page)
    expect(plot.locator("canvas").first).to_be_attached()
    error, variance = frame["error"].to_numpy(), frame["variance"].to_numpy()
    count = round(0.05 * len(frame))
    wrong, uncertain = (np.argsort(-values, kind="stable")[:count] for values in (error, variance))
    corners = {
        "High error, high variance": wrong[np.argsort(-variance[wrong], kind="stable")],
        "High error, low variance": wrong[np.argsort(variance[wrong], kind="stable")],
        "Low error, high variance": uncertain[np.argsort(error[uncertain], kind="stable")],
    }
    for corner, rows in corners.items():
        page.get_by_role("radio", name=corner).click()
        app.shows_rows(corner, rows.tolist())

    app.choose("Color by", "class")
    expect(plot.locator(".legendtext", has_text="digit 3")).to_be_visible()
    app.settle()
    plot.locator(".modebar-btn[data-val=select]").click()
    box = plot.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=6)
    page.mouse.up()
    title = page.get_by_text(re.compile(r"^\d+ selected$"))
    expect(title).to_be_visible()
    selected = int(title.inner_text().split()[0])
    highest = np.sort(error)[::-1]
    assert 0 < selected < len(frame)
    app.button(f"Browse all {selected}").click()
    app.wait_for_path("/browse")
    ids = set(frame["id"][error >= highest[selected - 1]])  # the box is the right part of the figure
    shown = app.tiles().get_by_role("img").evaluate_all("images => images.map(image => image.alt)")
    assert {frame["id"].iloc[int(re.match(r"#(\d+)", each)[1])] for each in shown} <= ids


def causes(page: Page) -> Locator:
    return page.locator(".js-plotly-plot").filter(has=page.locator(".legendtext", has_text="equal variance × error"))


def test_a_click_on_a_point_of_the_causes_opens_its_example(app: App, run: Run, page: Page):
    app.open("training")
    plot = causes(page)
    expect(plot.locator("canvas").first).to_be_attached()
    app.settle()
    places = np.log10(run.examples[["error", "variance"]].to_numpy())
    places = places / np.ptp(places, axis=0)
    distances = np.linalg.norm(places[:, None] - places, axis=2) + 100 * np.eye(len(places))
    lonely = int(distances.min(axis=1).argmax())
    plot.scroll_into_view_if_needed()
    page.mouse.click(*at(plot, *run.examples.loc[lonely, ["error", "variance"]]))
    app.wait_for_path("/example")
    assert app.example_id == run.examples["id"].iloc[lonely]


def test_a_weight_decay_is_chosen_without_a_test_set(page: Page, tmp_path: Path, serve: Callable[[Path], str]):
    """Start the trainings, see the curve, and look beyond its end if the loss is least there."""
    off = {"contributions": "off", "influence": "off", "sensitivity": "off", "map": "off"}
    config = ScoreConfig(data="digits", out=tmp_path / "runs" / "small", hidden=(8,), recipe=Recipe(epochs=2), **off)
    run = score(config.model_copy(update={"max_train": 120}))
    app = App(page, serve(tmp_path / "runs"), "small")
    app.open("training")
    expect(page.get_by_text(re.compile("9 trainings, .* s each: about"))).to_be_visible()
    app.button("Try weight decays").click()
    sentence = page.get_by_text(re.compile("Leave-one-out loss is least at weight decay"))
    expect(sentence).to_be_visible(timeout=120_000)
    found = read_regularization(Run.open(run.path))
    assert found is not None
    assert len(found.losses) == 9
    expect(sentence).to_contain_text(f"weight decay {found.best:g}")
    losses = page.locator(".js-plotly-plot").filter(has=page.locator(".legendtext", has_text="validation loss"))
    expect(losses.locator(".scatterlayer .trace")).to_have_count(6)  # four losses and two stars
    if found.is_at_end:
        app.button("Try 4 more").click()
        running = page.get_by_text(re.compile("^Training with other weight decays ·"))
        expect(running).to_be_visible()
        expect(running).to_have_count(0, timeout=120_000)
        found = read_regularization(Run.open(run.path))
        assert found is not None
        assert len(found.losses) == 13


def test_new_run_is_filled_in_with_the_best_weight_decay(page: Page, tmp_path: Path, serve: Callable[[Path], str]):
    off = {"contributions": "off", "influence": "off", "sensitivity": "off", "map": "off"}
    config = ScoreConfig(data="digits", out=tmp_path / "runs" / "small", hidden=(8,), recipe=Recipe(epochs=2), **off)
    run = score(config.model_copy(update={"max_train": 120}))
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        losses = dict.fromkeys(("training", "validation", "test"), np.ones(3))
        losses["leave_one_out"] = np.array([2.0, 1.0, 3.0])
        writer.write_curve("regularization", curve_points([5e-4, 0.016, 0.5], losses))
    app = App(page, serve(tmp_path / "runs"), "small")
    app.open("new")  # what the form holds is replaced
    expect(page.get_by_label("Weight decay", exact=True)).to_have_value("")
    app.open("training")
    expect(page.get_by_text("score again with --train-weight-decay 0.016")).to_be_visible()
    app.button("New run with weight decay 0.016").click()
    app.wait_for_path("/new")
    expect(page.get_by_label("Weight decay", exact=True)).to_have_value("0.016")
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("2")
    expect(page.get_by_label("Training examples", exact=True)).to_have_value("120")


def test_a_head_on_frozen_features_says_why_it_has_no_weight_decay_to_choose(app: App, run: Run, page: Page):
    config = {**run.manifest.config, "recipe": {"weight_decay": 0.1}, "trainable": "head"}
    manifest = run.manifest.model_copy(update={"config": config})
    (run.path / "run.json").write_text(manifest.model_dump_json())
    app.open("training")
    expect(page.get_by_text("trains the head of a frozen network")).to_be_visible()
    expect(app.button("Try weight decays")).to_have_count(0)
