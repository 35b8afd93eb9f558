"""The linearized model of a trained run: which one, and how long it is trained."""

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import select_parameters
from attribution_core.methods.linearized.build import head_of, linearize
from attribution_core.methods.linearized.decomposition import EXACT_WORK
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models import load_weights
from attribution_core.models.plain import copy_of
from attribution_core.preparation.config import ScoreConfig
from attribution_core.runs.names import FINAL_WEIGHTS_FILE
from attribution_core.scoring.sizes import RunSizes
from attribution_core.training import outputs_of

# Up to this many rows (examples times outputs) or parameters the whole network is linearized without a sketch: its
# eigendecomposition then takes seconds.
EXACT_SIZE = 4096


def linearize_run(
    run: Path,
    config: ScoreConfig,
    model: nn.Module,
    tensors_by_split: dict[str, InputsAndTargets],
) -> tuple[LinearizedModel, nn.Module, str]:
    """Linearize the model of a trained run, and evaluate it on the validation split.

    Args:
        run: Directory of the run.
        config: The configuration that it was scored with.
        model: The model at its initial weights; changed by this.
        tensors_by_split: Inputs and targets of ``"train"`` and ``"validation"``.

    Returns:
        The linearized model, the trained one that it stands for, and the route in words.
    """
    sketch: Literal["kronecker", "coordinates"] | None = None
    inputs = tensors_by_split["train"][0]
    outputs = outputs_of(model, inputs[:1]).shape[1]
    if config.parameters == "head":
        load_weights(model, run / FINAL_WEIGHTS_FILE)
        trained = model
        model = _with_zero_head(model, inputs)
        width = head_of(model, inputs).in_features + 1
        route = "the head, retrained from zero on the trained network's features (exact)"
    else:
        trained = copy_of(model)
        load_weights(trained, run / FINAL_WEIGHTS_FILE)
        shapes = dict(model.named_parameters())
        width = sum(shapes[name].numel() for name in select_parameters(model, config.parameters))
        sketched = min(len(inputs) * outputs, width) > EXACT_SIZE
        sketch, width = (config.sketch, config.dimension) if sketched else (None, width)
        kept = f"{config.sketch} sketch" if sketched else "exact"
        moment = "initial" if config.training in ("auto", "scratch") else "given"
        route = f"the network at its {moment} weights, {config.parameters} parameters, {kept}"
    work = len(inputs) * outputs * min(width, len(inputs) * outputs) ** 2
    is_interpolation = math.isinf(config.steps) and config.weight_decay == 0
    linear = linearize(
        model,
        tensors_by_split["train"],
        tensors_by_split["validation"],
        sketch=sketch,
        dimension=config.dimension,
        parameters=config.parameters,
        seed=config.seed,
        dtype=torch.float64 if is_interpolation or work <= EXACT_WORK else torch.float32,
    )
    return linear, trained, route


def schedule_of(eigenvalues: Tensor, examples: int, config: ScoreConfig) -> GradientDescent:
    """Return gradient flow in units of the data: rate ``1 / lambda_max``, decay in mean squared feature norms.

    Raises:
        InputError: The features are zero on every training example.
    """
    if len(eigenvalues) == 0:
        raise InputError(
            "The model's features are zero on every training example, so nothing can be learned from them."
        )
    decay = config.weight_decay * mean_squared_norm(eigenvalues, examples)
    return GradientDescent(1.0 / float(eigenvalues[-1]), config.steps, decay)


def mean_squared_norm(eigenvalues: Tensor, examples: int) -> float:
    """Return the mean squared norm of the examples' features, the unit of weight decays."""
    return float(eigenvalues.sum()) / examples


def _with_zero_head(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a copy whose last layer outputs zero, so that its training starts from nothing."""
    model = copy_of(model)
    head = head_of(model, inputs)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return model


def feature_rows(sizes: RunSizes) -> tuple[int, int]:
    """Return the rows of the linearized model's features for each example, and the number of features."""
    config = sizes.config
    if config.parameters == "head":
        return 1, sizes.head_width + 1
    named = dict(sizes.model.named_parameters())
    width = sum(named[name].numel() for name in select_parameters(sizes.model, config.parameters))
    return sizes.outputs, config.dimension if min(sizes.n * sizes.outputs, width) > EXACT_SIZE else width
