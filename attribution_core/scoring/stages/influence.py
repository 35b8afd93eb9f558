"""The stage of influence functions: what the loss on an example would be without another.

They are averaged over the checkpoints of the training. Weights that were given have none, and are taken as they are.
"""

import functools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typing_extensions import override

from attribution_core.errors import InputError
from attribution_core.gradients import ParameterPlan, gradient_products, jacobian, kronecker_plan, plan_parameters
from attribution_core.gradients.ntk import FACTOR_BYTES
from attribution_core.methods.curvature.losses import prediction_errors
from attribution_core.methods.influence.along_training import (
    FROM,
    are_few_enough,
    influence_along_training,
    solves_by_examples,
)
from attribution_core.methods.influence.damping import (
    COMPARED,
    SHARES,
    SWEPT,
    DampingSweep,
    sweep_along_training,
    sweep_of,
)
from attribution_core.methods.influence.functions import default_damping
from attribution_core.methods.influence.kept import bytes_of, state_of
from attribution_core.methods.influence.kernels import GradientKernels
from attribution_core.methods.influence.options import InfluenceOptions
from attribution_core.methods.influence.spectrum import (
    DIMENSION,
    OUTSIDE_ROWS,
    ROWS,
    InfluenceSpectrum,
    influence_spectrum,
)
from attribution_core.models import load_weights
from attribution_core.preparation.prepare import Prepared
from attribution_core.runs import RunWriter
from attribution_core.runs.names import FINAL_WEIGHTS_FILE, KEPT_INFLUENCE_FILE
from attribution_core.scoring.probe import SAMPLE, Probe, timed
from attribution_core.scoring.recorded_training import add_kept_states, kept_epochs, kept_steps, read_training
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage, curve_rows, write_or_skip
from attribution_core.scoring.trial import require_gradients
from attribution_core.training import Recipe, outputs_of

# Of a network whose influence functions are computed unasked: cnn4 (1.2 million) takes half a minute on one core for
# 3,000 examples; for ResNet-18 (11 million) fitting the sketch alone took five minutes.
MOST_PARAMETERS = 3_000_000
_WRITTEN = 512  # rows of the effects, written at once
_FEW = 2  # checkpoints of a network whose gradients are sketched
# What effects at any damping follow from is kept up to this size, and for so many examples that an answer takes about a
# second: at 4,096, four Cholesky decompositions of 2.3e10 multiplications each.
KEPT_BYTES = 2**29
KEPT_EXAMPLES = 4096


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
        """Count inner products and their inverse, or a decomposition; coordinates, effects, and what is kept."""
        size = min(sizes.n * sizes.outputs, sizes.num_parameters, DIMENSION)
        effects = 7 * sizes.n * sizes.m  # one matrix is in float64, before it is rounded
        if _by_examples(sizes):
            factors = min(2 * FACTOR_BYTES, 4 * (sizes.n + sizes.m) * sizes.activation_bytes)
            return 4 * (4 * sizes.n**2 + effects) + factors + KEPT_BYTES
        return KEPT_BYTES + 8 * 4 * size**2 + 4 * (2 * (sizes.n + sizes.m) * size + effects) + 4 * 1024 * size

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time gradients, sketched where the run will sketch them, and one decomposition."""
        n, m, config = probe.sizes.n, probe.sizes.m, probe.config
        inputs, targets = probe.rows(SAMPLE)
        whole = plan_parameters(probe.model, inputs[:1], "all")
        mixture = prediction_errors(outputs_of(probe.model, inputs), targets.to(probe.device), probe.recipe.loss)
        few = slice(64)
        if _by_examples(probe.sizes):
            pair = _seconds_for_a_pair(probe.model, (inputs[few], mixture[few]), whole, torch.float32)
            some = min(n, SWEPT)
            each = 3 * (n + m) * probe.seconds_for_outputs + (n * (n / 2 + m) + some * (some / 2 + COMPARED)) * pair
            each += (2.4 * n**3 + 2 * n * n * m) / probe.flops + probe.seconds_for_decomposition / 2 * some**3
            return len(_checkpoints(probe.recipe.epochs)) * each
        plan, columns = whole, n * probe.sizes.outputs
        size, rows, fit, outside = min(columns, plan.width), columns, 0.0, n * m
        if size > DIMENSION:
            before = time.perf_counter()
            plan = kronecker_plan(probe.model, inputs, plan, DIMENSION, config.seed, mixture)
            fit, size, rows = time.perf_counter() - before, DIMENSION, min(ROWS, columns)
            outside += (n + m) * OUTSIDE_ROWS
        each = timed(lambda: jacobian(probe.model, inputs[few], plan, mixture[few])) / len(inputs[few])
        pairs = outside * _seconds_for_a_pair(probe.model, (inputs[few], mixture[few]), whole, torch.float64)
        products = 2 * rows * size**2 + 2 * (n + m) * size * (size + m)
        decomposition = probe.seconds_for_decomposition * size**3
        times = 1 if config.training == "none" else min(_FEW, len(_checkpoints(probe.recipe.epochs)))
        return times * (fit + (rows + 2 * (n + m)) * each + pairs + products / probe.flops + decomposition)

    @override
    def write(self, scoring: ScoringRun) -> None:
        writer = scoring.writer
        found = _as_given(scoring) if scoring.config.training == "none" else _along_training(scoring)
        writer.write_effects("influence", found.effects.shape[1], _blocks(found.effects), scoring.credible_effects)
        writer.add_column("examples", "self_influence", found.own.cpu().double().numpy())
        series = {"effects on an example": found.sweep.agreement, "self-influence": found.sweep.self_agreement}
        writer.write_curve("damping", curve_rows(found.sweep.share.tolist(), series))
        evaluated = {"evaluated_on": f"{found.effects.shape[1]:,} validation examples"}
        writer.describe("self_influence", {**found.details, **evaluated}, ["self_influence"])
        write_or_skip(writer, "any_damping", functools.partial(found.kept.write, writer))


class _Kept:
    """What effects at any damping follow from, as it is found at one checkpoint after another."""

    def __init__(self) -> None:
        self._state: dict[str, Tensor] = {}
        self._dampings = 0
        self._problem = ""

    def add(self, curvature: GradientKernels | InfluenceSpectrum, damping: float) -> None:
        """Keep one checkpoint, or why none can be kept."""
        self._problem = self._problem or self._why_not(curvature)
        if self._problem:
            self._state.clear()
        else:
            self._state |= state_of(self._dampings, curvature, damping)
            self._dampings += 1

    def _why_not(self, curvature: GradientKernels | InfluenceSpectrum) -> str:
        if isinstance(curvature, GradientKernels) and len(curvature.scale) > KEPT_EXAMPLES:
            return f"with more than {KEPT_EXAMPLES:,} training examples an answer would take too long"
        needed = bytes_of(curvature) + sum(value.nbytes for value in self._state.values())
        if needed > KEPT_BYTES:
            return f"it would take more than {KEPT_BYTES // 2**20:,} MiB"
        return ""

    def write(self, writer: RunWriter) -> None:
        """Write the file.

        Raises:
            InputError: Too much would have to be kept.
        """
        if self._problem:
            raise InputError(self._problem)
        with writer.path_for(KEPT_INFLUENCE_FILE) as path:
            save_file(self._state, path)


class _Found(NamedTuple):
    """What the stage writes: effects ``[n, m]``, self-influence ``[n]``, the curve over dampings, how, what is kept."""

    effects: Tensor
    own: Tensor
    sweep: DampingSweep
    details: dict[str, Any]
    kept: _Kept


def _along_training(scoring: ScoringRun) -> _Found:
    tensors, config = scoring.tensors_by_split, scoring.config
    trajectory = read_training(scoring.writer, config, scoring.initial_model(), tensors["train"])
    add_kept_states(scoring.writer, trajectory)
    recipe = trajectory.recipe
    epoch_of = dict(zip(kept_steps(recipe, trajectory.num_examples), kept_epochs(recipe.epochs), strict=True))
    steps = [step for step, epoch in epoch_of.items() if epoch in _checkpoints(recipe.epochs)]
    if not solves_by_examples(trajectory, scoring.prepared.evaluated):
        steps = steps[: len(steps) // 2 + 1][-_FEW:]  # each takes a sketch: those in the middle tell most
    options, kept = InfluenceOptions(damping=config.damping, seed=config.seed), _Kept()
    found = influence_along_training(trajectory, scoring.evaluation, options, steps, observe=kept.add)
    share = sum(found.share) / len(found.share)
    sweep = sweep_along_training(trajectory, scoring.evaluation, steps, share, sorted({*SHARES, share}))
    *before, last = (str(epoch_of[step]) for step in found.steps)
    after = f"epochs {', '.join(before)} and {last}" if before else f"epoch {last}"
    sketched = found.kept_energy is not None
    how = f"in a sketch of {DIMENSION:,} dimensions" if sketched else "of rank one for each example"
    details = {
        "route": f"Gauss-Newton matrix of the whole network, {how}, mean over the weights after {after}",
        "damping": sum(found.damping) / len(found.damping),
        "share_of_largest_eigenvalue": share,
        "kept_energy": found.kept_energy,
    }
    details = {name: value for name, value in details.items() if value is not None}
    return _Found(found.effect, found.self_influence, sweep, details, kept)


def _as_given(scoring: ScoringRun) -> _Found:
    tensors, config, model = scoring.tensors_by_split, scoring.config, scoring.initial_model()
    load_weights(model, scoring.writer.path / FINAL_WEIGHTS_FILE)
    spectrum = influence_spectrum(model, tensors["train"], scoring.evaluation, config.recipe.loss, seed=config.seed)
    default, largest = default_damping(spectrum), float(spectrum.values[-1])
    sweep = sweep_of(spectrum, sorted({*SHARES, default / largest}))
    # Weight decay is curvature too, and part of the damping.
    damping = config.damping or max(default, config.recipe.weight_decay)
    details = {**description_of(spectrum), "damping": damping, "share_of_largest_eigenvalue": damping / largest}
    kept = _Kept()
    kept.add(spectrum, damping)
    return _Found(spectrum.effects(damping), spectrum.self_influence(damping), sweep, details, kept)


def description_of(spectrum: InfluenceSpectrum) -> dict[str, str | float]:
    """Say how the curvature was inverted; only one with all its directions is called exact."""
    how, kept = "exact", {}
    if spectrum.kept_energy is not None:
        how = f"in a sketch of {len(spectrum.values):,} dimensions; outside it, along each gradient alone"
        kept = {"kept_energy": spectrum.kept_energy}
    elif spectrum.flat_below:
        how = f"curvature below {spectrum.flat_below:g} of the largest counts as zero"
    return {"route": f"Gauss-Newton matrix of the whole network, {how}", **kept}


def _by_examples(sizes: RunSizes) -> bool:
    """Return whether the run's effects will follow from inner products of the examples' gradients."""
    if sizes.config.training == "none":
        return False
    return are_few_enough(sizes.n, sizes.m, sizes.multiplications_of_a_pair)


def _checkpoints(epochs: int) -> list[int]:
    """Return the kept epochs whose weights are used."""
    return [epoch for epoch in kept_epochs(epochs) if epoch >= FROM * epochs]


def _seconds_for_a_pair(
    model: nn.Module, rows: tuple[Tensor, Tensor], plan: ParameterPlan, dtype: torch.dtype
) -> float:
    """Return the seconds that one inner product of whole gradients takes, without the passes that form them."""
    count, one = len(rows[0]), (rows[0][:1], rows[1][:1])
    passes = 2 * count / (count + 1) * timed(lambda: gradient_products(model, rows, one, plan, dtype))
    return max(0.0, timed(lambda: gradient_products(model, rows, rows, plan, dtype)) - passes) / count**2


def _blocks(effects: Tensor) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(effects), _WRITTEN):
        rows = slice(start, start + _WRITTEN)
        yield rows, effects[rows].cpu().numpy()
