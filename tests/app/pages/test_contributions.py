"""Runs whose contributions are exact, from the command line to the pages."""

from __future__ import annotations

import numpy as np
import pytest
import streamlit as st

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.runs import Run
from samplescope_app.data import run_library
from tests.support.app_pages import open_page, page_text, score_rows
from tests.support.scored import digits_as_scored

PAGES = ("overview", "browse", "example", "classes", "training", "trust", "review")
OPTIONS = {
    "sgd": ["--momentum", "0.5", "--schedule", "step", "--milestones", "1", "--contributions", "exact"],
    "adamw": ["--optimizer", "adamw", "--momentum", "0.8", "--schedule", "cosine"],
}


@pytest.fixture(scope="module", params=OPTIONS)
def scored(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    quick = ["--hidden", "16", "--epochs", "2", "--max-train", "90", "--learning-rate", "0.02", "--map", "off"]
    lean = ["--train-weight-decay", "0.01", "--sensitivity", "off", "--influence", "off", "--out", str(folder / "run")]
    assert main(["score", "digits", "--model", "mlp", *quick, *lean, *OPTIONS[request.param]]) == 0
    return Run.open(folder / "run")


def test_contributions_are_exact_for_the_recipe_of_the_command_line(scored):
    recipe = ac.Recipe.model_validate(scored.manifest.config["recipe"])
    assert (recipe.weight_decay, recipe.learning_rate) == (0.01, 0.02)
    side, evaluation = digits_as_scored("train", "validation", max_train=90)
    trajectory = ac.train(ac.build_model("mlp", 10, (1, 8, 8), hidden=(16,)), side, recipe)
    exact = ac.hydra(trajectory, evaluation, hessian=True, objective="mean")
    assert np.allclose(scored.examples["contribution"], exact.effect, rtol=1e-3, atol=1e-7)
    assert np.allclose(scored.evolution("contribution")[1][:], exact.by_epoch, rtol=1e-3, atol=1e-7)
    assert ("hydra" in scored.effect_methods) == (recipe.optimizer == "sgd")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_run(scored, page):
    st.cache_resource.clear()
    st.cache_data.clear()
    run_library.serve(scored.path.parent)
    app = open_page(page, run="run", **({"id": scored.examples["id"].iloc[3]} if page == "example" else {}))
    assert "no effects between examples" not in page_text(app)
    if page == "training":
        assert any("of one training" in each.value for each in app.markdown)
    if page == "example":
        assert any("Contribution" in row for row in score_rows(app))
