"""Studies of influence in the neural-tangent-kernel regime: error of the classical estimate, influence and complexity.

Zhang and Zhang, "Rethinking influence functions of neural networks in the over-parameterized regime", AAAI 2022,
figures 2, 3, 5 and 7, each for any linearized model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.blocked import blocks
from attribution_core.methods.linearized.kernel_influence import ihvp_effects_in_kernel_regime, require_marks
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.over_time import largest_effects_over_time
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.progress import track


@dataclass(frozen=True)
class EstimateError:
    """Error of the classical estimate for some weight decays (figure 2).

    Attributes:
        rate: Sum of ``|exact - estimate|`` over all pairs, divided by that of ``|exact|``, ``[decays]``; an estimate of
            zero has a rate of 1.
        lower_bound: Leading term of the rate's bound by theorem 3, ``lambda_min / (lambda_min + lambda)``,
            ``[decays]``. It is always 0, and says nothing, if the n x n kernel is singular: with fewer features than
            examples. None if outputs do not share their features, since the theorem does not hold then.
    """

    rate: Tensor
    lower_bound: Tensor | None


def estimate_error(
    linear: LinearizedModel,
    weight_decays: Sequence[float],
) -> EstimateError:
    """Return the error rate of the inverse-Hessian-vector-product estimate and its lower bound (theorem 3, figure 2).

    Args:
        linear: The linearized model.
        weight_decays: Weight decays, each ``> 0``, added to the sum of losses.

    Raises:
        InputError: A weight decay is not positive.
    """
    least = float(linear.eigenvalues[0]) if len(linear.eigenvalues) == linear.num_train else 0.0
    rates, bounds = [], []
    for decay in track(weight_decays, len(weight_decays), "error of influence functions"):
        influence = ihvp_effects_in_kernel_regime(linear, decay)
        rates.append(float((influence.exact - influence.effects).abs().sum() / influence.exact.abs().sum()))
        bounds.append(least / (least + decay))
    rate, lower_bound = (torch.tensor(values, dtype=torch.float64) for values in (rates, bounds))
    return EstimateError(rate, lower_bound if linear.features.shape[1] == 1 else None)


def estimate_error_by_example(linear: LinearizedModel, weight_decay: float) -> Tensor:
    """Return the classical estimate's error rate for each training example, ``[n]``, ``>= 0``.

    It is taken over all evaluation examples. Figure 3 plots it against :func:`feature_density`: theorem 4 bounds it by
    one over the density's square root.

    Raises:
        InputError: The weight decay is not positive.
    """
    influence = ihvp_effects_in_kernel_regime(linear, weight_decay)
    size = influence.exact.abs().sum(dim=1)
    return (influence.exact - influence.effects).abs().sum(dim=1) / size.clamp(min=torch.finfo(size.dtype).tiny)


def feature_density(linear: LinearizedModel, components: int = 20) -> Tensor:
    """Return the probability density at each training example, up to a factor (theorem 4, figure 3).

    It is a Gaussian kernel density estimate with Scott's bandwidth in the leading principal coordinates of feature
    space, which is ``sum_j exp(-|x_i - x_j|^2 / 2)`` of coordinates divided by their standard deviations and the
    bandwidth. These are found among the last columns of the features, which are those of the uncentered Gram matrix. A
    density in hundreds of dimensions cannot be estimated from a thousand points, and two dimensions lose the geometry;
    on MNIST and CIFAR-10 its rank correlation with the error grows up to some fifty coordinates. Cost:
    ``n^2 components``.

    Args:
        linear: The linearized model, with one feature row per example.
        components: Number of coordinates; fewer are used if the features span fewer.

    Returns:
        Densities ``[n]``, positive, float64; the largest is 1.

    Raises:
        InputError: Examples have several feature rows.
    """
    if linear.features.shape[1] != 1:
        raise InputError(
            "A density in feature space needs one feature row per example: linearize one output, or outputs that share "
            'their features (parameters="head").'
        )
    leading = linear.features[:, 0, -(components + 1) :].double()
    left, scales, _ = torch.linalg.svd(leading - leading.mean(dim=0), full_matrices=False)
    spanned = (scales > 1e-8 * scales[:1]) & (scales > 1e-12 * leading.norm())
    points = left[:, spanned][:, :components]
    n, d = points.shape
    if d == 0:
        return torch.ones(n, dtype=torch.float64, device=points.device)
    # Principal coordinates are uncorrelated, so dividing by their deviations leaves sqrt(n - 1) times left.
    points = points * ((n - 1) ** 0.5 * n ** (1 / (d + 4)))
    near = [torch.cdist(points[rows], points).square().mul(-0.5).logsumexp(dim=1) for rows in blocks(n, 8 * 3 * n)]
    logarithm = torch.cat(near)
    return (logarithm - logarithm.max()).exp()


def complexity_by_influence(
    linear: LinearizedModel, schedule: GradientDescent, influence: Tensor, groups: int = 10
) -> Tensor:
    r"""Return how much groups of examples, from most harmful to most helpful, add to the model's norm (figure 5).

    ``C(G) = |w - w_0| - |w_{-G} - w_0|`` is the increment of the function's norm in the space of the kernel. For a
    positive definite kernel, outputs that start from zero and training to the end without decay it is eq. 19
    (:func:`attribution_core.methods.linearized.kernel_influence.sample_complexity`); here the schedule and the features
    may be any.

    Args:
        linear: The linearized model.
        schedule: How it is trained.
        influence: Influence of each example, such as its mean effect, ``[n]``; examples are sorted by it and split into
            groups of equal size.
        groups: Number of groups.

    Returns:
        Increments ``[groups]``; they may be negative for a finite time or with a weight decay.

    Raises:
        InputError: There are more groups than examples, or ``influence`` has another length.
    """
    if influence.shape != (linear.num_train,) or not 2 <= groups <= linear.num_train:
        raise InputError(
            f"Expected influence [{linear.num_train}] and from 2 to {linear.num_train} groups; got influence "
            f"{list(influence.shape)} and {groups} groups."
        )
    weights = linear.weights(schedule)
    members = influence.argsort().tensor_split(groups)
    return torch.stack([weights.norm() - (weights - linear.group_change(group, schedule)).norm() for group in members])


def marked_share_over_time(
    linear: LinearizedModel,
    schedule: GradientDescent,
    times: Sequence[float],
    marked: Tensor,
    top: int = 1,
) -> Tensor:
    """Return the share of marked examples among the most influential ones at several training times (eq. 20, figure 7).

    If wrong labels are marked, the paper finds a rise and a fall: first the clean examples lead, then the wrong labels
    are learned, and finally each is so well fitted that it no longer matters to others.

    Args:
        linear: The linearized model.
        schedule: How it is trained; its time is replaced.
        times: Training times, in steps.
        marked: Which training examples are marked, bool, ``[n]``.
        top: Number of influencers per evaluation example.

    Returns:
        Shares ``[times]``, from 0 to 1.
    """
    require_marks(linear.num_train, marked, top)
    leaders = largest_effects_over_time(linear, schedule, times, top)
    return marked.to(leaders.device)[leaders].double().mean(dim=(1, 2))
