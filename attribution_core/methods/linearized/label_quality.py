r"""Label quality: how probable each given label is to a model that never saw the example.

In the kernel regime that takes no folds: ridge regression on one-hot labels has every leave-one-out prediction in
closed form (:mod:`attribution_core.methods.linearized.ridge`). Probabilities are ``p_i = softmax(T f_-i(x_i))``;
lambda, T, the kernel and the features are those of the least mean ``-log p_i[label]``, so that nothing is set aside to
choose them. An example of another split is judged by the model of all training examples, which never saw it either.

Of values, the quality is the chance of an error at least as large as the leave-one-out residual, given that residual's
deviation.

Cost: one basis for each candidate, of at most ``compared_on`` examples, and one of all examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from scipy.special import stdtr
from torch import Tensor
from torch.nn.functional import one_hot

from attribution_core.errors import InputError
from attribution_core.methods.linearized.defaults import FREEDOM
from attribution_core.methods.linearized.kernel_basis import Features, KernelBasis, KernelName, kernel_basis, some_rows
from attribution_core.methods.linearized.ridge import RidgeFit, fit_classes, fit_values
from attribution_core.progress import track

KERNELS: tuple[KernelName, ...] = ("linear", "ntk")
# With more examples than this the candidates compete on a random sample of as many; the best is then fitted to all.
COMPARED_ON = 2000
COMPARED_ON_VALUES = 1000  # a fit to values costs a hundred times as much


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
        features: Name of the features that were chosen; empty if only one kind was given.
        kernel: Name of the kernel that was chosen.
        weight_decay: Lambda beside the sum of squared errors, as a multiple of the mean squared norm of the centered
            features.
        temperature: T; 1 for values.
        loss: Mean leave-one-out ``-log p[label]``, in nats; of values, the mean loss under Student's t noise.
        losses: That of every candidate, by its kernel and features, on the examples on which they were compared.
        kernel_error: Share of the kernel's trace that an approximation for many examples leaves out; 0 where exact.
        held_out: The judgement on the evaluation examples; None if there are none.
    """

    features: str = ""
    kernel: str = ""
    weight_decay: float = 0.0
    temperature: float = 1.0
    loss: float = math.nan
    losses: dict[str, float] = field(default_factory=dict)
    kernel_error: float = 0.0
    held_out: Judgement | None = None


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
            or several kinds of features by name, of which the best is chosen; or a kernel ``[n, n]`` if ``kernel`` is
            ``"precomputed"``. They must not have been learned from these labels. Rows of images and texts are best
            scaled to length one.
        labels: Given labels: classes, int64 ``[n]``, or values, floating-point ``[n]``.
        evaluation: Features and labels of examples outside the training set, in the same form (kernel rows ``[m, n]``).
        kernel: ``"linear"``; ``"ntk"``, that of ``relu_ntk``; ``"precomputed"``; or ``"auto"``: the better of the
            first two.
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
    kernels: tuple[KernelName, ...] = KERNELS if kernel == "auto" else (kernel,)
    candidates = [(name, each) for name in named for each in kernels]
    targets = _targets(labels, classes)
    values = labels.is_floating_point()
    rows = _sample(len(labels), compared_on or (COMPARED_ON_VALUES if values else COMPARED_ON), seed)
    whole = len(rows) == len(labels)
    losses: dict[str, float] = {}
    best = None
    if len(candidates) > 1 or (values and not whole):
        # Where all examples are compared, the best candidate's basis is that of its judgements too.
        judged, fit_to = others if whole else dict.fromkeys(named), fit_values if values else fit_classes
        best, losses = _best(candidates, named, judged, fit_to, targets[rows], rows)
    (name, chosen), multiple = (best.names, best.fit.weight_decay) if best else (candidates[0], None)
    if best and whole:
        basis, fit = best.basis, best.fit
    else:
        basis = kernel_basis(named[name], others[name], chosen, seed=seed)
        fit = fit_values(basis, targets, multiple) if values else fit_classes(basis, targets)
    held_out = None
    if evaluation is not None:
        held_out = _judge(fit.evaluated, fit.evaluated_deviations, fit.temperature, evaluation[1], labels)
    own = _judge(fit.predictions, fit.deviations, fit.temperature, labels, labels)
    return LabelQuality(
        **vars(own),
        features=name,
        kernel=chosen,
        weight_decay=fit.weight_decay,
        temperature=fit.temperature,
        loss=fit.loss,
        losses=losses or {_title(name, chosen): fit.loss},
        kernel_error=basis.error,
        held_out=held_out,
    )


@dataclass(frozen=True)
class _Candidate:
    """A kind of features with a kernel, and the fit to them."""

    names: tuple[str, KernelName]
    basis: KernelBasis
    fit: RidgeFit


def _best(
    candidates: list[tuple[str, KernelName]],
    named: Mapping[str, Features],
    others: Mapping[str, Features | None],
    fit_to: Callable[[KernelBasis, Tensor], RidgeFit],
    targets: Tensor,
    rows: Tensor,
) -> tuple[_Candidate, dict[str, float]]:
    """Return the candidate of the least loss on some rows, whose targets are given, and the losses of all.

    Raises:
        InputError: Nothing can be learned from any of them.
    """
    best: _Candidate | None = None
    losses: dict[str, float] = {}
    refusal: InputError | None = None
    for names in track(candidates, len(candidates), "choosing the model that judges labels"):
        name, kernel = names
        try:
            basis = kernel_basis(some_rows(named[name], rows, kernel), others[name], kernel)
        except InputError as error:  # nothing can be learned from these features, but perhaps from others
            refusal = error
            continue
        fit = fit_to(basis, targets)
        losses[_title(name, kernel)] = fit.loss
        if best is None or fit.loss < best.fit.loss:
            best = _Candidate(names, basis, fit)
    if best is None:
        assert refusal is not None
        raise refusal
    return best, losses


def judge_classes(probabilities: Tensor, given: Tensor) -> Judgement:
    """Judge given classes, int64 ``[n]``, by the probabilities of all classes, ``[n, k]``, of a model."""
    confidence, suggested = probabilities.max(dim=1)
    return Judgement(probabilities.gather(1, given[:, None])[:, 0], suggested, confidence, probabilities)


def judge_values(predicted: Tensor, deviations: Tensor, given: Tensor) -> Judgement:
    """Judge given values by a model's predictions and the scales of Student's t around them, each float64 ``[n]``."""
    errors = (given.double() - predicted).abs() / deviations
    chance = 2 * stdtr(FREEDOM, -errors.cpu().numpy())
    return Judgement(torch.from_numpy(chance).to(predicted.device), predicted)


def _judge(
    predictions: Tensor, deviations: Tensor | None, temperature: float, given: Tensor, labels: Tensor
) -> Judgement:
    """Return probabilities and suggestions for the given labels; ``labels`` are those that were trained on."""
    given = given.to(predictions.device)
    if deviations is None:
        return judge_classes((temperature * predictions).softmax(dim=1), given)
    mean, scale = _standard(labels)
    return judge_values(predictions[:, 0].double() * scale + mean, scale * deviations.double(), given)


def _targets(labels: Tensor, classes: int | None) -> Tensor:
    """Return what is regressed on, float64 ``[n, k]``: one-hot labels, or standardized values."""
    if not labels.is_floating_point():
        return one_hot(labels, classes or -1).double()
    mean, scale = _standard(labels)
    return ((labels.double() - mean) / scale)[:, None]


def _standard(values: Tensor) -> tuple[float, float]:
    return float(values.double().mean()), float(values.double().std(correction=0))


def _by_name(features: Features | Mapping[str, Features]) -> dict[str, Features]:
    return dict(features) if isinstance(features, Mapping) else {"": features}


def _title(name: str, kernel: str) -> str:
    return f"{kernel} kernel of {name}" if name else f"{kernel} kernel"


def _sample(count: int, most: int, seed: int) -> Tensor:
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def _require_valid(named: Mapping[str, Features], labels: Tensor) -> None:
    """Raise InputError unless every kind of features has a finite row for each of at least three labels."""
    if labels.ndim != 1 or len(labels) < 3:
        raise InputError(f"Label quality needs labels [n] of three examples or more; given are {list(labels.shape)}.")
    if labels.is_floating_point() and not _standard(labels)[1] > 0:
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
