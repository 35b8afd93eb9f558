"""Models that judge labels which they did not see: kinds of features, each in one of some kernels, and their pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from scipy import sparse
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from attribution_core.errors import InputError
from attribution_core.methods.linearized.discriminant import log_probabilities
from attribution_core.methods.linearized.kernel_basis import Features, KernelName, kernel_basis, some_rows
from attribution_core.methods.linearized.pooling import pool_weights, pooled
from attribution_core.methods.linearized.ridge import RidgeFit, fit_classes, fit_values
from attribution_core.progress import track

# In many dimensions all distances are much the same, so the Laplace kernel is for few features: a table's columns.
FEW_FEATURES = 100
# Of the pool's loss, for a judge to be in it; a weight says little, since a useless judge may have any.
LEAST_GAIN = 0.005
_NOTHING = 1e-4  # nats that are no gain


@dataclass(frozen=True)
class Judge:
    """Regression on one kind of features in one kernel, and what it says of examples that it did not see.

    Attributes:
        features: Name of the kind of features; empty if only one kind was given.
        kernel: Name of the kernel.
        fit: The regression.
        loss: Mean leave-one-out ``-log p[label]``, in nats; of values, the mean loss under Student's t noise.
        kernel_error: Share of the kernel's trace that an approximation for many examples leaves out; 0 where exact.
        own: Log probabilities of the training examples' classes, each without itself, ``[n, k]``; None for values.
        evaluated: Those of the evaluation examples, ``[m, k]``.
    """

    features: str
    kernel: KernelName
    fit: RidgeFit
    loss: float
    kernel_error: float
    own: Tensor | None = None
    evaluated: Tensor | None = None

    @property
    def title(self) -> str:
        """Its kernel and features, in words."""
        return f"{self.kernel} kernel of {self.features}" if self.features else f"{self.kernel} kernel"


@dataclass(frozen=True)
class Examples:
    """Labels to judge, and the features to judge them by.

    Attributes:
        features: Training examples in each kind of features.
        others: Evaluation examples in each kind of features; None for none.
        labels: Given classes, int64 ``[n]``, or values, floating-point ``[n]``.
        classes: Number of classes; None for the largest label plus one.
        seed: Seed of the landmarks of many examples.
    """

    features: Mapping[str, Features]
    others: Mapping[str, Features | None]
    labels: Tensor
    classes: int | None
    seed: int

    @property
    def are_values(self) -> bool:
        """Whether the labels are values."""
        return self.labels.is_floating_point()

    @cached_property
    def standard(self) -> tuple[float, float]:
        """Mean and standard deviation of the values."""
        return float(self.labels.double().mean()), float(self.labels.double().std(correction=0))

    @cached_property
    def targets(self) -> Tensor:
        """What is regressed on, float64 ``[n, k]``: one-hot labels, or standardized values."""
        if not self.are_values:
            return one_hot(self.labels, self.classes or -1).double()
        mean, scale = self.standard
        return ((self.labels.double() - mean) / scale)[:, None]

    def judge(
        self, features: str, kernel: KernelName, rows: Tensor | None = None, multiple: float | None = None
    ) -> Judge:
        """Fit one candidate.

        Args:
            features: Kind of features.
            kernel: Kernel.
            rows: Training examples to use; by default all, and then the evaluation examples are judged as well.
            multiple: Lambda for values, as :func:`fit_values` takes it.

        Raises:
            InputError: All examples have the same features.
        """
        given, others, targets, labels = self.features[features], self.others[features], self.targets, self.labels
        if rows is not None:
            given, others, targets, labels = some_rows(given, rows, kernel), None, targets[rows], labels[rows]
        basis = kernel_basis(given, others, kernel, seed=self.seed)
        if self.are_values:
            fit = fit_values(basis, targets, multiple)
            return Judge(features, kernel, fit, fit.loss, basis.error)
        fit = fit_classes(basis, targets)
        labels = labels.to(fit.predictions.device)
        own, evaluated = log_probabilities(fit, labels)
        return Judge(features, kernel, fit, float(cross_entropy(own, labels)), basis.error, own, evaluated)


def candidates(features: Mapping[str, Features], kernel: KernelName | Literal["auto"]) -> list[tuple[str, KernelName]]:
    """Return each kind of features with the kernels that compete in it: the one that is named, or all that suit it."""
    found: list[tuple[str, KernelName]] = []
    for name, given in features.items():
        few = not sparse.issparse(given) and given.flatten(1).shape[1] <= FEW_FEATURES
        suited: tuple[KernelName, ...] = ("linear", "ntk", "laplace") if few else ("linear", "ntk")
        found += [(name, each) for each in (suited if kernel == "auto" else (kernel,))]
    return found


def compete(
    examples: Examples, named: Sequence[tuple[str, KernelName]], rows: Tensor | None
) -> tuple[list[Judge], dict[str, float]]:
    """Return the best judge for each kind of features, of values the best of all, and the losses of all.

    Args:
        examples: The labels to judge.
        named: Candidates.
        rows: Training examples on which they are compared; by default all.

    Raises:
        InputError: Nothing can be learned from any of them.
    """
    best: dict[str, Judge] = {}
    losses: dict[str, float] = {}
    refusal: InputError | None = None
    for features, kernel in track(named, len(named), "choosing the model that judges labels"):
        try:
            judge = examples.judge(features, kernel, rows)
        except InputError as error:  # nothing can be learned from these features, but perhaps from others
            refusal = error
            continue
        losses[judge.title] = judge.loss
        kind = "" if examples.are_values else features
        if kind not in best or judge.loss < best[kind].loss:
            best[kind] = judge
    if not best:
        assert refusal is not None
        raise refusal
    return list(best.values()), losses


def pool(judges: Sequence[Judge], labels: Tensor) -> tuple[list[float], float]:
    """Return the weights of the judges of the same examples in their pool, and its mean ``-log p[label]``.

    Values have one judge, which is its own pool.

    Args:
        judges: One or, of classes, several.
        labels: Given classes, int64 ``[n]``.
    """
    if len(judges) == 1:
        return [1.0], judges[0].loss
    logs = [judge.own for judge in judges if judge.own is not None]
    labels = labels.to(logs[0].device)
    weights = pool_weights(logs, labels)
    return weights, float(cross_entropy(pooled(logs, weights), labels))


def worth_pooling(judges: Sequence[Judge], labels: Tensor) -> tuple[list[Judge], list[float], float]:
    """Return the judges that lower the pool's loss by what is worth their seconds, their weights and that loss."""
    kept = list(judges)
    weights, loss = pool(kept, labels)
    for judge in sorted(judges, key=lambda each: -each.loss)[:-1]:
        others = [each for each in kept if each is not judge]
        without = pool(others, labels)
        if without[1] <= loss + LEAST_GAIN * abs(loss) + _NOTHING:
            kept, (weights, loss) = others, without
    return kept, weights, loss


def title_of_pool(judges: Iterable[str]) -> str:
    """Return the name of a pool of judges with these titles."""
    return " + ".join(judges)
