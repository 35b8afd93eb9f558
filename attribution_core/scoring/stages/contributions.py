"""The stage that replays training: what each example contributed over the whole of it (HYDRA)."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters
from attribution_core.methods.analysis.label_noise import label_noise_score
from attribution_core.methods.curvature.kronecker import spaced
from attribution_core.methods.hydra.batch_statistics import batch_norms
from attribution_core.methods.hydra.contributions import Contributions, hydra
from attribution_core.methods.hydra.pairs import require_room_for_rest
from attribution_core.methods.hydra.replay import refuse_hessian_free
from attribution_core.methods.hydra.requirements import refuse_for_exact_contributions, refuse_for_hydra
from attribution_core.methods.hydra.responses import HELD_BYTES
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models.plain import copy_of
from attribution_core.preparation.prepare import Prepared
from attribution_core.progress import Cancelled, listening
from attribution_core.runs.names import CONTRIBUTIONS_FILE
from attribution_core.scoring.probe import Probe
from attribution_core.scoring.recorded_training import read_training
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage
from attribution_core.scoring.trial import require_products_with_the_hessian
from attribution_core.training import Recipe, Trajectory, state_of

_CLUSTERED_ON = 1000  # validation examples at most, as in HYDRA's table 4
# What the exact derivative costs in steps of the optimizer, a step, besides a replay: without and with BatchNorm, whose
# normalization is then computed from its formula. The latter also costs the Hessian-free derivative of the mean.
_BACKWARD_STEPS, _WITH_STATISTICS, _MEAN_STEPS = 4, 7, 2
_REPLAYED = 6  # steps that are timed
_EVALUATED = 1024  # evaluation examples that a replay is timed with


class ContributionsStage(Stage):
    """Write column contribution, evolution/contribution.zarr and, of SGD, effects/hydra.zarr and column clusters.

    Adam and AdamW have no Hessian-free form, so their contributions are the exact ones of the mean. With BatchNorm, the
    contribution to the mean has its own replay: its derivative goes through the statistics of each batch, which pairs
    take to move with the layer before each norm alone.
    """

    name = "contributions"
    title = "contributions (HYDRA)"
    order = 40
    option = "contributions"
    needs_training = True
    details_name = "contribution"

    @override
    def require_model(self, model: nn.Module, inputs: Tensor, recipe: Recipe, parameters: str) -> None:
        if _has_pairs(recipe):
            refuse_for_hydra(model, inputs, recipe)
        else:
            refuse_for_exact_contributions(model, recipe)
            require_products_with_the_hessian(model, inputs, recipe.loss)

    @override
    def require(self, prepared: Prepared) -> None:
        """Refuse given weights too, which have no training to follow, and what would not fit into memory."""
        config = prepared.config
        if config.training == "none":
            raise InputError("the weights were given as they are, so there is no training to follow")
        if config.contributions == "free":
            refuse_hessian_free(config.recipe)
        super().require(prepared)
        model, inputs = prepared.initial_model, prepared.two_inputs
        if config.contributions == "exact":
            require_products_with_the_hessian(model, inputs, config.recipe.loss)
        if _has_pairs(config.recipe):
            require_room_for_rest(plan_parameters(model, inputs), len(prepared.splits.train))

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count effects, contributions by epoch, the evaluation examples' factors, and the steps that are held."""
        config, recipe = sizes.config, sizes.config.recipe
        by_epoch, held = 4 * recipe.epochs * sizes.n, 4 * sizes.num_parameters * recipe.steps(sizes.n)
        if not _has_pairs(recipe):
            return by_epoch + min(HELD_BYTES, 4 * held)  # weights, gradients and two averages
        exact = min(HELD_BYTES, held) if config.contributions == "exact" else 0
        return max(4 * 3 * sizes.n * sizes.m + by_epoch + sizes.m * sizes.activation_bytes, exact)

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time a replay, whose steps meet some evaluation examples here and all in the run."""
        m, steps = probe.sizes.m, probe.recipe.steps(probe.sizes.n)
        through_statistics = bool(batch_norms(copy_of(probe.model).train()))
        backward = _WITH_STATISTICS if through_statistics else _BACKWARD_STEPS
        if not _has_pairs(probe.recipe):
            return (1 + backward) * steps * probe.seconds_for_step
        evaluated = min(m, _EVALUATED)
        setup, each_step = _timed_replay(probe, probe.rows(evaluated))
        meeting = max(0.0, each_step - probe.seconds_for_step) * m / evaluated
        seconds = steps * (min(each_step, probe.seconds_for_step) + meeting) + setup * m / evaluated
        if probe.config.contributions == "exact":
            seconds += backward * steps * probe.seconds_for_step
        elif through_statistics:
            seconds += _MEAN_STEPS * steps * probe.seconds_for_step
        return seconds

    @override
    def write(self, scoring: ScoringRun) -> None:
        """Write the contributions from a replay of the training.

        Raises:
            InputError: Training again does not end at the recorded weights.
        """
        config, tensors = scoring.config, scoring.tensors_by_split
        trajectory = read_training(scoring.writer, config, scoring.initial_model(), tensors["train"])
        found = contributions_of(
            trajectory, tensors["validation"], scoring.prepared.evaluated, exact=config.contributions == "exact"
        )
        (scoring.writer.path / CONTRIBUTIONS_FILE).unlink(missing_ok=True)  # an average of earlier ones
        write_contributions(scoring, found, {"route": found.route, "replayed_steps": trajectory.steps})


@dataclass(frozen=True)
class RunContributions:
    """The contributions of a run's examples over one training, or their average.

    Attributes:
        mean: Effect on the mean validation loss, ``[n]``, and its contributions by epoch.
        pairs: Effect on each validation example, ``[n, m]``; None where the optimizer has none.
        route: How they were computed, in words.
    """

    mean: Contributions
    pairs: Tensor | None
    route: str


def contributions_of(
    trajectory: Trajectory, validation: InputsAndTargets, evaluated: int, exact: bool
) -> RunContributions:
    """Return the contributions over a training: exact or Hessian-free on the mean, and of pairs where there are such.

    Args:
        trajectory: The training.
        validation: Examples on whose mean loss contributions are measured.
        evaluated: Number of them, the first ones, for pairs.
        exact: Whether the mean has the Hessian.

    Raises:
        InputError: As in :func:`attribution_core.hydra`.
    """
    has_pairs = _has_pairs(trajectory.recipe)
    some = validation[0][:evaluated], validation[1][:evaluated]
    pairs = hydra(trajectory, some) if has_pairs else None
    through_statistics = bool(batch_norms(copy_of(trajectory.model).train()))
    if exact or pairs is None:
        mean = hydra(trajectory, validation, hessian=True, objective="mean")
        route = "exact (with the Hessian)"
        route += "; effects on single examples are Hessian-free" if has_pairs else ", on the mean alone"
    elif through_statistics:
        mean = hydra(trajectory, validation, objective="mean")
        route = "Hessian-free (the paper's approximation), through the statistics of each batch"
    elif evaluated < len(validation[1]):
        mean = hydra(trajectory, validation, objective="mean")
        route = "Hessian-free (the paper's approximation)"
    else:
        mean = Contributions(pairs.effect.mean(dim=1), pairs.by_epoch)
        route = "Hessian-free (the paper's approximation), from every pair"
    if has_pairs and through_statistics:
        route += "; in effects on single examples they move with the layer before alone"
    return RunContributions(mean, None if pairs is None else pairs.effect, route)


def write_contributions(scoring: ScoringRun, found: RunContributions, details: dict[str, Any]) -> None:
    """Write contributions into a run, with details on how they were made."""
    writer = scoring.writer
    if found.pairs is not None:
        effects = found.pairs.cpu().numpy()
        writer.write_effects("hydra", effects.shape[1], [(slice(0, len(effects)), effects)], scoring.credible_effects)
    writer.add_column("examples", "contribution", found.mean.effect.cpu().double().numpy())
    by_epoch = found.mean.by_epoch
    if by_epoch is not None:
        writer.write_evolution("contribution", range(1, len(by_epoch) + 1), by_epoch.cpu().numpy())
    evaluated = {"evaluated_on": f"{len(scoring.prepared.splits.validation):,} validation examples"}
    growth = {} if found.mean.growth is None else {"growth": found.mean.growth}
    writer.describe("contribution", {**details, **evaluated, **growth}, ["contribution"])
    if found.pairs is not None and scoring.config.recipe.loss == "cross_entropy":
        some = spaced(found.pairs.shape[1], _CLUSTERED_ON)
        labels = torch.from_numpy(scoring.prepared.splits.train.strata)
        writer.add_column("examples", "clusters", label_noise_score(found.pairs[:, some].cpu(), labels).numpy())
        writer.describe("clusters", {"evaluated_on": f"{len(some):,} validation examples"}, ["clusters"])


def _has_pairs(recipe: Recipe) -> bool:
    return recipe.optimizer == "sgd"


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
