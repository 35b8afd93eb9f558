"""The stage that replays training: what each example contributed over the whole of it (HYDRA)."""

import time
from contextlib import suppress

import torch
from torch import Tensor, nn
from typing_extensions import override

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters
from attribution_core.methods.analysis.label_noise import label_noise_score
from attribution_core.methods.curvature.kronecker import spaced
from attribution_core.methods.hydra.contributions import hydra
from attribution_core.methods.hydra.pairs import require_room_for_rest
from attribution_core.methods.hydra.requirements import refuse_for_hydra
from attribution_core.methods.types import InputsAndTargets
from attribution_core.preparation.prepare import Prepared
from attribution_core.progress import Cancelled, listening
from attribution_core.scoring.probe import Probe
from attribution_core.scoring.recorded_training import read_training
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage
from attribution_core.scoring.trial import require_products_with_the_hessian
from attribution_core.training import Recipe, Trajectory, state_of

_CLUSTERED_ON = 1000  # validation examples at most, as in HYDRA's table 4
_REPLAYED = 6  # steps that are timed
_EVALUATED = 1024  # evaluation examples that a replay is timed with


class ContributionsStage(Stage):
    """Write columns contribution and clusters, effects/hydra.zarr and evolution/contribution.zarr."""

    name = "contributions"
    title = "contributions (HYDRA)"
    order = 40
    option = "contributions"
    needs_training = True
    details_name = "contribution"

    @override
    def require_model(self, model: nn.Module, inputs: Tensor, recipe: Recipe, parameters: str) -> None:
        refuse_for_hydra(model, inputs, recipe)

    @override
    def require(self, prepared: Prepared) -> None:
        """Refuse given weights too, which have no training to follow, and what would not fit into memory."""
        config = prepared.config
        if config.training == "none":
            raise InputError("the weights were given as they are, so there is no training to follow")
        super().require(prepared)
        model, inputs = prepared.initial_model, prepared.two_inputs
        if config.contributions == "exact":
            require_products_with_the_hessian(model, inputs, config.recipe.loss)
        require_room_for_rest(plan_parameters(model, inputs), len(prepared.splits.train))

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count effects, contributions by epoch, and the evaluation examples' factors."""
        effects = 3 * sizes.n * sizes.m + sizes.config.recipe.epochs * sizes.n
        return 4 * effects + sizes.m * sizes.activation_bytes

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time a replay, whose steps meet some evaluation examples here and all in the run."""
        m = probe.sizes.m
        evaluated = min(m, _EVALUATED)
        setup, each_step = _timed_replay(probe, probe.rows(evaluated))
        meeting = max(0.0, each_step - probe.seconds_for_step) * m / evaluated
        steps = probe.recipe.steps(probe.sizes.n)
        seconds = steps * (min(each_step, probe.seconds_for_step) + meeting) + setup * m / evaluated
        if probe.config.contributions == "exact":
            seconds += 4 * steps * probe.seconds_for_step
        return seconds

    @override
    def write(self, scoring: ScoringRun) -> None:
        """Write the contributions from a replay of the training.

        Raises:
            InputError: Training again does not end at the recorded weights.
        """
        writer, config, tensors = scoring.writer, scoring.config, scoring.tensors_by_split
        trajectory = read_training(writer, config, scoring.initial_model(), tensors["train"])
        pairs = hydra(trajectory, tensors["validation"])
        mean, by_epoch, growth = pairs.effect.mean(dim=1), pairs.by_epoch, {}
        route = "Hessian-free (the paper's approximation), from every pair"
        if config.contributions == "exact":
            exact = hydra(trajectory, tensors["validation"], hessian=True, objective="mean")
            mean, by_epoch, growth = exact.effect, exact.by_epoch, {"growth": exact.growth}
            route = "exact (with the Hessian); effects on single examples are Hessian-free"
        effects = pairs.effect.cpu().numpy()
        writer.write_effects("hydra", effects.shape[1], [(slice(0, len(effects)), effects)], scoring.credible_effects)
        writer.add_column("examples", "contribution", mean.cpu().double().numpy())
        if by_epoch is not None:
            writer.write_evolution("contribution", range(1, len(by_epoch) + 1), by_epoch.cpu().numpy())
        details = {
            "route": route,
            "replayed_steps": trajectory.steps,
            "evaluated_on": f"{effects.shape[1]:,} validation examples",
            **growth,
        }
        writer.describe("contribution", details, ["contribution"])
        if trajectory.recipe.loss == "cross_entropy":
            some = spaced(pairs.effect.shape[1], _CLUSTERED_ON)
            score = label_noise_score(pairs.effect[:, some].cpu(), trajectory.data[1].cpu())
            writer.add_column("examples", "clusters", score.numpy())
            writer.describe("clusters", {"evaluated_on": f"{len(some):,} validation examples"}, ["clusters"])


def _timed_replay(probe: Probe, evaluation: InputsAndTargets) -> tuple[float, float]:
    """Return the seconds until the first step of a replay is done, and for each that follows.

    It is the run's own replay, stopped after some steps, since how layers are treated depends on its whole size.
    """
    n, recipe = probe.sizes.n, probe.recipe
    state, steps = state_of(probe.model), recipe.steps(n)
    inputs, targets = probe.rows(n)
    data = inputs, targets.to(probe.device)  # as a training keeps them
    trajectory = Trajectory(recipe, n, torch.ones(n), probe.model, data, state, state, rates=[1e-6] * steps)
    began, moments = time.perf_counter(), []

    def stop(done: int, _total: int, _what: str) -> None:
        moments.append(time.perf_counter())
        if done == min(_REPLAYED, steps):  # a replay that came to its end would ask for the weights of a training
            raise Cancelled

    with suppress(Cancelled), listening(stop):
        hydra(trajectory, evaluation)
    return moments[0] - began, (moments[-1] - moments[0]) / max(1, len(moments) - 1)
