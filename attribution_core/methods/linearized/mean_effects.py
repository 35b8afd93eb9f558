r"""NTK influence on the mean over many evaluation examples, without the effects on each.

With the change ``d_i = w - w_{-i}``, the features ``Phi_j`` of evaluation example j and its error
``u_j = f(x_j) - y_j``, the effect of removing i is ``|Phi_j d_i|^2 / 2 - u_j . Phi_j d_i``
(:meth:`~attribution_core.methods.linearized.model.LinearizedModel.removal_effects`). Over the m examples its mean is

    F-SI_i - <g, d_i>,    g = sum_j Phi_j^T u_j / m,

since the first part is F-SI with ``sigma = 1``. Cost: ``k p`` for each training example, whatever m is, besides F-SI
and the change itself. Effects on single examples, ``m k p`` each, are then needed on some of them only.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from attribution_core.methods.linearized.factored import FactoredChanges, can_factor
from attribution_core.methods.linearized.model import LinearizedModel, squared_error_change
from attribution_core.methods.linearized.schedule import GradientDescent


def iterate_effects_and_means(
    linear: LinearizedModel, schedule: GradientDescent, information: Tensor, shown: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield effects on some evaluation examples, and mean effects on all, for a block of training examples at a time.

    Args:
        linear: The linearized model.
        schedule: How it is trained.
        information: F-SI of the training examples at ``sigma = 1``, ``[n]``.
        shown: Number of evaluation examples, the first ones, whose single effects are wanted.

    Yields:
        The training examples; effects ``[block, shown]``; and mean effects ``[block]``, float64. Positive is helpful.
    """
    error = linear.predictions(schedule) - linear.evaluation_targets
    m, a, _ = linear.evaluation_features.shape
    features = linear.evaluation_features
    gradient = torch.einsum("map,mac->cp", features.double(), error.reshape(m, a, -1)) / m
    some = linear.evaluated_on(slice(shown))
    if can_factor(linear, schedule):
        yield from _factored(some, schedule, information, error[:shown], gradient)
        return
    for rows, changes in linear.iterate_changes(schedule):
        slope = (changes.double() * gradient).sum(dim=(1, 2))
        yield rows, squared_error_change(some.evaluate(changes), error[:shown]), information[rows] - slope


def _factored(
    some: LinearizedModel, schedule: GradientDescent, information: Tensor, error: Tensor, gradient: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield the same from ``A_i Z_i``: with ``y_j = Z_i phi_j``, effects are ``|A_i y_j|^2 / 2 - u_j . A_i y_j``."""
    features = some.evaluation_features[:, 0]
    error, gradient = error.to(features.dtype), gradient.to(features.dtype)
    for rows, own, factors in FactoredChanges(some, schedule).blocks():
        reached = factors @ features.T  # y_j: [block, r, m]
        squares = ((own.mT @ own) @ reached * reached).sum(dim=1)
        products = ((own.mT @ error.T) * reached).sum(dim=1)
        slope = ((factors @ gradient.T) * own.mT).sum(dim=(1, 2))
        yield rows, (0.5 * squares - products).double(), information[rows] - slope.double()
