"""The stage that linearises the model: unique information, NTK influence, and their curves."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.evaluation.retraining import accuracy
from attribution_core.gradients import select_parameters
from attribution_core.methods.linearized.build import head_of, linearize
from attribution_core.methods.linearized.kernel_studies import (
    complexity_by_influence,
    estimate_error,
    estimate_error_by_example,
    feature_density,
    marked_share_over_time,
)
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information, sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models import load_weights
from attribution_core.preparation.config import ScoreConfig
from attribution_core.progress import silenced, track
from attribution_core.runs import RunWriter
from attribution_core.runs.names import FINAL_WEIGHTS_FILE, LIVE_MODEL_FILE
from attribution_core.scoring.stages.base import points_of, write_or_skip
from attribution_core.training import outputs_of

# Up to this many rows (examples times outputs) or parameters the whole network is linearised without a sketch: its
# eigendecomposition then takes seconds.
EXACT_SIZE = 4096
# Curves are drawn over this many evaluation examples at most.
CURVE_EXAMPLES = 200
# The linearised model is kept up to this size, in bytes: with features that the outputs share, or one row for each.
LARGEST_SHARED, LARGEST_SEPARATE = 2**30, 2**27
# Up to this many training examples the one on density is drawn, whose cost is their square.
DENSITY_EXAMPLES = 10_000


def write_linearised_scores(
    writer: RunWriter,
    config: ScoreConfig,
    made: tuple[LinearizedModel, nn.Module, str],
    tensors_by_split: dict[str, InputsAndTargets],
    changed: Tensor | None,
) -> None:
    """Writes columns fsi and si, effects/ntk.zarr, evolution/fsi.zarr, curves and details.

    Args:
        writer: The run, trained.
        config: What to score, and how.
        made: What :func:`linearised` gives.
        tensors_by_split: Inputs and labels of ``"train"`` and ``"validation"``.
        changed: Which training labels are known to be wrong, bool ``[n]``; None where nothing is known.
    """
    linear, trained, route = made
    schedule = schedule_of(linear.eigenvalues, linear.num_train, config)
    scores = {
        "fsi": functional_sample_information(linear, schedule),
        "si": sample_information(linear, schedule),
    }
    writer.add_columns("examples", {name: values.cpu().numpy() for name, values in scores.items()})
    influence = _write_effects(writer, linear, schedule)
    times = _times(schedule)
    writer.write_evolution("fsi", times, _evolution(linear, schedule, times, scores["fsi"]))
    outputs, targets = linear.predictions(schedule).cpu(), tensors_by_split["validation"][1].cpu()
    theirs = outputs_of(trained, tensors_by_split["validation"][0]).cpu()
    details = {
        "route": route,
        "features": int(linear.features.shape[2]),
        "precision": str(linear.features.dtype).removeprefix("torch."),
        "kept_energy": linear.kept_energy,
        "learning_rate": schedule.learning_rate,
        "steps": schedule.steps,
        "weight_decay": schedule.weight_decay,
        "evaluated_on": f"{len(outputs):,} validation examples",
        **_how_good(outputs, theirs, targets),
    }
    if linear.features.shape[1] == 1:
        _write_curves(writer, linear.evaluated_on(slice(CURVE_EXAMPLES)), schedule, influence, changed)
    writer.describe("fsi", details, scores)


def _how_good(outputs: Tensor, theirs: Tensor, targets: Tensor) -> dict[str, float]:
    """The linearised model's accuracy and how often it says what the trained one says; of values, both as R²."""
    values = targets.is_floating_point()
    said = theirs[:, 0] if values else theirs.argmax(dim=1)
    return {
        "linear_r2" if values else "linear_accuracy": accuracy(outputs, targets, "mse"),
        "agreement_with_model": accuracy(outputs, said, "mse"),
    }


def write_live_model(writer: RunWriter, linear: LinearizedModel) -> None:
    """Writes what F-SI at any training time is computed from, or says in the run's details why it is left out.

    It is as large as the features; where these differ between outputs an answer would not come while one waits either.
    """

    def write() -> None:
        with writer.path_for(LIVE_MODEL_FILE) as path:
            save_file(state, path)

    state = {name: values.contiguous().cpu() for name, values in linear.state().items()}
    size = sum(values.nbytes for values in state.values())
    limit = LARGEST_SHARED if linear.features.shape[1] == 1 else LARGEST_SEPARATE
    reason = "" if size <= limit else f"it would take {size / 2**20:,.0f} MiB, and the limit is {limit // 2**20:,} MiB"
    write_or_skip(writer, "live", reason, False, write)


def _write_effects(
    writer: RunWriter,
    linear: LinearizedModel,
    schedule: GradientDescent,
) -> Tensor:
    """Writes effects/ntk.zarr; returns each training example's mean effect, ``[n]``."""
    means = []

    def blocks() -> Iterator[tuple[slice, np.ndarray]]:
        for rows, effects in linear.iterate_effects(schedule):
            means.append(effects.mean(dim=1))
            yield rows, effects.cpu().numpy()

    writer.write_effects("ntk", len(linear.evaluation_targets), blocks())
    return torch.cat(means)


def _write_curves(
    writer: RunWriter,
    linear: LinearizedModel,
    schedule: GradientDescent,
    influence: Tensor,
    changed: Tensor | None,
) -> None:
    """The kernel regime's studies on this run, for one feature row an example (NTK influence, figures 2, 3, 5, 7)."""
    unit = _mean_squared_norm(linear.eigenvalues, linear.num_train)
    decays = [2.0**power for power in range(-4, 5)]
    error = estimate_error(linear, [unit * decay for decay in decays])
    writer.write_curve("ihvp_error", points_of(decays, {"error rate": error.rate, "lower bound": error.lower_bound}))
    groups = min(10, linear.num_train)
    if linear.num_train <= DENSITY_EXAMPLES:
        density = feature_density(linear, components=max(1, min(20, linear.num_train // 10)))
        members = density.argsort().tensor_split(groups)
        rate = estimate_error_by_example(linear, unit)
        by_density = torch.stack([rate[group].mean() for group in members])
        writer.write_curve("ihvp_error_by_density", points_of(range(1, groups + 1), {"error rate": by_density}))
    complexity = complexity_by_influence(linear, schedule, influence, groups)
    writer.write_curve("complexity_by_influence", points_of(range(1, groups + 1), {"added norm": complexity}))
    if changed is not None:
        times = _times(schedule)
        share = marked_share_over_time(linear, schedule, times, changed)
        level = torch.full_like(share, float(changed.double().mean()))
        series = {"among the most influential": share, "among all": level}
        writer.write_curve("changed_among_influencers", points_of(times, series))


def linearised(
    run: Path,
    config: ScoreConfig,
    model: nn.Module,
    tensors_by_split: dict[str, InputsAndTargets],
) -> tuple[LinearizedModel, nn.Module, str]:
    """A trained run's linearised model, evaluated on its validation split.

    Args:
        run: Its directory.
        config: What it was scored with.
        model: At its initial weights.
        tensors_by_split: Inputs and labels of ``"train"`` and ``"validation"``.

    Returns:
        The linearised model, the trained one it stands for, and the route in words.
    """
    sketch: Literal["kronecker", "coordinates"] | None = None
    if config.parameters == "head":
        load_weights(model, run / FINAL_WEIGHTS_FILE)
        trained = model
        model = _with_zero_head(model, tensors_by_split["train"][0])
        route = "the head, retrained from zero on the trained network's features (exact)"
    else:
        trained = copy.deepcopy(model)
        load_weights(trained, run / FINAL_WEIGHTS_FILE)
        rows = len(tensors_by_split["train"][0]) * outputs_of(model, tensors_by_split["train"][0][:1]).shape[1]
        shapes = dict(model.named_parameters())
        width = sum(shapes[name].numel() for name in select_parameters(model, config.parameters))
        sketched = min(rows, width) > EXACT_SIZE
        sketch = config.sketch if sketched else None
        kept = f"{config.sketch} sketch" if sketched else "exact"
        moment = "initial" if config.training in ("auto", "scratch") else "given"
        route = f"the network at its {moment} weights, {config.parameters} parameters, {kept}"
    linear = linearize(
        model,
        tensors_by_split["train"],
        tensors_by_split["validation"],
        sketch=sketch,
        dimension=config.dimension,
        parameters=config.parameters,
        seed=config.seed,
        dtype=torch.float64 if math.isinf(config.steps) and config.weight_decay == 0 else None,
    )
    return linear, trained, route


def schedule_of(eigenvalues: Tensor, examples: int, config: ScoreConfig) -> GradientDescent:
    """Gradient flow in units of the data: rate ``1 / lambda_max``, decay in mean squared feature norms."""
    if len(eigenvalues) == 0:
        raise InputError("The model's features are zero on every training example, so nothing can be learnt from them.")
    decay = config.weight_decay * _mean_squared_norm(eigenvalues, examples)
    return GradientDescent(1.0 / float(eigenvalues[-1]), config.steps, decay)


def _mean_squared_norm(eigenvalues: Tensor, examples: int) -> float:
    """Of the examples' features: the unit of weight decays."""
    return float(eigenvalues.sum()) / examples


def _times(schedule: GradientDescent) -> list[float]:
    """From a hundredth to a hundred times the schedule's time, two times a decade."""
    middle = schedule.steps if math.isfinite(schedule.steps) and schedule.steps > 0 else 1000.0
    return [middle * 10 ** (half / 2) for half in range(-4, 5)]


def _evolution(
    linear: LinearizedModel,
    schedule: GradientDescent,
    times: list[float],
    now: Tensor,
) -> np.ndarray:
    """F-SI at the given times, ``[times, n]``; ``now`` is that at the schedule's own."""
    scores = []
    for time in track(times, len(times), "F-SI over training time"):
        with silenced():
            same = time == schedule.steps
            moment = now if same else functional_sample_information(linear, replace(schedule, steps=time))
        scores.append(moment.cpu().numpy())
    return np.stack(scores)


def _with_zero_head(model: nn.Module, inputs: Tensor) -> nn.Module:
    """A copy whose last layer gives zero, so that its training starts from nothing."""
    model = copy.deepcopy(model)
    head = head_of(model, inputs)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return model
