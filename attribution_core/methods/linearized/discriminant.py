r"""Probabilities of classes from the outputs of a regression on one-hot labels, by discriminant analysis.

Regression on one-hot labels orders the classes well but squeezes their outputs together: an impossible class and an
unlikely one are both near zero, the more so the more classes there are. Linear discriminant analysis of its outputs
mends that (penalized discriminant analysis: Hastie, Buja and Tibshirani 1995, The Annals of Statistics 23). Let ``f_i
[k]`` be the leave-one-out outputs, with the mean of all targets in place of that without i, since from the latter the
label of i could be told, in the directions in which they vary with the targets. With their class means ``m_c`` and
their covariance S within classes, both without i,

    d_ic = m_c^T S^-1 f_i - m_c^T S^-1 m_c / 2.

Without i the mean of its own class c is ``(n_c m_c - f_i) / (n_c - 1)``, and with ``r_i = f_i - m_c``, ``v = S^-1 r_i``
and ``a = n_c / ((n_c - 1) (n - k))`` the inverse is, but for a factor near one, ``S^-1 + a v v^T / (1 - a r_i^T v)``.

The log probabilities are the mean of two, ``log softmax(T f)`` and ``log softmax(U d)``, each at the temperature of its
least cross-entropy, as is their mean: the first is the steadier where one class is often mistaken for one other, the
second where labels are wrong at random. Cost: ``O(n k^2 + k^3)``.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from attribution_core.methods.linearized.ridge import RidgeFit, best_temperature

# S has a multiple of the identity added: its mean variance times this, over the mean size of a class. It counts where
# classes are small, since an example acts on the outputs of all others, and through them on its own discriminants, most
# of all in directions in which the outputs hardly vary. Labels that are drawn at random are then told no better than by
# guessing, from 2 examples a class on; by S alone they had up to 4 nats less (1,000 examples, 100 classes).
_SHRINKAGE = 20.0
_ROUNDINGS = 16.0  # of an output; what varies by less is not read


def log_probabilities(fit: RidgeFit, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log probabilities of classes.

    Args:
        fit: Regression on one-hot labels.
        labels: Those that were trained on, int64 ``[n]``.

    Returns:
        Of the training examples, each without itself, ``[n, k]``, and of the evaluation examples, ``[m, k]``.
    """
    targets = one_hot(labels, fit.predictions.shape[1]).to(fit.predictions)
    with_mean = fit.predictions + (targets - targets.mean(dim=0)) / (len(labels) - 1)
    onto = _with_the_labels(with_mean, targets)
    own, evaluated = discriminants(with_mean @ onto, fit.evaluated @ onto, labels)
    temperature = best_temperature(own, labels)

    def mean(outputs: Tensor, scores: Tensor) -> Tensor:
        return ((fit.temperature * outputs).log_softmax(dim=1) + (temperature * scores).log_softmax(dim=1)) / 2

    both = mean(fit.predictions, own)
    last = best_temperature(both, labels)
    return (last * both).log_softmax(dim=1), (last * mean(fit.evaluated, evaluated)).log_softmax(dim=1)


def _with_the_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the projection ``[k, k]`` onto the directions in which outputs and targets vary together.

    Fitted outputs do in all directions, since ``Y^T H Y`` has no negative eigenvalue. Leave-one-out outputs that know
    nothing vary against the targets: without i, the mean of the examples like i is farther from the label of i. Where
    outputs do not vary at all, as with the largest lambda, their rounding may.
    """
    covariance = (targets - targets.mean(dim=0)).T @ (outputs - outputs.mean(dim=0)) / len(outputs)
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    rounding = _ROUNDINGS * torch.finfo(outputs.dtype).eps * float(outputs.abs().max())
    kept = vectors[:, values > rounding]
    return kept @ kept.T


def discriminants(outputs: Tensor, others: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the discriminant of each class: of the training examples without themselves, and of others.

    Args:
        outputs: Leave-one-out outputs of the training examples, ``[n, k]``.
        others: Outputs for other examples, ``[m, k]``.
        labels: Classes of the training examples, int64 ``[n]``.

    Returns:
        ``[n, k]`` and ``[m, k]``. A class without examples has the lowest discriminant of all classes.
    """
    n, k = outputs.shape
    members = one_hot(labels, k).to(outputs)
    counts = members.sum(dim=0)
    size, present = counts[labels], counts > 0
    means = members.T @ outputs / counts.clamp(min=1)[:, None]
    deviations = outputs - means[labels]
    freedom = max(n - int(present.sum()), 1)
    covariance = deviations.T @ deviations / freedom
    # The least where outputs do not vary within classes, or at all.
    least = (torch.finfo(outputs.dtype).eps * outputs.square().mean()).clamp(min=torch.finfo(outputs.dtype).eps ** 2)
    ridge = _SHRINKAGE * k / n * torch.maximum(covariance.diagonal().mean(), least)
    inverse = torch.linalg.inv(covariance + ridge * torch.eye(k).to(outputs))
    # The mean of an example's class without the example; of a class of one, that of all examples.
    without = (size[:, None] * means[labels] - outputs) / (size - 1).clamp(min=1)[:, None]
    without = torch.where(size[:, None] > 1, without, outputs.mean(dim=0))

    turned, projected = deviations @ inverse, means @ inverse
    share = size / (size - 1).clamp(min=1) / freedom
    remaining = 1 - share * (turned * deviations).sum(dim=1)
    gain = (share / remaining.clamp(min=torch.finfo(outputs.dtype).eps))[:, None]
    straight = (turned * outputs).sum(dim=1, keepdim=True)
    norms = (projected * means).sum(dim=1)

    along = _replaced(turned @ means.T, labels, (turned * without).sum(dim=1))
    products = _replaced(outputs @ projected.T, labels, (outputs @ inverse * without).sum(dim=1))
    squares = _replaced(norms.expand(n, k), labels, (without @ inverse * without).sum(dim=1))
    own = products - squares / 2 + gain * (along * straight - along.square() / 2)
    return _lowest_if_absent(own, present), _lowest_if_absent(others @ projected.T - norms / 2, present)


def _replaced(table: Tensor, labels: Tensor, own: Tensor) -> Tensor:
    """Return a table ``[n, k]`` with other entries, ``[n]``, for the class of each example."""
    return table.scatter(1, labels[:, None], own[:, None])


def _lowest_if_absent(scores: Tensor, present: Tensor) -> Tensor:
    lowest = scores[:, present].min(dim=1, keepdim=True).values
    return torch.where(present, scores, lowest)
