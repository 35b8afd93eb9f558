r"""Cross-fitting: a model judges every label by a training that left the example out.

A network has seen the labels that it was trained on, so what it says of them says little. It is trained once for each
of K folds, without that fold: its outputs ``f_-i(x_i)`` for the fold are then those of a model that never saw the
example. Classes have the probabilities ``softmax(T f_-i(x_i))`` with the temperature T of least loss, and examples of
other splits the mean of the K models' probabilities. Of values, the residuals ``y_i - f_-i(x_i)`` have Student's t
distribution of the scale of least loss.

Cost: K trainings on ``(K - 1) / K`` of the examples.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attribution_core.methods.linearized.defaults import FREEDOM
from attribution_core.methods.linearized.label_quality import LabelQuality, judge_classes, judge_values
from attribution_core.methods.linearized.ridge import best_temperature
from attribution_core.methods.types import InputsAndTargets
from attribution_core.progress import retitled
from attribution_core.training import Recipe, outputs_of, train

_SCALE_STEPS = 50  # each reduces the error of the scale to about a third


@dataclass(frozen=True)
class HeldOutOutputs:
    """A model's outputs for examples that it was not trained on.

    Attributes:
        train: Of each training example by the training without its fold, float64 ``[n, k]``.
        others: Of examples of other splits by each training, float64 ``[K, m, k]``.
    """

    train: Tensor
    others: Tensor


def stratified_folds(strata: Tensor, count: int, seed: int) -> Tensor:
    """Draw folds, over which each class is spread evenly.

    Args:
        strata: Class, or range of values, of each example, int64 ``[n]``.
        count: Number of folds, K.
        seed: Seed of the draw.

    Returns:
        The fold of each example, int64 ``[n]``; sizes differ by at most one, as do those of each class in the folds.
    """
    order = torch.randperm(len(strata), generator=torch.Generator().manual_seed(seed))
    order = order[strata[order].argsort(stable=True)]
    folds = torch.empty(len(strata), dtype=torch.int64)
    folds[order] = torch.arange(len(strata)) % count
    return folds


def sizes_without_fold(examples: int, count: int) -> set[int]:
    """Return the numbers of examples that trainings without one of ``count`` folds have; none without folds."""
    return {examples - examples // count, examples - -(-examples // count)} if count else set()


def held_out_outputs(
    build: Callable[[int], nn.Module],
    data: InputsAndTargets,
    others: Iterable[Tensor],
    recipe: Recipe,
    folds: Tensor,
    validation: InputsAndTargets | None = None,
) -> HeldOutOutputs:
    """Train a model once without each fold.

    Args:
        build: Function from a seed to a model that is to be trained; every training starts from the recipe's seed.
        data: Inputs and targets of the training examples.
        others: Inputs of examples of other splits, in parts ``[m', ...]``.
        recipe: How to train.
        folds: Fold of each training example, int64 ``[n]``, as :func:`stratified_folds` draws them.
        validation: Validation examples, for a schedule whose plateau loss counts theirs.
    """
    (inputs, targets), parts, count = data, list(others), int(folds.max()) + 1
    own: list[Tensor] = []
    beyond: list[Tensor] = []
    for fold in range(count):
        left = folds == fold
        model = build(recipe.seed)
        with retitled(f"cross-fitting, {fold + 1} of {count}: {{}}".format):
            train(model, (inputs[~left], targets[~left]), recipe, validation=validation)
        own.append(outputs_of(model, inputs[left]).double().cpu())
        beyond.append(torch.cat([outputs_of(model, part).double().cpu() for part in parts]))
    held_out = torch.empty(len(targets), own[0].shape[1], dtype=torch.float64)
    for fold, outputs in enumerate(own):
        held_out[folds == fold] = outputs
    return HeldOutOutputs(held_out, torch.stack(beyond))


def quality_of_classes(outputs: HeldOutOutputs, labels: Tensor, given: Tensor) -> LabelQuality:
    """Judge labels by the probabilities of models that never saw the examples, at the temperature of least loss.

    Args:
        outputs: Held-out outputs.
        labels: Given classes of the training examples, int64 ``[n]``.
        given: Given classes of the other examples, int64 ``[m]``.
    """
    temperature = best_temperature(outputs.train, labels)
    probabilities = (temperature * outputs.train).softmax(dim=1)
    others = (temperature * outputs.others).softmax(dim=2).mean(dim=0)
    return LabelQuality(
        **vars(judge_classes(probabilities, labels)),
        temperature=temperature,
        loss=float(cross_entropy(temperature * outputs.train, labels)),
        held_out=judge_classes(others, given),
    )


def quality_of_values(outputs: HeldOutOutputs, labels: Tensor, given: Tensor) -> LabelQuality:
    """Judge values by the residuals of models that never saw the examples.

    Args:
        outputs: Held-out predictions in the unit of the labels, one for each example.
        labels: Given values of the training examples, float64 ``[n]``.
        given: Given values of the other examples, float64 ``[m]``.

    Returns:
        The judgement; its loss is that of values in their standard deviations, as in ``ac.label_quality``.
    """
    predicted, others = outputs.train[:, 0], outputs.others[:, :, 0].mean(dim=0)
    unit = labels.std(correction=0)
    scale, loss = _student_scale((labels - predicted) / unit)
    return LabelQuality(
        **vars(judge_values(predicted, (scale * unit).expand(len(labels)), labels)),
        loss=loss,
        held_out=judge_values(others, (scale * unit).expand(len(given)), given),
    )


def _student_scale(residuals: Tensor) -> tuple[Tensor, float]:
    """Return the scale of Student's t of least mean loss, and that loss without its constant, as for ridge regression.

    The scale solves ``s^2 = mean(w_i r_i^2)`` with the weights ``w_i = 5 / (4 + (r_i / s)^2)``.
    """
    smallest = torch.finfo(residuals.dtype).eps
    scale = residuals.square().mean().sqrt().clamp(min=smallest)
    for _ in range(_SCALE_STEPS):
        weights = (FREEDOM + 1) / (FREEDOM + (residuals / scale).square())
        scale = (weights * residuals.square()).mean().sqrt().clamp(min=smallest)
    tails = (FREEDOM + 1) / 2 * torch.log1p((residuals / scale).square() / FREEDOM)
    return scale, float(tails.mean() + scale.log())
