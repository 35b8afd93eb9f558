r"""HYDRA: the contribution of each training example over a whole training.

Chen et al., "HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks", AAAI 2021. Training
is stochastic gradient descent with momentum p and weight decay lambda (eqs. 5-6),

    v_t = p v_{t-1} + (1/B_t) sum_{i in B_t} s_i grad l_i(w_{t-1}) + lambda w_{t-1},     w_t = w_{t-1} - eta_t v_t,

and the contribution of example i to an evaluation loss is ``-s_i d loss(w_T) / d s_i``: the loss after removing i minus
before, to first order (eqs. 7-8; the paper's 1/N + epsilon_i is ``s_i / N``). The derivative is computed backward
through training with one vector each for w and v, starting from ``gamma = grad loss(w_T)`` and ``delta = 0``:

    u = delta - eta_t gamma;   d loss / d s_i += <u, grad l_i(w_{t-1})> / B_t for i in B_t;
    delta <- p u;              gamma <- gamma + lambda u + H_t u,

with the Hessian ``H_t`` of the batch's loss (eq. 11). ``<u, grad l_i>`` for a whole batch is one forward-mode
derivative of its losses along u, and ``H_t u`` is the gradient of their mean: about twice the cost of a training step
for all examples together, where the paper's forward recursion costs as much for each of them. Adam and AdamW have an
adjoint of the same kind (:mod:`attribution_core.methods.hydra.updates`); batch normalization has derivatives through
the statistics of a batch (:mod:`attribution_core.methods.hydra.batch_statistics`).

**Hessian-free** (the paper's approximation, Algorithm 1): without ``H_t u`` every u is a multiple ``kappa_t`` of the
final gradient, with scalars that follow from the learning rates alone. The contribution is then a sum over training of
inner products, ``- s_i kappa_t / B_t <grad l_j(w_T), grad l_i(w_{t-1})>``, which needs one replay in the order of
training. All pairs are computed from per-layer factors (:mod:`attribution_core.gradients.pairs`), a mean by the
forward-mode derivative. For Adam, every weight has scalars of its own, so no such sum of inner products exists.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from attribution_core.errors import InputError
from attribution_core.gradients.plan import as_inputs
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.methods.hydra.batch_statistics import batch_norms, moving_statistics, running_statistics
from attribution_core.methods.hydra.pairs import EVALUATION_BATCH, every_pair
from attribution_core.methods.hydra.replay import Replay, refuse_hessian_free
from attribution_core.methods.hydra.responses import detached, step_factors, weight_responses
from attribution_core.methods.hydra.updates import Vectors
from attribution_core.models.runtime import differentiable_attention
from attribution_core.training import Trajectory, as_outputs, as_pair, loss_values
from attribution_core.training.trainer import LabeledData

Objective = Literal["each", "mean", "class"]


@dataclass(frozen=True)
class Contributions:
    """Contributions of the training examples.

    Attributes:
        effect: Loss after removing i minus before, in the recipe's loss: ``[n, m]`` for the objective ``"each"``,
            ``[n]`` for ``"mean"``, ``[n, classes]`` for ``"class"``.
        by_epoch: Contribution of each epoch to the effect on the mean loss, ``[epochs, n]``; it sums to that effect.
            Available for ``"mean"``, and for ``"each"`` without the Hessian; None otherwise.
        kept_energy: Share of the evaluation gradients' squared norms that the basis keeps, 1 if it keeps all; for
            ``"each"`` with the Hessian, None otherwise.
        growth: With the Hessian, the largest sensitivity of the final loss to a change of the weights during training,
            divided by that at the end. Near 1, the derivative may hold for whole removals; far above 1, training is
            chaotic and it holds for infinitesimal changes only. None without the Hessian.
        spread: Standard deviation of one training's effect, for an average over seeds; None otherwise.
    """

    effect: Tensor
    by_epoch: Tensor | None = None
    kept_energy: float | None = None
    growth: float | None = None
    spread: Tensor | None = None


@differentiable_attention()
def hydra(
    trajectory: Trajectory,
    evaluation: LabeledData,
    hessian: bool = False,
    objective: Objective = "each",
    energy: float = 0.98,
    rank: int | None = None,
) -> Contributions:
    """Compute the contributions of every training example over a recorded training.

    Args:
        trajectory: Result of :func:`attribution_core.train`; ``record="none"`` is enough, since training is replayed.
        evaluation: Evaluation examples.
        hessian: Whether to compute the exact derivative instead of the paper's approximation. Neither gives the true
            effect of a removal: the exact derivative follows one trajectory with its batch order.
        objective: ``"each"`` evaluation example, their ``"mean"``, or the mean of each ``"class"``.
        energy: Share of the evaluation gradients' energy that the basis must keep, for ``"each"`` with the Hessian.
        rank: Size of that basis, in place of ``energy``.

    Returns:
        The contributions, in the model's precision and on its device.

    Raises:
        InputError: A layer mixes examples even in evaluation mode or draws at random, the optimizer is another than SGD
            (without the Hessian) or than SGD, Adam and AdamW, parameters have no per-example gradients (for ``"each"``
            without the Hessian), the replay does not end where training ended, or options are invalid.
    """
    if objective not in ("each", "mean", "class"):
        raise InputError(f'The objective must be "each", "mean" or "class", not {objective!r}.')
    if not 0 < energy <= 1 or (rank is not None and rank < 1):
        raise InputError(f"energy must be in (0, 1] and rank 1 or more, not {energy} and {rank}.")
    if trajectory.steps == 0:
        raise InputError("The model was trained for no steps, so no example has contributed.")
    if not hessian:
        refuse_hessian_free(trajectory.recipe)
    replay = Replay(trajectory)
    inputs, targets = as_pair(evaluation)
    inputs = as_inputs(inputs, next(replay.model.parameters()))
    evaluated = inputs, targets.to(inputs.device)
    if objective == "each" and not hessian:
        effect, by_epoch = every_pair(replay, *evaluated, (-step_factors(trajectory)).tolist())
        return Contributions(effect, by_epoch=by_epoch)
    statistics = list(running_statistics(batch_norms(replay.model))) if hessian else []
    start, coefficients, kept = _objective_gradients(replay, statistics, *evaluated, objective, energy, rank)
    responses, growth = weight_responses(replay, start, hessian, by_epoch=objective == "mean")
    total = -responses.sum(dim=0) * replay.weights  # [r, n]
    if not torch.isfinite(total).all():
        raise InputError(
            "The exact derivative of this training is not a finite number, because changes of its early weights grow "
            "without bound (chaos): use hessian=False, or train with a smaller learning rate or for fewer epochs."
        )
    if objective == "mean":
        return Contributions(total[0], by_epoch=-responses[:, 0] * replay.weights, growth=growth)
    effect = total.T if coefficients is None else total.T @ coefficients.T
    return Contributions(effect, kept_energy=kept, growth=growth)


def _objective_gradients(
    replay: Replay,
    statistics: Sequence[str],
    inputs: Tensor,
    targets: Tensor,
    objective: Objective,
    energy: float,
    rank: int | None,
) -> tuple[Vectors, Tensor | None, float | None]:
    """Return the gradients at ``w_T`` to start from, ``[r, ...]`` by parameter; for ``"each"``, see :func:`_basis`.

    They are by the running statistics of these names too.
    """
    final = replay.final_model()
    parameters = _differentiated(final, statistics)
    loss = replay.trajectory.recipe.loss
    if objective == "each":
        if loss != "cross_entropy":  # classes become one-hot here, since vmap cannot inspect them
            targets = as_outputs(targets, final(inputs[:1]).shape[1]).to(inputs.dtype)

        def one_loss(weights: Vectors, x: Tensor, y: Tensor) -> Tensor:
            with moving_statistics(final):
                return loss_values(functional_call(final, weights, (x[None],)), y[None], loss)[0]

        def gradients(part_size: int) -> Vectors:
            return vmap(grad(one_loss), in_dims=(None, 0, 0), chunk_size=part_size)(parameters, inputs, targets)

        return _basis(AdaptiveBatchSize(EVALUATION_BATCH).run(gradients, len(inputs)), energy, rank)
    members: list[Tensor | slice] = [slice(None)]
    if objective == "class":
        if targets.is_floating_point():
            raise InputError('The objective "class" needs class labels as targets: use "mean".')
        members = [targets == label for label in range(int(targets.max()) + 1)]
    means = [mean_gradient(final, loss, inputs[chosen], targets[chosen], statistics) for chosen in members]
    return {name: torch.stack([mean[name] for mean in means]) for name in parameters}, None, None


@differentiable_attention()
def mean_gradient(
    model: nn.Module, loss: str, inputs: Tensor, targets: Tensor, statistics: Sequence[str] = ()
) -> Vectors:
    """Return the gradient of the mean loss by parameter, and by running statistic of BatchNorm with these names.

    The model is in evaluation mode. The gradient is zero if there are no examples.
    """
    parameters = _differentiated(model, statistics)

    def total_loss(weights: Vectors, part: slice) -> Tensor:
        with moving_statistics(model):
            return loss_values(functional_call(model, weights, (inputs[part],)), targets[part], loss).sum()

    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    gradient_of = functools.partial(grad(total_loss), parameters)
    for _, gradient in AdaptiveBatchSize(EVALUATION_BATCH).map_slices(gradient_of, len(inputs)):
        for name, value in gradient.items():
            total[name] += value / len(inputs)
    return total


def _differentiated(model: nn.Module, statistics: Sequence[str]) -> Vectors:
    return detached(model) | {name: model.get_buffer(name) for name in statistics}


def _basis(gradients: Vectors, energy: float, rank: int | None) -> tuple[Vectors, Tensor, float]:
    """Return an orthonormal basis of the gradients, their coefficients ``[m, r]``, and the share of energy kept."""
    first = next(iter(gradients.values()))
    m = len(first)
    gram = first.new_zeros(m, m, dtype=torch.float64)
    for value in gradients.values():
        rows = value.flatten(1).double()
        gram.addmm_(rows, rows.T)
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    share = values.cumsum(0) / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    positive = max(1, int((values > values[0] * m * torch.finfo(values.dtype).eps).sum()))
    wanted = rank if rank is not None else int((share < energy).sum()) + 1
    r = min(wanted, positive)
    scales = values[:r].sqrt().clamp(min=torch.finfo(values.dtype).tiny)
    basis = {
        name: torch.einsum("mr,m...->r...", (vectors[:, :r] / scales).to(value), value)
        for name, value in gradients.items()
    }
    return basis, (vectors[:, :r] * scales).to(first), float(share[r - 1])
