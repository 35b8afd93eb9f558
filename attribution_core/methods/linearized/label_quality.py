r"""Label quality: how probable each given label is to a model that never saw the example.

In the kernel regime that takes no folds: ridge regression on one-hot labels has every leave-one-out prediction in
closed form (:mod:`attribution_core.methods.linearized.ridge`), from which discriminant analysis makes probabilities
(:mod:`attribution_core.methods.linearized.discriminant`). Lambda, the temperatures and the kernel are those of the
least mean ``-log p_i[label]``, so that nothing is set aside to choose them; kinds of features that tell different
things are pooled, with the weights of least loss (:mod:`attribution_core.methods.linearized.pooling`). An example of
another split is judged by the models of all training examples, which never saw it either.

Of values, the quality is the chance of an error at least as large as the leave-one-out residual, given that residual's
deviation, by the one kernel and kind of features of least loss.

Cost: one basis for each candidate, of at most ``compared_on`` examples, and one of all examples for each that is
pooled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linearized.defaults import FREEDOM
from attribution_core.methods.linearized.judges import (
    Examples,
    Judge,
    candidates,
    compete,
    pool,
    title_of_pool,
    worth_pooling,
)
from attribution_core.methods.linearized.kernel_basis import Features, KernelName
from attribution_core.methods.linearized.pooling import pooled

# With more examples than this the candidates compete on a random sample of as many; the best is then fitted to all.
COMPARED_ON = {False: 2000, True: 1000}  # values, whose fits cost more


@dataclass(frozen=True)
class Judgement:
    """What a model that never saw the examples says of their labels.

    Attributes:
        quality: Probability of the given label, ``[n]``; of a value, the chance of an error at least as large. A low
            quality is suspicious.
        suggested: The most probable class, int64 ``[n]``; of values, the prediction in the unit of the labels.
        confidence: Probability of the suggested class, ``[n]``; None for values.
        probabilities: Of all classes, ``[n, k]``; None for values.
    """

    quality: Tensor
    suggested: Tensor
    confidence: Tensor | None = None
    probabilities: Tensor | None = None


@dataclass(frozen=True)
class LabelQuality(Judgement):
    """The judgement on each training example by a model trained without it, and how that model was chosen.

    Attributes:
        features: Name of the features that have the greatest share; empty if only one kind was given.
        kernel: Name of their kernel.
        weight_decay: Their lambda beside the sum of squared errors, as a multiple of the mean squared norm of the
            centered features.
        temperature: T of the outputs of their ridge regression; 1 for values.
        loss: Mean leave-one-out ``-log p[label]``, in nats; of values, the mean loss under Student's t noise.
        shares: Shares of the weights in the pool, by kernel and features; they sum to one.
        losses: Loss of every candidate, by its kernel and features, and of the pool where it has several judges, on
            the examples on which they were compared.
        kernel_error: Share of the kernel's trace that an approximation for many examples leaves out, the largest of the
            pool's; 0 where exact.
        held_out: The judgement on the evaluation examples; None if there are none.
    """

    features: str = ""
    kernel: str = ""
    weight_decay: float = 0.0
    temperature: float = 1.0
    loss: float = math.nan
    shares: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    kernel_error: float = 0.0
    held_out: Judgement | None = None

    @property
    def title(self) -> str:
        """The model that judges, in words."""
        return title_of_pool(self.shares)


def label_quality(
    features: Features | Mapping[str, Features],
    labels: Tensor,
    evaluation: tuple[Features | Mapping[str, Features], Tensor] | None = None,
    kernel: KernelName | Literal["auto"] = "auto",
    classes: int | None = None,
    compared_on: int | None = None,
    seed: int = 0,
) -> LabelQuality:
    """Judge every label by a model that never saw the example, chosen by its own leave-one-out loss.

    Args:
        features: Training examples as a tensor ``[n, ...]`` or a SciPy sparse matrix, in the precision to compute in;
            or several kinds of features by name, which are pooled, or of which the best is chosen for values; or a
            kernel ``[n, n]`` if ``kernel`` is ``"precomputed"``. They must not have been learned from these labels.
            Rows of images and texts are best scaled to length one.
        labels: Given labels: classes, int64 ``[n]``, or values, floating-point ``[n]``.
        evaluation: Features and labels of examples outside the training set, in the same form (kernel rows ``[m, n]``).
        kernel: ``"linear"``; ``"ntk"``, that of ``relu_ntk``; ``"laplace"``, of the sum of distances by feature;
            ``"precomputed"``; or ``"auto"``: the best of the first two and, for at most a hundred features, the third.
        classes: Number of classes; by default the largest label plus one.
        compared_on: Examples on which candidates are compared, if there are more; by default 2,000, or 1,000 values.
        seed: Seed of that sample, and of the landmarks that stand for the kernel of many examples.

    Returns:
        The judgement on the training examples, and in ``held_out`` that on the evaluation examples.

    Raises:
        InputError: Fewer than three examples, labels and features of different lengths, or features that are not
            finite, or are the same for all examples in every kind of them.
    """
    named = _by_name(features)
    others = dict.fromkeys(named) if evaluation is None else _by_name(evaluation[0])
    _require_valid(named, labels)
    examples = Examples(named, others, labels, classes, seed)
    judges, weights, loss, losses = _pool(examples, kernel, compared_on)
    found = _judged(examples, judges, weights, labels)
    best = judges[weights.index(max(weights))]
    return LabelQuality(
        **vars(found),
        features=best.features,
        kernel=best.kernel,
        weight_decay=best.fit.weight_decay,
        temperature=best.fit.temperature,
        loss=loss,
        shares={judge.title: weight / sum(weights) for judge, weight in zip(judges, weights, strict=True)},
        losses=losses,
        kernel_error=max(judge.kernel_error for judge in judges),
        held_out=None if evaluation is None else _judged(examples, judges, weights, evaluation[1], held_out=True),
    )


def _pool(
    examples: Examples, kernel: KernelName | Literal["auto"], compared_on: int | None
) -> tuple[list[Judge], list[float], float, dict[str, float]]:
    """Return the judges of all examples that come into the pool, their weights, its loss, and those of candidates."""
    named = candidates(examples.features, kernel)
    rows = _sample(len(examples.labels), compared_on or COMPARED_ON[examples.are_values], examples.seed)
    if len(named) == 1 and (rows is None or not examples.are_values):
        judge = examples.judge(*named[0])
        return [judge], [1.0], judge.loss, {judge.title: judge.loss}
    judges, losses = compete(examples, named, rows)
    labels = examples.labels if rows is None else examples.labels[rows]
    judges, weights, loss = worth_pooling(judges, labels)
    if len(judges) > 1:
        losses[title_of_pool(judge.title for judge in judges)] = loss
    if rows is not None:
        decays = [judge.fit.weight_decay if examples.are_values else None for judge in judges]
        judges = [
            examples.judge(each.features, each.kernel, multiple=decay)
            for each, decay in zip(judges, decays, strict=True)
        ]
        weights, loss = pool(judges, examples.labels)
    return judges, weights, loss, losses


def _judged(
    examples: Examples, judges: Sequence[Judge], weights: Sequence[float], given: Tensor, held_out: bool = False
) -> Judgement:
    """Return the pool's judgement on the given labels of the training or the evaluation examples."""
    fit = judges[0].fit
    given = given.to(fit.predictions.device)
    if examples.are_values:
        mean, scale = examples.standard
        predicted, deviations = fit.predictions, fit.deviations
        if held_out:
            predicted, deviations = fit.evaluated, fit.evaluated_deviations
        assert deviations is not None
        return judge_values(predicted[:, 0].double() * scale + mean, scale * deviations.double(), given)
    logs = [judge.evaluated if held_out else judge.own for judge in judges]
    return judge_classes(pooled([each for each in logs if each is not None], weights).exp(), given)


def judge_classes(probabilities: Tensor, given: Tensor) -> Judgement:
    """Judge given classes, int64 ``[n]``, by the probabilities of all classes, ``[n, k]``, of a model."""
    confidence, suggested = probabilities.max(dim=1)
    return Judgement(probabilities.gather(1, given[:, None])[:, 0], suggested, confidence, probabilities)


def judge_values(predicted: Tensor, deviations: Tensor, given: Tensor) -> Judgement:
    """Judge given values by a model's predictions and the scales of Student's t around them, each float64 ``[n]``."""
    from scipy.special import stdtr  # here, since classes need none and loading takes time

    errors = (given.double() - predicted).abs() / deviations
    chance = 2 * stdtr(FREEDOM, -errors.cpu().numpy())
    return Judgement(torch.from_numpy(chance).to(predicted.device), predicted)


def _by_name(features: Features | Mapping[str, Features]) -> dict[str, Features]:
    return dict(features) if isinstance(features, Mapping) else {"": features}


def _sample(count: int, most: int, seed: int) -> Tensor | None:
    """Return some rows, or None for all if there are no more."""
    if count <= most:
        return None
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def _require_valid(named: Mapping[str, Features], labels: Tensor) -> None:
    """Raise InputError unless every kind of features has a finite row for each of at least three labels."""
    if labels.ndim != 1 or len(labels) < 3:
        raise InputError(f"Label quality needs labels [n] of three examples or more; given are {list(labels.shape)}.")
    if labels.is_floating_point() and not float(labels.double().std(correction=0)) > 0:
        raise InputError("Label quality needs values that differ, but all labels are the same: give others.")
    for name, features in named.items():
        what = f"features {name!r}" if name else "features"
        if features.shape[0] != len(labels):
            raise InputError(
                f"Label quality needs {what} with a row for each of {len(labels)} labels; given are "
                f"{features.shape[0]} rows."
            )
        if not math.isfinite(float(features.sum())):
            raise InputError(f"The {what} must be finite numbers, but some are not: leave those examples out.")
