"""Training: the scores over the course of training."""

from __future__ import annotations

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import navigation
from samplescope_app.panels import causes, evolution, header, influencers, live_information, regularization
from samplescope_app.wording.text import plain

_MEASURES = ("fsi", "sensitivity", "contribution")  # those that a run may store over training
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "iblr": "iBLR"}
_EXPLANATION = (
    "The scores over training, since the effect of an example depends on how long the model trains. Choose a training "
    "time or an epoch to see the examples that ranked highest then."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Training", _EXPLANATION, "fsi")
    _facts(run)
    live_information.draw(run)
    evolution.when_to_stop(run)
    regularization.draw(run)
    evolution.sensitivity(run)
    causes.draw(run)
    evolution.contribution(run)
    if any(measure not in run.evolutions and not evolution.why_skipped(run, measure) for measure in _MEASURES):
        influencers.finish(run, "scores over training")


def _facts(run: Run) -> None:
    """Draw how the model was trained, and how well it predicts, in one line."""
    recipe, stage = run.manifest.config.get("recipe") or {}, run.manifest.stages.get("training")
    facts = []
    if "epochs" in recipe:
        optimizer = _OPTIMIZERS.get(recipe["optimizer"], recipe["optimizer"])
        facts.append(f"{recipe['epochs']} epochs of {optimizer}")
        facts.append(f"learning rate {recipe['learning_rate']:g}, batches of {recipe['batch_size']}")
    if stage is not None and stage.seconds is not None:
        facts.append(f"trained in {stage.seconds:.0f} s")
    facts += [f"{split} {run.quality_name} {value:.1%}" for split, value in run.quality.items()]
    if facts:
        st.markdown(plain(" · ".join(facts)))


main()
