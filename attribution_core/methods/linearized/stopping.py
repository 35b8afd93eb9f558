r"""When to stop training a linearized model: where it predicts best what it has not seen.

The model trained without example i predicts ``f_{-i}(x_i) = y_i - r_i + Psi_i w - Psi_i (w - w_{-i})`` at any time, in
closed form. Their mean loss needs no data set aside. Of the times whose loss is within a standard error of the least,
the shortest is taken: features of a network that was trained on the labels have seen them, so that the loss falls for
too long. Classes are judged by ``-log softmax(T f_{-i}(x_i))[label]`` with the best T, since outputs that regress on
one-hot labels are no logits; values by half the squared error.

Cost: as F-SI at these times, without the products with the evaluation examples.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.over_time import ChangesOverTime, share_products, single
from attribution_core.methods.linearized.ridge import best_temperature
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.progress import report, silenced, track


def stopping_time(losses: Tensor, times: Sequence[float]) -> float:
    """Return the shortest time whose mean loss is within a standard error of the least.

    Args:
        losses: Of each example at each time, ``[times, n]``.
        times: Training times, ascending.
    """
    means = losses.double().mean(dim=1)
    best = int(means.argmin())
    error = float(losses[best].double().std(correction=0)) / losses.shape[1] ** 0.5
    return times[int((means <= means[best] + error).nonzero()[0])]


def leave_one_out_losses(
    linear: LinearizedModel, targets: Tensor, schedule: GradientDescent, times: Sequence[float]
) -> Tensor:
    """Return the loss of each training example under the model trained without it, at each time.

    Args:
        linear: The linearized model.
        targets: Training targets: classes, int64 ``[n]``, or values ``[n, k]``.
        schedule: How it is trained; its time is replaced.
        times: Training times, in steps.

    Returns:
        Cross-entropies in nats, or half squared errors, ``[times, n]``.
    """
    outputs = _leave_one_outs(linear, targets, [replace(schedule, steps=time) for time in times])
    if targets.is_floating_point():
        return (outputs - targets.to(outputs)).square().sum(dim=2) / 2
    labels, temperature, losses = targets.to(outputs.device), 1.0, []
    for each in outputs:
        temperature = best_temperature(each, labels, temperature)
        losses.append(cross_entropy(temperature * each, labels, reduction="none"))
    return torch.stack(losses)


def _leave_one_outs(linear: LinearizedModel, targets: Tensor, moments: Sequence[GradientDescent]) -> Tensor:
    """Return what each example's label is predicted to be without it, ``[times, n, k]``, float32."""
    n, k = linear.num_train, linear.num_outputs
    wanted = targets if targets.is_floating_point() else torch.nn.functional.one_hot(targets.long(), k)
    started = wanted.to(linear.residuals).reshape(linear.residuals.shape) - linear.residuals  # f_0
    fitted = [started + linear.features @ linear.weights(moment).to(linear.features.dtype).T for moment in moments]
    found = torch.stack([each.float() for each in fitted])  # [times, n, a, c]
    if share_products(linear, moments):
        for rows, weighted, coefficients in ChangesOverTime(linear, moments).blocks():
            own = weighted @ linear.features[rows].float().mT  # psi_i B_b psi_i: [block, r, 1]
            found[:, rows] -= (coefficients @ own).mT
            report(rows.stop, n, "choosing the training time")
    else:
        rounded = single(linear, moments)
        for place, moment in zip(found, track(moments, len(moments), "choosing the training time"), strict=True):
            with silenced():
                for rows, changes in rounded.iterate_changes(moment):
                    place[rows] -= (rounded.features[rows] @ changes.mT).float()
    return found.reshape(len(moments), n, k)
