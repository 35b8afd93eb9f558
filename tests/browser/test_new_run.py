"""A run made in the app: its data looked at, its cost estimated, started, watched, stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from attribution_core.jobs.jobs import cancel_job, find_job, jobs_in, start_job
from attribution_core.runs import Run
from tests.support.app_driver import App
from tests.support.builders import write_folder
from tests.support.sample_run import make_data

Serve = Callable[[Path], str]


class NewRun(App):
    """The page New run, over an empty folder of runs."""

    def __init__(self, page: Page, address: str, folder: Path) -> None:
        super().__init__(page, address, "")
        self.folder = folder

    def begin(self) -> None:
        self.page.goto(self.address)
        self.wait_for_path("/runs")
        self.button("New run").click()
        self.wait_for_path("/new")

    def fill(self, label: str, value: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        field.fill(value)
        field.press("Tab")
        self.settle()

    def choose_quick(self, epochs: int = 1) -> None:
        """The linear model without further measures."""
        for measure in ("Contribution (HYDRA)", "Sensitivity (MPE)", "Influence function", "Map"):
            self.page.get_by_test_id("stCheckbox").get_by_text(measure, exact=True).click()
            self.settle()
        self.choose("Model", "linear")
        self.fill("Epochs", str(epochs))

    def choose_path(self, path: Path) -> None:
        self.page.get_by_text("your own data", exact=True).click()
        self.fill("Path on this machine", str(path))

    def estimate(self) -> None:
        self.button("Estimate time and memory").click()
        expect(self.page.get_by_text("Estimating time and memory ·")).to_be_visible()

    def text(self, text: str):
        return self.page.get_by_text(text)


@pytest.fixture
def new_run(page: Page, tmp_path: Path, serve: Serve) -> Iterator[NewRun]:
    folder = tmp_path / "runs"
    folder.mkdir()
    yield NewRun(page, serve(folder), folder)
    page.goto("about:blank")
    for job in jobs_in(folder):
        cancel_job(job)


def test_from_data_to_overview(new_run: NewRun, page: Page, tmp_path: Path):
    data = make_data(tmp_path / "written digits.parquet", n=120)
    new_run.begin()
    new_run.choose_path(data)
    expect(new_run.text("180 images in 10 classes")).to_be_visible()  # before any estimate
    new_run.choose_quick()
    expect(new_run.text("Peak memory")).to_have_count(0)
    new_run.estimate()
    page.reload()  # the address leads back to the estimate, and to what was chosen
    expect(new_run.text("180 images in 10 classes")).to_be_visible()
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("1")
    expect(page.get_by_label("Path on this machine")).to_have_value(str(data))
    expect(new_run.text("Peak memory")).to_be_visible(timeout=60_000)

    new_run.fill("Epochs", "2")
    expect(new_run.text("These numbers are for other options")).to_be_visible()
    new_run.button("Estimate again").click()
    expect(new_run.text("These numbers are for other options")).to_have_count(0)
    expect(new_run.text("about")).to_be_visible(timeout=60_000)

    expect(page.get_by_label("Run name")).to_have_value("written-digits")
    new_run.button("Start").dblclick()
    expect(new_run.text("Scoring ·")).to_be_visible()
    page.wait_for_url("**/new?job=score-written-digits")
    page.reload()
    expect(new_run.text("The run is finished")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Open", exact=True).click()
    new_run.wait_for_path("/overview")
    expect(new_run.tiles("Most suspicious: lowest label quality").first).to_be_visible()
    assert [job.target for job in jobs_in(new_run.folder) if job.kind == "score"] == ["written-digits"]
    assert Run.open(new_run.folder / "written-digits").manifest.config["recipe"]["epochs"] == 2


def test_cancel_and_resume(new_run: NewRun, page: Page):
    off = dict.fromkeys(("contributions", "sensitivity", "influence", "map"), "off")
    options = {"data": "digits", "max_train": 300, "model": "linear", "recipe": {"epochs": 3000}, **off}
    start_job(new_run.folder, "score", options, "long")
    page.goto(new_run.address)
    new_run.wait_for_path("/runs")
    expect(new_run.text("Training, epoch")).to_be_visible(timeout=60_000)
    new_run.button("Cancel").click()
    expect(new_run.badge("unfinished")).to_be_visible()
    assert find_job(new_run.folder, "score", "long").status == "cancelled"
    new_run.button("Resume").click()
    expect(new_run.text("Scoring ·")).to_be_visible()
    page.get_by_role("link", name="Watch").click()
    new_run.wait_for_path("/new")
    expect(new_run.text("The run is finished")).to_be_visible(timeout=240_000)
    new_run.go("Runs")
    expect(new_run.badge("complete")).to_be_visible()


def test_what_cannot_be_scored_is_refused_before_the_check(new_run: NewRun, page: Page):
    """The posterior that Adam learns needs its training; the optimizer stands among the first settings."""
    new_run.begin()
    page.get_by_text("Measure settings").click()
    new_run.choose("Sensitivity (MPE): method", "adam")
    refusal = new_run.text("this run trains by sgd: train by it (--optimizer adam)")
    expect(refusal).to_be_visible()
    expect(new_run.button("Estimate time and memory")).to_be_disabled()
    expect(new_run.button("Start")).to_be_disabled()
    new_run.choose("Optimizer", "adam")
    expect(refusal).to_have_count(0)
    expect(new_run.button("Estimate time and memory")).to_be_enabled()
    expect(new_run.button("Start")).to_be_enabled()


def test_wrong_paths_names_and_models_are_reported(new_run: NewRun, page: Page, tmp_path: Path):
    (new_run.folder / "digits").mkdir()
    new_run.begin()
    page.get_by_text("your own data", exact=True).click()
    expect(new_run.text("Give the path of your data, or choose its folder.")).to_be_visible()
    new_run.choose_path(tmp_path / "nowhere")
    expect(new_run.text("give the path of a dataset, or one of")).to_be_visible()
    expect(new_run.button("Start")).to_have_count(0)

    page.get_by_text("digits", exact=True).click()
    new_run.settle()
    expect(new_run.text("1,797 images in 10 classes")).to_be_visible()
    new_run.choose("Model", "cnn4")
    new_run.estimate()
    expect(new_run.text("resize the images, or use mlp")).to_be_visible(timeout=60_000)
    expect(new_run.button("Start")).to_have_count(0)

    new_run.choose("Model", "linear")
    name = page.get_by_label("Run name")
    expect(name).to_have_value("digits-2")  # "digits" is taken
    for wrong, why in (("digits", "A run named digits already exists"), ("../digits", "must not start with a dot")):
        name.fill(wrong)
        name.press("Tab")
        expect(new_run.text(why)).to_be_visible()
        expect(new_run.button("Start")).to_be_disabled()
    assert not [job for job in jobs_in(new_run.folder) if job.kind == "score"]


def test_a_large_folder_shows_its_counts_at_once_and_broken_files_as_they_are_found(
    new_run: NewRun, page: Page, tmp_path: Path
):
    data = write_folder(tmp_path / "data", {"cat": 1, "dog": 1})
    small = (data / "cat" / "0.png").read_bytes()
    for number in range(6000):
        (data / ("cat" if number % 2 else "dog") / f"copy {number}.png").write_bytes(small)
    (data / "cat" / "broken.png").write_bytes(b"")
    new_run.begin()
    new_run.choose_path(data)
    expect(new_run.text("6,003 images in 2 classes")).to_be_visible()
    expect(new_run.text("1 file left out")).to_be_visible()
    expect(new_run.text("6,000 files equal another one")).to_be_visible()
    expect(page.get_by_label("Run name")).to_have_value("data")


def test_an_estimate_can_be_cancelled(new_run: NewRun, page: Page):
    new_run.begin()
    new_run.estimate()
    new_run.button("Cancel").last.click()
    expect(new_run.text("It was stopped.")).to_be_visible()
    expect(new_run.button("Start")).to_be_enabled()


def test_a_folder_is_picked_with_the_keyboard_or_the_mouse(new_run: NewRun, page: Page, tmp_path: Path):
    write_folder(tmp_path / "my pets", {"cat": 8, "dog": 8})
    new_run.begin()
    page.get_by_text("your own data", exact=True).click()
    new_run.button("Choose folder").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("images in 2 class folders")).to_be_visible()  # beside the folder of runs
    dialog.get_by_role("button", name="my pets").press("Enter")
    expect(dialog.get_by_text("This folder holds images in 2 class folders.")).to_be_visible()
    dialog.get_by_role("button", name="Use this folder").press("Enter")
    expect(page.get_by_label("Path on this machine")).to_have_value(str(tmp_path / "my pets"))
    expect(new_run.text("16 images in 2 classes")).to_be_visible()


def test_a_wrong_number_says_what_is_allowed(new_run: NewRun, page: Page):
    new_run.begin()
    new_run.fill("Epochs", "-3")
    expect(new_run.text("Epochs: enter a whole number of at least 0.").first).to_be_visible()
    expect(new_run.button("Start")).to_be_disabled()
    new_run.fill("Epochs", "3")
    expect(new_run.text("Epochs: enter")).to_have_count(0)
    expect(new_run.button("Start")).to_be_enabled()
