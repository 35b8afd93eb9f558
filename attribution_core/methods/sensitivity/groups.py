r"""The memory-perturbation equation for groups of examples, for classes, and over the strength of regularization.

Nickl et al. 2023 (:mod:`attribution_core.methods.sensitivity.perturbation`), eqs. 17, 19, 20 and figure 4.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.per_example import layer_factors
from attribution_core.gradients.plan import as_inputs, plan_parameters
from attribution_core.methods.curvature.losses import Loss, hessian_root, link_derivatives, prediction_errors
from attribution_core.methods.sensitivity.evolution import regularization_at
from attribution_core.methods.sensitivity.perturbation import (
    Covariance,
    MemorySensitivity,
    PosteriorName,
    deviations,
    mean_deviations,
    memory_sensitivity,
    posterior_of,
    require_covariance,
)
from attribution_core.models import evaluation_mode
from attribution_core.progress import silenced, track
from attribution_core.training import Recipe, as_pair, loss_values, mean_loss, outputs_of, train
from attribution_core.training.trainer import LabeledData

# Maximum number of rows of a group's covariance (examples times outputs): with more, its gradients would take
# gigabytes.
GROUP_ROWS = 4096


@dataclass(frozen=True)
class GroupDeviation:
    """Effect of removing a group on the outputs for its own examples.

    Attributes:
        deviation: Outputs without the group minus with it, ``[group, k]``.
        mean_deviation: First-order change of the probabilities (or means) (eq. 17), ``[group, k]``.
    """

    deviation: Tensor
    mean_deviation: Tensor


def group_deviation(
    model: nn.Module,
    train: LabeledData,
    group: Sequence[int] | Tensor,
    delta: float,
    loss: Loss = "cross_entropy",
    posterior: PosteriorName = "kfac",
    covariance: Covariance = "kept",
    parameters: str = "all",
    second_moments: Mapping[str, Tensor] | None = None,
    across_outputs: bool = True,
) -> GroupDeviation:
    """Evaluate the first form of eq. 17, with the covariances between the group's examples.

    The second form, which ignores them, is ``memory_sensitivity(...).mean_deviation[group]``.

    Args:
        model: The trained model.
        train: Training examples.
        group: Indices of the examples that are removed together.
        delta: As in :func:`memory_sensitivity`.
        loss: As in :func:`memory_sensitivity`.
        posterior: As in :func:`memory_sensitivity`.
        covariance: As in :func:`memory_sensitivity`; downdated by the whole group.
        parameters: As in :func:`memory_sensitivity`.
        second_moments: As in :func:`memory_sensitivity`.
        across_outputs: Whether covariances between different outputs count, as in :func:`memory_sensitivity`; those
            between the examples of the group always do.

    Raises:
        InputError: The group is empty, its covariance would have more than ``GROUP_ROWS`` rows, or options are invalid.
    """
    inputs, targets = as_pair(train)
    members = torch.as_tensor(group, dtype=torch.long)
    plan = plan_parameters(model, inputs, parameters)
    require_covariance(covariance)
    if len(members) == 0:
        raise InputError("The group is empty: give the index of at least one training example.")
    made = posterior_of(model, inputs, plan, delta, loss, posterior, second_moments)
    own = as_inputs(inputs[members], next(model.parameters()))
    with evaluation_mode(model):
        k = outputs_of(model, own[:1]).shape[1]
        if len(members) * k > GROUP_ROWS:
            raise InputError(
                f"The covariance of a group of {len(members):,} examples with {k} outputs is too large (the maximum is "
                f"{GROUP_ROWS // k:,}): use the sum over its examples, memory_sensitivity(...).mean_deviation[group]."
            )
        outputs, factors = layer_factors(model, own, plan.layers)
        together = made.covariance(model, own, factors)
    error = prediction_errors(outputs, targets[members].to(outputs.device), loss)
    root = torch.block_diag(*hessian_root(outputs, loss))
    if not across_outputs:
        output = torch.arange(k, device=outputs.device).repeat(len(members))
        together = torch.where(output[:, None] == output, together, 0)
        root = link_derivatives(outputs, loss).flatten().sqrt().diag()
    deviation = deviations(together[None], root[None], error.flatten()[None], covariance).view(outputs.shape)
    return GroupDeviation(deviation, mean_deviations(outputs, deviation, loss, across_outputs))


def leave_one_class_out(sensitivity: MemorySensitivity, labels: Tensor, classes: int) -> Tensor:
    """Return the estimated mean loss on each class after training without it (eq. 20), ``[classes]``.

    It is the mean leave-one-out loss of the class's examples, each for its own removal alone; NaN for an empty class.
    """
    labels = labels.to(sensitivity.loo_loss.device)
    total = sensitivity.loo_loss.new_zeros(classes).index_add_(0, labels, sensitivity.loo_loss)
    return total / torch.bincount(labels, minlength=classes).to(total)


@dataclass(frozen=True)
class LooCurve:
    """Losses over the strength of regularization; each is a mean over examples, ``[deltas]``.

    Attributes:
        deltas: Strengths of regularization.
        train_loss: Loss of the training examples after training.
        loo_loss: Their estimated leave-one-out loss (eq. 19).
        test_loss: Loss of the test examples; NaN without test examples.
    """

    deltas: list[float]
    train_loss: Tensor
    loo_loss: Tensor
    test_loss: Tensor

    @property
    def best(self) -> float:
        """Delta with the smallest leave-one-out loss."""
        return self.deltas[int(self.loo_loss.argmin())]


def loo_curve(
    build: Callable[[], nn.Module],
    data: LabeledData,
    recipe: Recipe,
    deltas: Sequence[float],
    test: LabeledData | None = None,
    posterior: PosteriorName = "kfac",
    covariance: Covariance = "kept",
) -> LooCurve:
    """Train once for each delta and estimate the leave-one-out loss from the training examples alone (figure 4).

    Args:
        build: Function that returns a fresh model, the same each time.
        data: Training examples.
        recipe: Recipe of each training; its weight decay becomes ``delta / n``.
        deltas: Strengths of the regularizer ``delta/2 |w|^2``, which is added to the sum of losses.
        test: Test examples to compare with.
        posterior: As in :func:`memory_sensitivity`.
        covariance: As in :func:`memory_sensitivity`.

    Raises:
        InputError: There is no delta, or :func:`memory_sensitivity` raises it.
    """
    if len(deltas) == 0:
        raise InputError("Give at least one delta.")
    inputs, targets = as_pair(data)
    losses = []
    for delta in track(deltas, len(deltas), "leave-one-out curve"):
        decayed = recipe.model_copy(update={"weight_decay": delta / len(inputs)})
        with silenced():
            found = trained_losses(build(), (inputs, targets), decayed, None, test, posterior, covariance)
        losses.append([found.train_loss, found.loo_loss, found.test_loss])
    columns = torch.tensor(losses, dtype=torch.float64)
    return LooCurve(list(deltas), columns[:, 0], columns[:, 1], columns[:, 2])


@dataclass(frozen=True)
class TrainedLosses:
    """Losses after one training; each is a mean over examples.

    Attributes:
        delta: Strength of the regularizer that the estimate counts with.
        train_loss: Loss of the training examples.
        loo_loss: Their estimated leave-one-out loss (eq. 19).
        validation_loss: Loss of the validation examples; NaN without them.
        test_loss: Loss of the test examples; NaN without them.
    """

    delta: float
    train_loss: float
    loo_loss: float
    validation_loss: float
    test_loss: float


def trained_losses(
    model: nn.Module,
    data: LabeledData,
    recipe: Recipe,
    validation: LabeledData | None = None,
    test: LabeledData | None = None,
    posterior: PosteriorName = "kfac",
    covariance: Covariance = "kept",
    early_stopping: bool = False,
) -> TrainedLosses:
    """Train a model and estimate its leave-one-out loss: one point of :func:`loo_curve`.

    Args:
        model: The model at its initial weights, trained in place.
        data: Training examples.
        recipe: How to train; delta is n times its weight decay.
        validation: Validation examples to compare with, which a schedule may watch.
        test: Test examples to compare with.
        posterior: As in :func:`memory_sensitivity`.
        covariance: As in :func:`memory_sensitivity`.
        early_stopping: Whether delta also counts the training time, as in
            :func:`~attribution_core.methods.sensitivity.evolution.memory_evolution`.

    Raises:
        InputError: Training diverges, or :func:`memory_sensitivity` raises it.
    """
    inputs, targets = as_pair(data)
    trajectory = train(model, (inputs, targets), recipe, validation=validation)
    decay = regularization_at(trajectory, trajectory.steps) if early_stopping else recipe.weight_decay
    found = memory_sensitivity(
        model, (inputs, targets), decay * len(inputs), recipe.loss, posterior, covariance,
        second_moments=trajectory.second_moments.get(trajectory.steps), variance="none",
    )  # fmt: skip
    own = loss_values(found.outputs, targets.to(found.outputs.device), recipe.loss)
    held_out = [
        torch.nan if each is None else mean_loss(model, as_pair(each), recipe.loss) for each in (validation, test)
    ]
    return TrainedLosses(decay * len(inputs), float(own.mean()), float(found.loo_loss.mean()), *held_out)
