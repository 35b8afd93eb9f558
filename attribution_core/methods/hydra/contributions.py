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
for all examples together, where the paper's forward recursion costs as much for each of them.

**Hessian-free** (the paper's approximation, Algorithm 1): without ``H_t u`` every u is a multiple ``kappa_t`` of the
final gradient, with scalars that follow from the learning rates alone. The contribution is then a sum over training of
inner products, ``- s_i kappa_t / B_t <grad l_j(w_T), grad l_i(w_{t-1})>``, which needs one replay in the order of
training. All pairs are computed from per-layer factors (:mod:`attribution_core.gradients.pairs`), a mean by the
forward-mode derivative.
"""

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap

from attribution_core.errors import InputError
from attribution_core.gradients.plan import as_inputs
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.methods.hydra.pairs import EVALUATION_BATCH, every_pair
from attribution_core.methods.hydra.replay import Replay, Snapshot
from attribution_core.models.runtime import differentiable_attention
from attribution_core.progress import report
from attribution_core.training import Trajectory, as_outputs, as_pair, loss_values
from attribution_core.training.trainer import LabeledData

# Bytes that the weights of a segment of training may take at a time; for longer trainings each segment is replayed
# again on the way back.
HELD_BYTES = 2 * 2**30
# Number of directions that pass through the network together.
DIRECTIONS_AT_ONCE = 16

Objective = Literal["each", "mean", "class"]
Vectors = dict[str, Tensor]


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
        InputError: A layer mixes the examples of a batch or draws at random, parameters have no per-example gradients
            (for ``"each"`` without the Hessian), the replay does not end where training ended, or options are invalid.
    """
    if objective not in ("each", "mean", "class"):
        raise InputError(f'The objective must be "each", "mean" or "class", not {objective!r}.')
    if not 0 < energy <= 1 or (rank is not None and rank < 1):
        raise InputError(f"energy must be in (0, 1] and rank 1 or more, not {energy} and {rank}.")
    if trajectory.steps == 0:
        raise InputError("The model was trained for no steps, so no example has contributed.")
    replay = Replay(trajectory)
    inputs, targets = as_pair(evaluation)
    inputs = as_inputs(inputs, next(replay.model.parameters()))
    evaluated = inputs, targets.to(inputs.device)
    if objective == "each" and not hessian:
        effect, by_epoch = every_pair(replay, *evaluated, (-step_factors(trajectory)).tolist())
        return Contributions(effect, by_epoch=by_epoch)
    start, coefficients, kept = _objective_gradients(replay, *evaluated, objective, energy, rank)
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


@differentiable_attention()
def weight_responses(
    replay: Replay, directions: Vectors, hessian: bool, by_epoch: bool = False
) -> tuple[Tensor, float | None]:
    """Return the response of the final weights to each example's weight: ``<u, d w_T / d s_i>``.

    Args:
        replay: Replay of the training.
        directions: Directions u, ``[r, ...]`` for each parameter.
        hessian: Whether to compute the exact response instead of the Hessian-free one.
        by_epoch: Whether to keep the epochs' contributions separate.

    Returns:
        Responses ``[epochs, r, n]``, to be summed over epochs, or ``[1, r, n]``; and the growth (see
        :class:`Contributions`).
    """
    with warnings.catch_warnings():
        # PyTorch raises this warning while it loads its derivative rules; the user cannot do anything about it.
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        first = next(iter(directions.values()))
        epochs = replay.trajectory.recipe.epochs if by_epoch else 1
        responses = first.new_zeros(epochs, len(first), replay.trajectory.num_examples)
        if hessian:
            return responses, _adjoint(replay, directions, responses)
        _along(replay, directions, responses)
        return responses, None


def step_factors(trajectory: Trajectory) -> Tensor:
    """Return ``kappa_t`` of every step: ``d loss(w_T) / d v_t`` in units of the final gradient, ``[steps]``."""
    momentum, decay = trajectory.recipe.momentum, trajectory.recipe.weight_decay
    gamma, delta, kappas = 1.0, 0.0, []
    for rate in reversed(trajectory.rates):
        kappa = delta - rate * gamma
        kappas.append(kappa)
        delta, gamma = momentum * kappa, gamma + decay * kappa
    return torch.tensor(kappas[::-1], dtype=torch.float64)


# -- means, by directional derivatives ---------------------------------------------------------------------------------


def _objective_gradients(
    replay: Replay, inputs: Tensor, targets: Tensor, objective: Objective, energy: float, rank: int | None
) -> tuple[Vectors, Tensor | None, float | None]:
    """Return the gradients at ``w_T`` to start from, ``[r, ...]`` by parameter; for ``"each"``, see :func:`_basis`."""
    final = replay.final_model()
    parameters = _detached(final)
    loss = replay.trajectory.recipe.loss
    if objective == "each":
        if loss != "cross_entropy":  # classes become one-hot here, since vmap cannot inspect them
            targets = as_outputs(targets, final(inputs[:1]).shape[1]).to(inputs.dtype)

        def one_loss(weights: Vectors, x: Tensor, y: Tensor) -> Tensor:
            return loss_values(functional_call(final, weights, (x[None],)), y[None], loss)[0]

        def gradients(part_size: int) -> Vectors:
            return vmap(grad(one_loss), in_dims=(None, 0, 0), chunk_size=part_size)(parameters, inputs, targets)

        return _basis(AdaptiveBatchSize(EVALUATION_BATCH).run(gradients, len(inputs)), energy, rank)
    members: list[Tensor | slice] = [slice(None)]
    if objective == "class":
        if targets.is_floating_point():
            raise InputError('The objective "class" needs class labels as targets: use "mean".')
        members = [targets == label for label in range(int(targets.max()) + 1)]
    means = [mean_gradient(final, loss, inputs[chosen], targets[chosen]) for chosen in members]
    return {name: torch.stack([mean[name] for mean in means]) for name in parameters}, None, None


@differentiable_attention()
def mean_gradient(model: nn.Module, loss: str, inputs: Tensor, targets: Tensor) -> Vectors:
    """Return the gradient of the mean loss at the model's weights, by parameter; zero if there are no examples."""
    parameters = _detached(model)

    def total_loss(weights: Vectors, part: slice) -> Tensor:
        return loss_values(functional_call(model, weights, (inputs[part],)), targets[part], loss).sum()

    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    gradient_of = functools.partial(grad(total_loss), parameters)
    for _, gradient in AdaptiveBatchSize(EVALUATION_BATCH).map_slices(gradient_of, len(inputs)):
        for name, value in gradient.items():
            total[name] += value / len(inputs)
    return total


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


def _along(
    replay: Replay,
    start: Vectors,
    responses: Tensor,
) -> None:
    """Add the Hessian-free ``d loss / d s_i`` for each starting gradient to ``responses``."""
    kappas = step_factors(replay.trajectory)
    for moment in replay.moments():
        weights = _detached(replay.model)
        slopes, _ = _slopes(replay, weights, start, moment.batch, curvature=False)
        _responses_at(responses, replay, moment.step)[:, moment.batch] += slopes * (
            float(kappas[moment.step]) / len(moment.batch)
        )
        report(moment.step + 1, len(replay.steps), "replaying training")


def _responses_at(responses: Tensor, replay: Replay, step: int) -> Tensor:
    return responses[replay.epoch_of(step)] if len(responses) > 1 else responses[0]


def _adjoint(
    replay: Replay,
    start: Vectors,
    responses: Tensor,
) -> float:
    """Add the exact ``d loss / d s_i`` for each starting gradient to ``responses``; return the growth."""
    recipe, rates = replay.trajectory.recipe, replay.trajectory.rates
    gamma = {name: value.clone() for name, value in start.items()}
    delta = {name: torch.zeros_like(value) for name, value in start.items()}
    largest = first = _norms(start)
    for step, weights in _backward(replay):
        u = {name: delta[name] - rates[step] * gamma[name] for name in gamma}
        batch = replay.steps[step]
        slopes, curved = _slopes(replay, weights, u, batch, curvature=True)
        _responses_at(responses, replay, step)[:, batch] += slopes / len(batch)
        for name in gamma:
            delta[name] = recipe.momentum * u[name]
            gamma[name] += recipe.weight_decay * u[name] + curved[name]
        largest = torch.maximum(largest, _norms(gamma).nan_to_num(nan=torch.inf))
    return float((largest / first.clamp(min=torch.finfo(first.dtype).tiny)).max())


def _norms(vectors: Vectors) -> Tensor:
    """Return the norm of each direction, ``[r]``."""
    return torch.stack([torch.linalg.vector_norm(each.flatten(1), dim=1) for each in vectors.values()]).norm(dim=0)


def _slopes(
    replay: Replay, weights: Vectors, directions: Vectors, batch: Tensor, curvature: bool
) -> tuple[Tensor, Vectors]:
    """Return ``<u, grad l_i>`` for each direction and example, ``[r, b]``, and the batch's ``H u`` if requested."""

    def of_part(where: slice) -> tuple[Tensor, Vectors]:
        return _slopes_of_part(replay, weights, directions, batch[where], len(batch), curvature)

    slopes, curved = zip(*(found for _, found in replay.part_size.map_slices(of_part, len(batch))), strict=True)
    if len(slopes) == 1:
        return slopes[0], curved[0]
    return torch.cat(slopes, dim=1), {name: sum(part[name] for part in curved) for name in curved[0]}


def _slopes_of_part(
    replay: Replay, weights: Vectors, directions: Vectors, part: Tensor, examples: int, curvature: bool
) -> tuple[Tensor, Vectors]:
    """Return the same for a part of the batch; the parts' products with the Hessian sum to the batch's."""
    inputs, targets, factors = replay.inputs[part], replay.targets[part], replay.weights[part] / examples

    def losses(parameters: Vectors) -> Tensor:
        return loss_values(functional_call(replay.model, parameters, (inputs,)), targets, replay.trajectory.recipe.loss)

    def objective(parameters: Vectors) -> tuple[Tensor, Tensor]:
        values = losses(parameters)
        return (factors * values).sum(), values

    # Use forward over reverse: in reverse over forward, PyTorch 2.14's second derivative of LayerNorm is wrong
    # (tests/methods/hydra/test_contributions.py).
    def one(u: Vectors) -> tuple[Tensor, Vectors]:
        if not curvature:
            return jvp(losses, (weights,), (u,))[1], {}
        curved, slopes = jvp(grad(objective, has_aux=True), (weights,), (u,))[1]
        return slopes, curved

    if len(next(iter(directions.values()))) > 1:
        return vmap(one, chunk_size=DIRECTIONS_AT_ONCE)(directions)
    # The same without torch.func, whose overhead is a fifth of a LeNet-5 step.
    with forward_ad.dual_level():
        moving = {
            name: forward_ad.make_dual(weights[name].requires_grad_(curvature), directions[name][0]) for name in weights
        }
        total, values = objective(moving)
        gradients = torch.autograd.grad(total, list(moving.values()), materialize_grads=True) if curvature else ()
        tangents = [forward_ad.unpack_dual(each).tangent for each in (values, *gradients)]
    # A gradient that does not change along u has no tangent.
    slopes, *curved = [
        torch.zeros_like(each) if tangent is None else tangent.detach()
        for each, tangent in zip((values, *gradients), tangents, strict=True)
    ]
    return slopes[None], {name: value[None] for name, value in zip(weights, curved, strict=curvature)}


def _backward(
    replay: Replay,
) -> Iterator[tuple[int, Vectors]]:
    """Yield the weights before every step, from the last to the first, holding at most ``HELD_BYTES`` of them.

    A first replay checks the final weights and takes a snapshot at the start of each segment; it also provides the
    weights of the last segment.
    """
    steps = len(replay.steps)
    size = sum(value.nbytes for value in replay.model.parameters())
    segment = max(1, min(steps, HELD_BYTES // size))
    # One block per parameter, reused by every segment: allocating and freeing thousands of small tensors fragmented the
    # heap to four times the size.
    held = {name: value.new_empty(segment, *value.shape) for name, value in _detached(replay.model).items()}

    def hold(step: int) -> None:
        for name, value in _detached(replay.model).items():
            held[name][step % segment].copy_(value)

    snapshots: list[Snapshot] = []
    for moment in replay.moments():
        if moment.step % segment == 0:
            snapshots.append(replay.snapshot())
        hold(moment.step)
        report(moment.step + 1, 2 * steps, "replaying training")
    until = steps
    while snapshots:
        snapshot = snapshots.pop()
        if until < steps:
            replay.restore(snapshot)
            for moment in replay.moments(until):
                hold(moment.step)
        for step in range(until - 1, snapshot.step - 1, -1):
            # Copy, since a tangent of a view would be allocated for the whole block.
            yield step, {name: values[step % segment].clone() for name, values in held.items()}
            report(2 * steps - step, 2 * steps, "going backward through training")
        until = snapshot.step


def _detached(model: nn.Module) -> Vectors:
    return {name: value.detach() for name, value in model.named_parameters()}
