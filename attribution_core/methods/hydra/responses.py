"""Responses of the final weights to each example's weight, along given directions.

See :mod:`attribution_core.methods.hydra.contributions` for the derivation,
:mod:`attribution_core.methods.hydra.updates` for the optimizers and
:mod:`attribution_core.methods.hydra.batch_statistics` for batch normalization.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap

from attribution_core.methods.hydra.batch_statistics import (
    batch_norms,
    moving_statistics,
    running_statistics,
    update_rate,
)
from attribution_core.methods.hydra.replay import Replay, Snapshot
from attribution_core.methods.hydra.updates import Needed, Taken, Vectors, adjoint_of
from attribution_core.models.runtime import differentiable_attention, forward_mode
from attribution_core.progress import report
from attribution_core.training import Trajectory, loss_values

# Bytes that what the way back needs of a segment of training may take at a time; for longer trainings each segment is
# replayed again on the way back.
HELD_BYTES = 2 * 2**30
# Number of directions that pass through the network together.
DIRECTIONS_AT_ONCE = 16


@differentiable_attention()
def weight_responses(
    replay: Replay, directions: Vectors, hessian: bool, by_epoch: bool = False
) -> tuple[Tensor, float | None]:
    """Return the response of the final weights to each example's weight: ``<u, d w_T / d s_i>``.

    Args:
        replay: Replay of the training.
        directions: Directions u, ``[r, ...]`` for each parameter, and with the Hessian for each running mean and
            variance of BatchNorm whose response counts too.
        hessian: Whether to compute the exact response instead of the Hessian-free one.
        by_epoch: Whether to keep the epochs' contributions separate.

    Returns:
        Responses ``[epochs, r, n]``, to be summed over epochs, or ``[1, r, n]``; and the growth (see
        :class:`~attribution_core.methods.hydra.contributions.Contributions`).
    """
    with forward_mode():
        first = next(iter(directions.values()))
        epochs = replay.trajectory.recipe.epochs if by_epoch else 1
        responses = first.new_zeros(epochs, len(first), replay.trajectory.num_examples)
        if hessian:
            return responses, _exact(replay, directions, responses)
        _hessian_free(replay, directions, responses)
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


def _hessian_free(replay: Replay, start: Vectors, responses: Tensor) -> None:
    """Add the Hessian-free ``d loss / d s_i`` for each starting gradient to ``responses``."""
    kappas = step_factors(replay.trajectory)
    for moment in replay.moments():
        weights = detached(replay.model)
        slopes, _ = _slopes(replay, weights, start, {}, moment.batch, curvature=False)
        _responses_at(responses, replay, moment.step)[:, moment.batch] += slopes * (
            float(kappas[moment.step]) / len(moment.batch)
        )
        report(moment.step + 1, len(replay.steps), "replaying training")


def _responses_at(responses: Tensor, replay: Replay, step: int) -> Tensor:
    return responses[replay.epoch_of(step)] if len(responses) > 1 else responses[0]


def _exact(replay: Replay, start: Vectors, responses: Tensor) -> float:
    """Add the exact ``d loss / d s_i`` for each starting gradient to ``responses``; return the growth."""
    layers = batch_norms(replay.model)
    rho = {name: start[name].clone() for name in running_statistics(layers) if name in start}
    adjoint = adjoint_of(
        replay.trajectory.recipe,
        replay.trajectory.rates,
        {name: value for name, value in start.items() if name not in rho},
    )
    tracked = {name: replay.updates_before(name) for name in layers}
    largest = first = _norms(adjoint.gamma)
    for taken in _backward(replay, adjoint.needed):
        u = adjoint.of_gradient(taken)
        rates: dict[str, float] = {}
        for name, layer in layers.items():
            prefix = f"{name}." if name else ""
            rate = update_rate(layer, tracked[name] + taken.step + 1)
            rates |= {f"{prefix}running_mean": rate, f"{prefix}running_var": rate}
        batch = replay.steps[taken.step]
        pulled = {name: rates[name] * value for name, value in rho.items()}
        slopes, curved = _slopes(replay, taken.weights, u, pulled, batch, curvature=True)
        _responses_at(responses, replay, taken.step)[:, batch] += slopes / len(batch)
        adjoint.go_back(taken, u, curved)
        rho = {name: (1 - rates[name]) * value for name, value in rho.items()}
        largest = torch.maximum(largest, _norms(adjoint.gamma).nan_to_num(nan=torch.inf))
    return float((largest / first.clamp(min=torch.finfo(first.dtype).tiny)).max())


def _norms(vectors: Vectors) -> Tensor:
    """Return the norm of each direction, ``[r]``."""
    return torch.stack([torch.linalg.vector_norm(each.flatten(1), dim=1) for each in vectors.values()]).norm(dim=0)


def _slopes(
    replay: Replay, weights: Vectors, directions: Vectors, pulled: Vectors, batch: Tensor, curvature: bool
) -> tuple[Tensor, Vectors]:
    """Return ``<u, grad l_i>`` for each direction and example, ``[r, b]``, and the batch's ``H u`` if requested.

    ``pulled`` holds ``a rho`` of each running statistic (equation 2 of
    :mod:`attribution_core.methods.hydra.batch_statistics`); ``a S'(w)^T rho`` is added to ``H u``.
    """

    def of_part(where: slice) -> tuple[Tensor, Vectors]:
        return _slopes_of_part(replay, weights, directions, pulled, batch[where], len(batch), curvature)

    parts = (found for _, found in replay.map_slices(of_part, len(batch)))
    slopes, curved = zip(*parts, strict=True)
    if len(slopes) == 1:
        return slopes[0], curved[0]
    return torch.cat(slopes, dim=1), {name: sum(part[name] for part in curved) for name in curved[0]}


def _slopes_of_part(
    replay: Replay,
    weights: Vectors,
    directions: Vectors,
    pulled: Vectors,
    part: Tensor,
    examples: int,
    curvature: bool,
) -> tuple[Tensor, Vectors]:
    """Return the same for a part of the batch; the parts' products with the Hessian sum to the batch's."""
    inputs, targets, factors = replay.inputs[part], replay.targets[part], replay.weights[part] / examples
    loss = replay.trajectory.recipe.loss

    def objective(parameters: Vectors, rho: Vectors) -> tuple[Tensor, Tensor]:
        with moving_statistics(replay.model) as statistics:
            values = loss_values(functional_call(replay.model, parameters, (inputs,)), targets, loss)
        total = (factors * values).sum()
        for name, value in rho.items():
            of_layer = statistics[name.rpartition(".")[0]]
            total = total + (value * (of_layer.mean if "mean" in name else of_layer.unbiased_variance)).sum()
        return total, values

    zeros = {name: torch.zeros_like(value[0]) for name, value in pulled.items()}

    # Use forward over reverse: in reverse over forward, PyTorch 2.14's second derivative of LayerNorm is wrong
    # (tests/methods/hydra/test_contributions.py).
    def one(u: Vectors, rho: Vectors) -> tuple[Tensor, Vectors]:
        if not curvature:
            return jvp(lambda moving: objective(moving, {})[1], (weights,), (u,))[1], {}
        curved, slopes = jvp(grad(objective, has_aux=True), (weights, zeros), (u, rho))[1]
        return slopes, curved

    if len(next(iter(directions.values()))) > 1:
        return vmap(one, chunk_size=DIRECTIONS_AT_ONCE)(directions, pulled)
    # The same without torch.func, whose overhead is a fifth of a LeNet-5 step.
    with forward_ad.dual_level():
        moving = {
            name: forward_ad.make_dual(weights[name].requires_grad_(curvature), directions[name][0]) for name in weights
        }
        rho = {name: forward_ad.make_dual(zeros[name], value[0]) for name, value in pulled.items()}
        total, values = objective(moving, rho)
        gradients = torch.autograd.grad(total, list(moving.values()), materialize_grads=True) if curvature else ()
        tangents = [forward_ad.unpack_dual(each).tangent for each in (values, *gradients)]
    # A gradient that does not change along u has no tangent.
    slopes, *curved = [
        torch.zeros_like(each) if tangent is None else tangent.detach()
        for each, tangent in zip((values, *gradients), tangents, strict=True)
    ]
    return slopes[None], {name: value[None] for name, value in zip(weights, curved, strict=curvature)}


def _backward(replay: Replay, needed: tuple[Needed, ...]) -> Iterator[Taken]:
    """Yield every step, from the last to the first, holding at most ``HELD_BYTES`` of what is needed of them.

    A first replay checks the final weights and takes a snapshot at the start of each segment; it also provides the
    last segment.
    """
    steps = len(replay.steps)
    size = len(needed) * sum(value.nbytes for value in replay.model.parameters())
    segment = max(1, min(steps, HELD_BYTES // size))
    # One block per parameter, reused by every segment: allocating and freeing thousands of small tensors fragmented the
    # heap to four times the size.
    weights = detached(replay.model)
    held = {what: {name: value.new_empty(segment, *value.shape) for name, value in weights.items()} for what in needed}

    def hold(step: int, vectors: dict[Needed, Vectors]) -> None:
        for what, blocks in held.items():
            for name, value in vectors.get(what, {}).items():
                blocks[name][step % segment].copy_(value)

    def replayed(until: int | None) -> Iterator[int]:
        step = None
        for moment in replay.moments(until):
            if step is not None:
                hold(step, replay.last_update())
            step = moment.step
            hold(step, {"weights": detached(replay.model)})
            yield step
        if step is not None:
            hold(step, replay.last_update())

    snapshots: list[Snapshot] = []
    for step in replayed(None):
        if step % segment == 0:
            snapshots.append(replay.snapshot())
        report(step + 1, 2 * steps, "replaying training")
    until = steps
    while snapshots:
        snapshot = snapshots.pop()
        if until < steps:
            replay.restore(snapshot)
            for _ in replayed(until):
                pass
        for step in range(until - 1, snapshot.step - 1, -1):
            # Copy, since a tangent of a view would be allocated for the whole block.
            vectors = {
                what: {name: values[step % segment].clone() for name, values in blocks.items()}
                for what, blocks in held.items()
            }
            yield Taken(step, **vectors)
            report(2 * steps - step, 2 * steps, "going backward through training")
        until = snapshot.step


def detached(model: nn.Module) -> Vectors:
    """Return the model's parameters without derivatives, by name."""
    return {name: value.detach() for name, value in model.named_parameters()}
