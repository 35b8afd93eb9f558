"""Studies of influence in the neural-tangent-kernel regime: where the classical estimate errs, what influence costs.

Zhang and Zhang, "Rethinking influence functions of neural networks in the over-parameterized regime", AAAI 2022,
figures 2, 3, 5 and 7, each for any linearised model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.stats import gaussian_kde
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linearized.kernel_influence import (
    ihvp_effects_in_kernel_regime,
    share_among_influencers,
)
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.progress import silenced, track


@dataclass(frozen=True)
class EstimateError:
    """How wrong the classical estimate is, for some weight decays (figure 2).

    Attributes:
        rate: Sum over pairs of ``|exact - estimate|`` over that of ``|exact|``, ``[decays]``; 1 is as wrong as zero.
        lower_bound: The same for the leading term of theorem 3, ``lambda_min / (lambda_min + lambda)``, ``[decays]``;
            0 where the n x n kernel is singular (fewer features than examples).
    """

    rate: Tensor
    lower_bound: Tensor


def estimate_error(
    linear: LinearizedModel,
    weight_decays: Sequence[float],
) -> EstimateError:
    """Error rate of the inverse-Hessian-vector-product estimate against its lower bound (theorem 3, figure 2).

    Args:
        linear: The linearised model.
        weight_decays: Each ``> 0``, beside the sum of losses.

    Raises:
        InputError: A weight decay that is not positive, or no shared features, for which the theorem is.
    """
    _check_one_row(linear, "Theorem 3 is")
    least = float(linear.eigenvalues[0]) if len(linear.eigenvalues) == linear.num_train else 0.0
    rates, bounds = [], []
    for decay in track(weight_decays, len(weight_decays), "error of influence functions"):
        influence = ihvp_effects_in_kernel_regime(linear, decay)
        rates.append(float((influence.exact - influence.effects).abs().sum() / influence.exact.abs().sum()))
        bounds.append(least / (least + decay))
    return EstimateError(*(torch.tensor(values, dtype=torch.float64) for values in (rates, bounds)))


def estimate_error_by_example(linear: LinearizedModel, weight_decay: float) -> Tensor:
    """Error rate of the classical estimate for each training example over all evaluation examples: ``[n]``, ``>= 0``.

    What figure 3 lays against :func:`feature_density`: theorem 4 bounds it by one over the density's square root.

    Raises:
        InputError: A weight decay that is not positive.
    """
    influence = ihvp_effects_in_kernel_regime(linear, weight_decay)
    size = influence.exact.abs().sum(dim=1)
    return (influence.exact - influence.effects).abs().sum(dim=1) / size.clamp(min=torch.finfo(size.dtype).tiny)


def feature_density(linear: LinearizedModel, components: int = 20) -> Tensor:
    """Probability density of each training example among all, up to a factor (theorem 4, figure 3).

    SciPy's Gaussian kernel density estimate (Scott's bandwidth) on the leading principal coordinates in feature space,
    found among the last columns of the features, which are those of the uncentred Gram matrix. A density in hundreds of
    dimensions can't be estimated from a thousand points, and in two it has lost the geometry; on MNIST and CIFAR-10 its
    rank correlation with the error grows up to some fifty coordinates. Cost: ``n^2 components``, on one core.

    Args:
        linear: The linearised model, with one feature row for each example.
        components: How many coordinates; fewer where the features span fewer.

    Returns:
        ``[n]``, positive, float64; the largest is 1.

    Raises:
        InputError: Several feature rows for each example.
    """
    _check_one_row(linear, "A density in feature space is")
    leading = linear.features[:, 0, -(components + 1) :].double()
    left, scales, _ = torch.linalg.svd(leading - leading.mean(dim=0), full_matrices=False)
    spanned = (scales > 1e-8 * scales[:1]) & (scales > 1e-12 * leading.norm())
    coordinates = (left * scales)[:, spanned][:, :components].T.cpu().numpy()
    if len(coordinates) == 0:
        return torch.ones(linear.num_train, dtype=torch.float64, device=leading.device)
    logarithm = torch.from_numpy(gaussian_kde(coordinates).logpdf(coordinates))
    return (logarithm - logarithm.max()).exp().to(linear.features.device)


def complexity_by_influence(
    linear: LinearizedModel, schedule: GradientDescent, influence: Tensor, groups: int = 10
) -> Tensor:
    r"""What groups of training examples, from the most harmful to the most helpful, add to the model's norm (figure 5).

    ``C(G) = |w - w_0| - |w_{-G} - w_0|``, the increment of the function's norm in the space of the kernel. For a
    positive definite kernel, outputs that start from zero and endless training without weight decay, it is eq. 19
    (:func:`attribution_core.methods.linearized.kernel_influence.sample_complexity`); this function takes any schedule
    and any features.

    Args:
        linear: The linearised model.
        schedule: How it is trained.
        influence: ``[n]``: the mean effect of each example, say; groups of equal size are cut along it.
        groups: How many.

    Returns:
        ``[groups]``; with a finite time or a weight decay it may be negative.

    Raises:
        InputError: More groups than examples, or influence of another length.
    """
    if influence.shape != (linear.num_train,) or not 2 <= groups <= linear.num_train:
        raise InputError(f"Expected influence [{linear.num_train}] and from 2 groups to as many; groups is {groups}.")
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
    """Share of marked examples among the most influential of each evaluation example, over training (eq. 20, figure 7).

    With wrong labels marked, the paper finds a rise and a fall: first the clean examples lead, then the wrong labels
    are learnt, then each is so well known that it no longer matters to others.

    Args:
        linear: The linearised model.
        schedule: How it is trained, but for its time.
        times: Training times, in steps.
        marked: bool, ``[n]``.
        top: How many influencers of each evaluation example count.

    Returns:
        ``[times]``, from 0 to 1.
    """
    moments = [replace(schedule, steps=time) for time in times]
    shares = []
    for moment in track(moments, len(moments), "influencers over training time"):
        with silenced():
            shares.append(share_among_influencers(linear.removal_effects(moment), marked, top))
    return torch.stack(shares)


def _check_one_row(linear: LinearizedModel, what: str) -> None:
    if linear.features.shape[1] != 1:
        raise InputError(
            f'{what} for one feature row an example: linearise one output, or outputs that share theirs ("head").'
        )
