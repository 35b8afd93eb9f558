"""Compare a run's influence functions with their own question, and that with retraining, for some of its examples."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file
from torch import nn

from attribution_core.errors import InputError
from attribution_core.evaluation.fidelity import correlations
from attribution_core.evaluation.responses import COMPARED, PARTS, Removals
from attribution_core.gradients import plan_parameters
from attribution_core.methods.curvature.iterative import largest_eigenvalue
from attribution_core.methods.influence.functions import damping_from
from attribution_core.methods.influence.kronecker import trace_of
from attribution_core.models import load_weights
from attribution_core.preparation.prepare import Prepared
from attribution_core.preparation.prepare_run import Data, prepare_run
from attribution_core.progress import track
from attribution_core.runs import Run, RunWriter
from attribution_core.runs.names import FINAL_WEIGHTS_FILE, INITIAL_WEIGHTS_FILE, RESPONSES_FILE
from attribution_core.workflows.verify import chosen_examples

AT_THE_END, ALONG_TRAINING = "at the end", "along training"


def compare_responses(
    path: Path, examples: int = 10, data: Data = None, device: str = "auto", model: nn.Module | None = None
) -> dict[str, Any]:
    """Compute the stages between retraining and influence functions, and how well these predict each.

    The examples are the first of those that :func:`attribution_core.workflows.verify.verify` removes. What was computed
    for each is stored in the run's ``responses.parquet``, and a later call, also with more examples, computes only what
    is missing.

    Args:
        path: Directory of the run.
        examples: Number of training examples to remove one by one, at least two.
        data: As in :func:`attribution_core.workflows.verify.verify`.
        device: As there.
        model: As there.

    Returns:
        What the run's details hold under ``"responses"``: ``"parts"``, mean and standard deviation of each part by
        name; ``"correlations"``, Pearson's and Spearman's over all pairs of removed and evaluation examples, of the
        influence function at the end (and of the run's own along training, if it has that) with each retraining;
        ``"damping"``; ``"rows"`` of the removed examples; ``"seconds"`` for each.

    Raises:
        InputError: The run was not trained here, is not finished, its data has changed, or a number is too small.
    """
    run = Run.open(path)
    if examples < 2:
        raise InputError(f"Comparing responses needs at least 2 removed examples, not {examples}.")
    if run.manifest.config.get("training") == "none":
        raise InputError("The weights of this run were given as they are, so there is no training to repeat.")
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        prepared = prepare_run(run, data, device, model)
        removals = _removals(run, prepared)
        done = _read(run.path / RESPONSES_FILE, removals.damping)
        chosen = chosen_examples(run, min(examples, len(run.examples)))
        missing = [row for row in chosen if row not in done.index]
        for row in track(missing, len(missing), "responses"):
            began = time.perf_counter()
            found = removals.of(row)
            line: dict[str, Any] = {
                "row": row,
                "damping": removals.damping,
                **{part: found.parts[part] for part in PARTS},
            }
            line |= {name: found.changes[name].double().cpu().numpy() for name in COMPARED}
            line |= {"influence": found.predicted.double().cpu().numpy(), "seconds": time.perf_counter() - began}
            done = pd.concat([done, pd.DataFrame([line]).set_index("row")])
            with writer.path_for(RESPONSES_FILE) as file:
                done.reset_index().to_parquet(file, index=False)
        details = _summary(run, done.loc[chosen], removals.damping)
        writer.describe("responses", details)
    return details


def _removals(run: Run, prepared: Prepared) -> Removals:
    """Return the run's model at its trained weights, with the damping of its influence function there."""
    config, tensors = prepared.config, prepared.tensors_by_split()
    model = prepared.build(config.seed)
    load_weights(model, run.path / FINAL_WEIGHTS_FILE)
    recipe = config.recipe.model_copy(update={"seed": config.seed})
    plan, train = plan_parameters(model, tensors["train"][0]), tensors["train"]
    damping = config.damping
    if damping is None:
        largest = largest_eigenvalue(model, train, plan, recipe.loss, "ggn")
        damping = damping_from(largest, trace_of(model, train, plan, recipe.loss))
    beside = max(0.0, damping - recipe.weight_decay)
    start = load_file(run.path / INITIAL_WEIGHTS_FILE)
    return Removals(model, start, train, prepared.evaluation(tensors), recipe, beside)


def _read(file: Path, damping: float) -> pd.DataFrame:
    """Return what was computed before at the same damping, by row."""
    columns = ["row", "damping", *PARTS, *COMPARED, "influence", "seconds"]
    if not file.is_file():
        return pd.DataFrame(columns=columns).set_index("row")
    try:
        found = pd.read_parquet(file, columns=columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): delete it and compare again.") from error
    return found[np.isclose(found["damping"], damping, rtol=1e-3)].set_index("row")


def _summary(run: Run, found: pd.DataFrame, damping: float) -> dict[str, Any]:
    predicted = {AT_THE_END: np.concatenate(found["influence"].to_list())}
    if "influence" in run.effect_methods:
        effects = run.effects("influence")
        predicted[ALONG_TRAINING] = np.concatenate([np.asarray(effects[row]) for row in found.index])
    real = {name: np.concatenate(found[name].to_list()) for name in COMPARED}
    return {
        "damping": damping,
        "rows": [int(row) for row in found.index],
        "parts": {part: [float(found[part].mean()), float(found[part].std())] for part in PARTS},
        "correlations": {
            kind: {name: list(correlations(values, truth)) for name, truth in real.items()}
            for kind, values in predicted.items()
        },
        "seconds": float(found["seconds"].mean()),
    }
