"""The stage of influence functions: what the loss on an example would be without another, about the trained weights."""

import time
from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn
from typing_extensions import override

from attribution_core.errors import InputError
from attribution_core.gradients import ParameterPlan, gradient_products, jacobian, kronecker_plan, plan_parameters
from attribution_core.methods.curvature.losses import prediction_errors
from attribution_core.methods.influence.damping import SHARES, sweep_of
from attribution_core.methods.influence.functions import default_damping
from attribution_core.methods.influence.spectrum import (
    DIMENSION,
    OUTSIDE_ROWS,
    ROWS,
    InfluenceSpectrum,
    influence_spectrum,
)
from attribution_core.models import load_weights
from attribution_core.preparation.prepare import Prepared
from attribution_core.runs.names import FINAL_WEIGHTS_FILE
from attribution_core.scoring.probe import SAMPLE, Probe, timed
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage, curve_rows
from attribution_core.scoring.trial import require_gradients
from attribution_core.training import Recipe, outputs_of

# Of a network whose influence functions are computed unasked: cnn4 (1.2 million) takes half a minute on one core for
# 3,000 examples; for ResNet-18 (11 million) fitting the sketch alone took five minutes.
MOST_PARAMETERS = 3_000_000
_WRITTEN = 512  # rows of the effects, written at once


class InfluenceStage(Stage):
    """Write column self_influence, effects/influence.zarr and the curve over the damping."""

    name = "influence"
    title = "influence functions"
    order = 60
    option = "influence"
    needs_training = True
    details_name = "self_influence"

    @override
    def require_model(self, model: nn.Module, inputs: Tensor, recipe: Recipe, parameters: str) -> None:
        require_gradients(model, inputs, "all")

    @override
    def require(self, prepared: Prepared) -> None:
        """Refuse large networks too, unless they were asked for."""
        size = sum(parameter.numel() for parameter in prepared.initial_model.parameters())
        if prepared.config.influence == "auto" and size > MOST_PARAMETERS:
            raise InputError(
                f"the network has {size:,} parameters, with which they would take long: ask for them with "
                'influence="on"'
            )
        super().require(prepared)

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count the decomposition, the gradients' coordinates, and the effects."""
        size = min(sizes.n * sizes.outputs, sizes.num_parameters, DIMENSION)
        effects = 7 * sizes.n * sizes.m  # one matrix is in float64, before it is rounded
        return 8 * 4 * size**2 + 4 * (2 * (sizes.n + sizes.m) * size + effects) + 4 * 1024 * size

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time gradients, sketched where the run will sketch them, and one decomposition."""
        n, m = probe.sizes.n, probe.sizes.m
        inputs, targets = probe.rows(SAMPLE)
        plan = whole = plan_parameters(probe.model, inputs[:1], "all")
        mixture = prediction_errors(outputs_of(probe.model, inputs), targets.to(probe.device), probe.recipe.loss)
        columns, width = n * probe.sizes.outputs, plan.width
        size, rows, fit, outside = min(columns, width), columns, 0.0, n * m
        if size > DIMENSION:
            before = time.perf_counter()
            plan = kronecker_plan(probe.model, inputs, plan, DIMENSION, probe.config.seed, mixture)
            fit, size, rows = time.perf_counter() - before, DIMENSION, min(ROWS, columns)
            outside += (n + m) * OUTSIDE_ROWS
        few = slice(64)
        each = timed(lambda: jacobian(probe.model, inputs[few], plan, mixture[few])) / len(inputs[few])
        pairs = outside * _seconds_for_a_pair(probe.model, (inputs[few], mixture[few]), whole)
        products = 2 * rows * size**2 + 2 * (n + m) * size * (size + m)
        decomposition = probe.seconds_for_decomposition * size**3
        return fit + (rows + 2 * (n + m)) * each + pairs + products / probe.flops + decomposition

    @override
    def write(self, scoring: ScoringRun) -> None:
        writer, config, tensors = scoring.writer, scoring.config, scoring.tensors_by_split
        model = scoring.initial_model()
        load_weights(model, writer.path / FINAL_WEIGHTS_FILE)
        spectrum = influence_spectrum(
            model, tensors["train"], tensors["validation"], config.recipe.loss, seed=config.seed
        )
        default, largest = default_damping(spectrum), float(spectrum.values[-1])
        sweep = sweep_of(spectrum, sorted({*SHARES, default / largest}))
        # Weight decay is curvature too, and part of the damping.
        damping = config.damping or max(default, config.recipe.weight_decay)
        effects = spectrum.effects(damping)
        writer.write_effects("influence", effects.shape[1], _blocks(effects), scoring.credible_effects)
        writer.add_column("examples", "self_influence", spectrum.self_influence(damping).cpu().double().numpy())
        series = {"effects on an example": sweep.agreement, "self-influence": sweep.self_agreement}
        writer.write_curve("damping", curve_rows(sweep.share.tolist(), series))
        details = {
            **description_of(spectrum),
            "damping": damping,
            "share_of_largest_eigenvalue": damping / largest,
            "evaluated_on": f"{effects.shape[1]:,} validation examples",
        }
        writer.describe("self_influence", details, ["self_influence"])


def description_of(spectrum: InfluenceSpectrum) -> dict[str, str | float]:
    """Say how the curvature was inverted; only one with all its directions is called exact."""
    how, kept = "exact", {}
    if spectrum.kept_energy is not None:
        how = f"in a sketch of {len(spectrum.values):,} dimensions; outside it, along each gradient alone"
        kept = {"kept_energy": spectrum.kept_energy}
    elif spectrum.flat_below:
        how = f"curvature below {spectrum.flat_below:g} of the largest counts as zero"
    return {"route": f"Gauss-Newton matrix of the whole network, {how}", **kept}


def _seconds_for_a_pair(model: nn.Module, rows: tuple[Tensor, Tensor], plan: ParameterPlan) -> float:
    """Return the seconds that one inner product of whole gradients takes, without the passes that form them."""
    count, one = len(rows[0]), (rows[0][:1], rows[1][:1])
    passes = 2 * count / (count + 1) * timed(lambda: gradient_products(model, rows, one, plan))
    return max(0.0, timed(lambda: gradient_products(model, rows, rows, plan)) - passes) / count**2


def _blocks(effects: Tensor) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(effects), _WRITTEN):
        rows = slice(start, start + _WRITTEN)
        yield rows, effects[rows].cpu().numpy()
