"""Click to influencers: from a training example to whom it helps and harms, and back to who is behind that."""

from __future__ import annotations

import re
import shutil
import time

import numpy as np
from playwright.sync_api import Page, expect

from attribution_core.runs import MEASURES, Run
from attribution_core.workflows.live_influence import LiveInfluence
from attribution_core.workflows.live_information import LiveInformation
from samplescope_app.data import score_evolution
from samplescope_app.wording.text import format_score
from tests.support.app_driver import SHOWN, App, strongest


def evaluation_row(app: App) -> int:
    return int(re.search(r"evaluation=(\d+)", app.page.url).group(1))


def test_from_training_to_evaluation_and_back(app: App, run: Run):
    effects = run.effects("ntk")[:]
    start = 17
    app.open("example", id=run.examples["id"].iloc[start])
    app.shows_rows("Helps most", strongest(effects[start], 1))
    app.shows_rows("Harms most", strongest(effects[start], -1))

    app.tiles("Harms most").nth(2).click()
    target = strongest(effects[start], -1)[2]
    expect(app.page.get_by_role("heading", name=run.evaluation["id"].iloc[target])).to_be_visible()
    app.shows_evaluation(target)
    assert evaluation_row(app) == target
    expect(app.page.get_by_text("validation example", exact=True)).to_be_visible()
    app.shows_rows("Most helpful", strongest(effects[:, target], 1))
    app.shows_rows("Most harmful", strongest(effects[:, target], -1))

    app.page.reload()
    app.settle()
    app.shows_evaluation(target)  # a link to it can be kept
    app.tiles("Most helpful").first.click()
    best = strongest(effects[:, target], 1)[0]
    app.shows(best)
    expect(app.page.get_by_role("heading", name=run.examples["id"].iloc[best])).to_be_visible()
    assert app.example_id == run.examples["id"].iloc[best]
    app.page.go_back()
    app.shows_evaluation(target)


def test_effects_say_their_sign_in_more_than_color(app: App, run: Run):
    app.open("example", id=run.examples["id"].iloc[3])
    for strip, sign, word in (("Helps most", "+", "helpful"), ("Harms most", "−", "harmful")):
        tile = app.tiles(strip).first
        expect(tile.locator(".score")).to_have_text(re.compile(rf"^\{sign}0\.\d+$"))
        unit = MEASURES["ntk"].unit
        expect(tile).to_have_accessible_name(re.compile(rf"^#\d+ of validation, labeled digit \d.* {unit}, {word}$"))


def test_another_method_ranks_as_its_own_matrix(app: App, run: Run):
    start = 40
    app.open("example", id=run.examples["id"].iloc[start])
    app.shows_rows("Helps most", strongest(run.effects("ntk")[start], 1))
    app.choose("Method", MEASURES["influence"].title, exact=False)
    own = strongest(run.effects("influence")[start], 1)
    assert own != strongest(run.effects("ntk")[start], 1)
    expect(app.tiles("Helps most").first).to_have_accessible_name(re.compile(f"^#{own[0]} of validation"))
    app.settle()
    app.shows_rows("Helps most", own)
    expect(app.page.get_by_text("averaged over the weights after several epochs")).to_be_visible()
    app.tiles("Helps most").first.click()  # and stays chosen
    app.shows_evaluation(own[0])
    app.shows_rows("Most helpful", strongest(run.effects("influence")[:, own[0]], 1))


def test_neighbours_are_the_most_alike_and_other_labels_are_marked(app: App, run: Run):
    row = int(np.flatnonzero(run.examples["label_name"] != run.examples["original_label"])[0])
    embeddings = run.embeddings("train")
    cosines = embeddings @ embeddings[row] / np.linalg.norm(embeddings, axis=1)
    cosines[row] = -np.inf
    nearest = np.argsort(-cosines)[:SHOWN]
    app.open("example", id=run.examples["id"].iloc[row])
    app.shows_rows("Nearest training examples", nearest.tolist())
    differing = run.examples["label"].to_numpy()[nearest] != run.examples["label"].iloc[row]
    expect(app.page.get_by_text("other label", exact=True)).to_have_count(int(differing.sum()))
    app.tiles("Nearest training examples").nth(1).click()
    app.shows(int(nearest[1]))
    app.button("Browse the 60 most similar").click()
    app.wait_for_path("/browse")
    expect(app.button("61 selected")).to_be_visible()  # with the example itself


def test_a_test_example_has_neighbours_and_decisions_but_no_effects(app: App, run: Run):
    row = int(np.flatnonzero(run.evaluation["split"] == "test")[4])
    app.open("example", evaluation=str(row))
    expect(app.page.get_by_text("This test example has no effects")).to_be_visible()
    expect(app.tiles("Nearest training examples")).to_have_count(SHOWN)
    app.press("d")
    expect(app.badge("dropped")).to_be_visible()
    app.press("ArrowRight")
    app.shows_evaluation(row + 1)
    assert evaluation_row(app) == row + 1
    expect(app.badge("undecided")).to_be_visible()
    decided = run.decisions.current()[["id", "split", "action"]]
    assert decided.to_numpy().tolist() == [[run.evaluation["id"].iloc[row], "test", "drop"]]


def test_an_evaluation_example_that_is_not_there(app: App):
    for asked in ("99999", "-1", "../x"):
        app.page.goto(f"{app.address}/example?run={app.run_id}&evaluation={asked}")
        expect(app.page.get_by_text("has no evaluation example")).to_be_visible()


def test_influencers_with_the_keyboard_alone(app: App, run: Run):
    start = 8
    effects = run.effects("ntk")[:]
    first = run.examples["id"].iloc[start]
    app.open("example", id=first)
    app.tiles("Helps most").first.focus()
    app.press("ArrowRight")  # among the tiles, and not on to the next example
    expect(app.tiles("Helps most").nth(1)).to_be_focused()
    app.press("Enter")
    target = strongest(effects[start], 1)[1]
    app.shows_evaluation(target)
    app.press("ArrowRight")
    app.shows_evaluation(target + 1)
    app.press("b")
    app.shows(start)
    assert app.example_id == first
    app.press("k")
    expect(app.badge("kept")).to_be_visible()
    app.press("b")
    app.wait_for_path("/browse")


def test_scores_over_training_are_drawn(app: App, run: Run):
    def drawn(row: int) -> None:
        for measure in run.evolutions:
            title = re.compile(f"^{re.escape(MEASURES[measure].title)} of #{row} over training")
            figure = app.page.get_by_role("figure", name=title)
            expect(figure.locator(".legendtext", has_text="this example")).to_be_visible()
            expect(figure.locator(".scatterlayer .trace")).to_have_count(4)

    app.open("example", id=run.examples["id"].iloc[0])
    app.page.get_by_text("Over training:").click()
    drawn(0)
    app.settle()
    app.tiles("Nearest training examples").first.click()  # opened once, they stay open
    expect(app.picture()).not_to_have_attribute("alt", re.compile("^#0,"))
    app.settle()
    drawn(int(np.flatnonzero(run.examples["id"] == app.example_id)[0]))


def test_decisions_need_no_scrolling(app: App, page: Page, run: Run):
    page.set_viewport_size({"width": 1280, "height": 900})
    row = run.examples[~run.examples["correct"]].iloc[0]
    app.open("example", id=row["id"])
    for button in ("Drop", "Keep", "Relabel", "Undo", "digit 9"):
        expect(app.button(button).last).to_be_in_viewport(ratio=1)


def test_a_run_without_effects_says_what_to_do(app: App, run: Run):
    shutil.rmtree(run.path / "effects")
    app.open("example", id=run.examples["id"].iloc[0])
    expect(app.page.get_by_text("This run has no effects between examples")).to_be_visible()
    expect(app.page.get_by_text(f"--out {run.path}")).to_be_visible()
    expect(app.button("Resume")).to_be_visible()
    expect(app.tiles("Nearest training examples")).to_have_count(SHOWN)


def test_influencers_at_another_training_time(app: App, run: Run, page: Page):
    start = 40
    app.open("example", id=run.examples["id"].iloc[start])
    app.shows_rows("Helps most", strongest(run.effects("ntk")[start], 1))
    slider = page.get_by_role("slider", name="Training time")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    steps = score_evolution.slider_times(run.evolution("fsi")[0])
    live = LiveInformation.open(run)
    later = steps[steps.index(live.steps) + 4]
    began = time.monotonic()
    app.shows_rows("Helps most", strongest(live.effects_of(start, later), 1))
    print(f"\nOther influencers within {time.monotonic() - began:.1f} s, with the import of torch.")
    app.open("example", evaluation="7")  # the time stays
    app.shows_rows("Most helpful", strongest(live.effects_on(7, later), 1))


def test_influencers_at_another_damping(app: App, run: Run, page: Page):
    start = 40
    app.open("example", id=run.examples["id"].iloc[start])
    app.choose("Method", re.compile("Influence function"))
    app.shows_rows("Helps most", strongest(run.effects("influence")[start], 1))
    slider = page.get_by_role("slider", name="Damping")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    at = LiveInfluence.open(run).at(100.0)
    began = time.monotonic()
    app.shows_rows("Helps most", strongest(at.effects_of(start), 1))
    print(f"\nOther influencers within {time.monotonic() - began:.1f} s, with the import of torch.")
    app.open("example", evaluation="7")  # method and damping stay
    app.shows_rows("Most helpful", strongest(at.effects_on(7), 1))
    expect(page.get_by_role("slider", name="Damping")).to_have_attribute("aria-valuetext", format_score(5.0))


def test_influence_between_training_examples(app: App, run: Run, page: Page):
    app.open("example", id=run.examples["id"].iloc[40])
    page.get_by_text("Influence between training examples").click()
    live = LiveInformation.open(run)
    on_it, of_it = (each(40, live.steps, on_training=True) for each in (live.effects_on, live.effects_of))
    on_it[40] = of_it[40] = 0
    app.shows_rows("Support it most", strongest(on_it, 1))
    app.shows_rows("Contradict it most", strongest(on_it, -1))
    app.shows_rows("It supports most", strongest(of_it, 1))
    app.tiles("Contradict it most").first.click()
    expect(page).to_have_url(re.compile(f"id={re.escape(run.examples['id'].iloc[strongest(on_it, -1)[0]])}"))
