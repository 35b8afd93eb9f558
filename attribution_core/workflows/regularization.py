"""Choose a run's weight decay without a test set, by the leave-one-out loss that its training examples give.

Nickl et al. 2023, "The memory perturbation equation", eq. 19 and figure 4: the model is trained once with each weight
decay, and its leave-one-out loss follows from the variances and the errors of its predictions, without any retraining
without an example. delta counts n times the weight decay and, for SGD, n over the training time, as in a run's own
sensitivities (:func:`~attribution_core.methods.sensitivity.evolution.regularization_at`). Cost: a training and the
sensitivities at its end, for each weight decay.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from attribution_core.errors import InputError
from attribution_core.methods.sensitivity.groups import trained_losses
from attribution_core.methods.sensitivity.perturbation import PosteriorName
from attribution_core.preparation.prepare import Prepared
from attribution_core.preparation.prepare_run import Data, prepare_run
from attribution_core.progress import silenced, track
from attribution_core.runs import Run, RunWriter
from attribution_core.runs.regularization import (
    CURVE,
    LEAVE_ONE_OUT,
    TEST,
    TRAINING,
    VALIDATION,
    Regularization,
    read_regularization,
    weight_decays_to_try,
    why_no_regularization,
)
from attribution_core.runs.tables import curve_points
from attribution_core.scoring.stages.sensitivity import ROUTES, SensitivityStage, posterior_name
from attribution_core.training import Recipe


def choose_regularization(
    path: Path,
    values: Sequence[float] = (),
    data: Data = None,
    device: str = "auto",
    model: nn.Module | None = None,
) -> Regularization:
    """Train a run's model with several weight decays, and estimate the leave-one-out loss of each.

    The losses are the run's curve ``regularization``. Each training is kept as it ends, so that a call that was
    stopped resumes where it was, and another one adds to what is known. Everything but the weight decay is the run's
    own: the recipe, the seed and the posterior.

    Args:
        path: Directory of the run.
        values: Weight decays of the mean loss to try. By default, nine in half decades around the run's own; if the
            least loss is at an end of what was tried, four beyond it.
        data: New path of the dataset, if it was moved, or the torch dataset that was scored.
        device: Device to compute on; ``"auto"`` takes CUDA if available.
        model: The module before fine-tuning, if the scored model came from a program.

    Raises:
        InputError: The run is not finished or was not trained, only its head was, its model has no sensitivities, its
            data has changed, a value is not positive, or a training diverges.
    """
    run = Run.open(path)
    if reason := why_no_regularization(run):
        raise InputError(reason)
    wanted = sorted({float(value) for value in values} or weight_decays_to_try(run))
    if not all(0 < value < math.inf for value in wanted):
        raise InputError(
            f"Weight decays to try must be positive numbers, and these were given: {', '.join(map(str, wanted))}."
        )
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        prepared = prepare_run(run, data, device, model)
        SensitivityStage().require(_with_weight_decay(prepared, wanted[0]))
        known = read_regularization(run)
        done = {} if known is None else known.by_value
        missing = [value for value in wanted if value not in done]
        tensors = prepared.tensors_by_split() if missing else {}
        name = posterior_name(prepared.config)
        for value in track(missing, len(missing), "training with other weight decays"):
            began = time.perf_counter()
            with silenced():
                found = trained_losses(
                    prepared.build(prepared.config.seed),
                    tensors["train"],
                    _recipe_with(prepared, value),
                    tensors["validation"],
                    tensors["test"],
                    name,
                    early_stopping=True,
                )
            done[value] = {
                LEAVE_ONE_OUT: found.loo_loss,
                TRAINING: found.train_loss,
                VALIDATION: found.validation_loss,
                TEST: found.test_loss,
            }
            _write(writer, done, name, time.perf_counter() - began)
    return read_regularization(Run.open(path))  # type: ignore[return-value]  # there is at least one value


def _recipe_with(prepared: Prepared, weight_decay: float) -> Recipe:
    config = prepared.config
    return config.recipe.model_copy(update={"weight_decay": weight_decay, "seed": config.seed})


def _with_weight_decay(prepared: Prepared, value: float) -> Prepared:
    """Return what is prepared as if the run had this weight decay; its own may be zero, which has no sensitivities."""
    config = prepared.config.model_copy(update={"recipe": _recipe_with(prepared, value)})
    return replace(prepared, config=config)


def _write(writer: RunWriter, done: dict[float, dict[str, float]], posterior: PosteriorName, seconds: float) -> None:
    order = sorted(done)
    series = {
        name: np.array([done[value][name] for value in order]) for name in (LEAVE_ONE_OUT, TRAINING, VALIDATION, TEST)
    }
    writer.write_curve(CURVE, curve_points(order, series))
    writer.describe(CURVE, {"route": ROUTES[posterior], "posterior": posterior, "seconds": seconds})
