r"""Hessian-free HYDRA for every pair of a training and an evaluation example.

The goal is ``sum_t c_t <g_j, g_{t,i}>`` with scalars ``c_t`` (:mod:`attribution_core.methods.hydra.contributions`), for
n training examples that each occur T times and m evaluation examples. Each layer uses the cheaper of two methods:

- **Multiply at every step**: each of the ``T n m`` inner products uses gradients or factors, whichever is cheaper
  (:mod:`attribution_core.gradients.pairs`), and no training gradients are kept;
- **Sum first**: ``sum_t c_t g_{t,i}`` is kept and multiplied with the evaluation gradients once: ``n m |w|``
  multiplications for all of training, but ``n |w|`` numbers, so only if those of all such layers fit into
  ``HELD_BYTES``. Over five epochs of LeNet-5, both convolutions (2,572 numbers per example) are summed first, and the
  linear layers are multiplied at every step.

Parameters without factors are always summed first (:mod:`attribution_core.methods.hydra.rest`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.layers import Kind, LayerFactors, PositionFactors
from attribution_core.gradients.ntk import gram_is_cheaper
from attribution_core.gradients.pairs import LayerGradients, inner_products, layer_gradients
from attribution_core.gradients.per_example import loss_factors
from attribution_core.gradients.plan import ParameterPlan, plan_parameters
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.methods.hydra.replay import Replay
from attribution_core.methods.hydra.rest import rest_gradients
from attribution_core.progress import report
from attribution_core.training import loss_values

# Bytes that the evaluation gradients, and the sums of training gradients, may take at a time. If the evaluation
# gradients need more, training is replayed once for each block of evaluation examples.
HELD_BYTES = 2 * 2**30
EVALUATION_BATCH = 256
# What stands for the parameters without factors among the layers; no module is called so.
_REST = "."


@dataclass(frozen=True)
class _Layer:
    """Which parameters a layer has, and whether its gradients are summed first."""

    kinds: tuple[Kind, ...]
    sums_first: bool


@dataclass(frozen=True)
class _Route:
    """How each parameter's gradients are multiplied: by its layer, or with those of all that have no factors."""

    layers: dict[str, _Layer]
    rest: list[str]
    num_outputs: int

    def rest_of(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, loss: str, weights: Tensor | None = None
    ) -> dict[str, LayerGradients]:
        """Return the gradients of the examples' losses, times weights, in the parameters without factors, if any."""
        if not self.rest:
            return {}
        rows = rest_gradients(model, self.rest, inputs, targets, loss, self.num_outputs)
        rows = rows if weights is None else weights[:, None] * rows
        return {_REST: LayerGradients((), rows, None)}

    def sums_first(self, name: str) -> bool:
        """Return whether the gradients of this name are summed first."""
        return name == _REST or self.layers[name].sums_first


def every_pair(
    replay: Replay,
    inputs: Tensor,
    targets: Tensor,
    weights: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Return ``sum_t weights_t s_i / B_t <grad l_j(w_T), grad l_i(w_{t-1})>`` over the steps with i in their batch.

    Args:
        replay: Replay of a training with at least one step.
        inputs: Inputs of the evaluation examples, ``[m, ...]``, on the model's device.
        targets: Targets of the evaluation examples.
        weights: One scalar per step.

    Returns:
        The sums ``[n, m]``, in the model's precision, and each epoch's contribution to their mean over the evaluation
        examples, ``[epochs, n]``.

    Raises:
        InputError: A parameter has no per-example gradient, or those without factors do not fit into memory.
    """
    route = _route(replay, len(inputs))
    effects, means, beginning = [], [], replay.snapshot()
    for block in _evaluation_blocks(replay, inputs, targets, route):
        replay.restore(beginning)
        effect, mean = _pairs_of_block(replay, block, route, weights)
        effects.append(effect)
        means.append(mean * effect.shape[1] / len(inputs))
    return torch.cat(effects, dim=1), torch.stack(means).sum(dim=0)


def _evaluation_blocks(
    replay: Replay, inputs: Tensor, targets: Tensor, route: _Route
) -> Iterator[dict[str, LayerGradients]]:
    """Yield the evaluation gradients of each layer, for as many examples at a time as fit into ``HELD_BYTES``."""
    final, loss, layers = replay.final_model(), replay.trajectory.recipe.loss, route.layers
    named = {name: final.get_submodule(name) for name in layers}

    def gradients_of(part: slice) -> dict[str, LayerGradients]:
        factors = evaluation_factors(final, named, inputs[part], targets[part], loss)
        found = {e.name: layer_gradients(e, layers[e.name].kinds, layers[e.name].sums_first) for e in factors}
        return found | route.rest_of(final, inputs[part], targets[part], loss)

    held: list[dict[str, LayerGradients]] = []
    for part, gradients in AdaptiveBatchSize(EVALUATION_BATCH).map_slices(gradients_of, len(inputs)):
        held.append(gradients)
        if part.stop >= len(inputs) or sum(each.nbytes for batch in held for each in batch.values()) >= HELD_BYTES:
            block = {name: LayerGradients.join([batch[name] for batch in held]) for name in gradients}
            held.clear()
            yield block


def evaluation_factors(
    model: nn.Module, layers: dict[str, nn.Module], inputs: Tensor, targets: Tensor, loss: str
) -> list[LayerFactors]:
    """Return the factors of each evaluation example's loss for one batch, for a model in evaluation mode."""
    factors, _ = loss_factors(model, inputs, layers, lambda outputs: loss_values(outputs, targets, loss).sum())
    return factors


def _pairs_of_block(
    replay: Replay,
    block: dict[str, LayerGradients],
    route: _Route,
    weights: Sequence[float],
) -> tuple[Tensor, Tensor]:
    # The factors are those of the batch's weighted mean, so they include 1 / B_t and s_i.
    n, example = replay.trajectory.num_examples, next(replay.model.parameters())
    layers, loss = route.layers, replay.trajectory.recipe.loss
    sums = {name: example.new_zeros(n, each.width) for name, each in block.items() if route.sums_first(name)}
    mean_rows = {name: block[name].mean_row for name in sums}
    effect = example.new_zeros(n, next(iter(block.values())).num_examples)
    by_epoch = example.new_zeros(replay.trajectory.recipe.epochs, n)
    for moment in replay.moments(layers={name: replay.model.get_submodule(name) for name in layers}):
        for examples, layer_factors in moment.parts:
            products, mean = [], example.new_zeros(len(examples))
            owns = {e.name: layer_gradients(e, layers[e.name].kinds, layers[e.name].sums_first) for e in layer_factors}
            scale = replay.weights[examples] / len(moment.batch)
            owns |= route.rest_of(replay.model, replay.inputs[examples], replay.targets[examples], loss, scale)
            for name, own in owns.items():
                if own.rows is not None and name in sums:
                    sums[name].index_add_(0, examples, own.rows, alpha=weights[moment.step])
                    mean += own.rows @ mean_rows[name]
                else:
                    products.append(inner_products(own, block[name]))
            if products:
                total = torch.stack(products).sum(dim=0) if len(products) > 1 else products[0]
                effect.index_add_(0, examples, total, alpha=weights[moment.step])
                mean += total.mean(dim=1)
            by_epoch[replay.epoch_of(moment.step), examples] += weights[moment.step] * mean
        report(moment.step + 1, len(replay.steps), "replaying training")
    for name, total in sums.items():
        effect += inner_products(LayerGradients(block[name].kinds, total, None), block[name])
    return effect, by_epoch


def _route(replay: Replay, others: int) -> _Route:
    """Choose the cheaper method for each layer with parameters, from the factors of one training example."""
    plan = plan_parameters(replay.model, replay.inputs)
    require_room_for_rest(plan, replay.trajectory.num_examples)
    with torch.no_grad():
        num_outputs = int(replay.model(replay.inputs[:1]).shape[1])
    factors, _ = loss_factors(replay.model, replay.inputs[:1], plan.layers, lambda outputs: outputs.sum())
    examples, visits = replay.trajectory.num_examples, replay.trajectory.recipe.epochs
    kinds: dict[str, tuple[Kind, ...]] = {}
    sizes: dict[str, int] = {}
    for each in factors:
        own = [(kind, name) for kind, name in each.parameters() if name in plan.coordinates]
        kinds[each.name] = tuple(kind for kind, _ in own)
        sizes[each.name] = sum(plan.coordinates[name].numel for _, name in own)
    bytes_left = HELD_BYTES
    chosen = {}
    for each in sorted(factors, key=lambda layer: sizes[layer.name]):
        needed = sizes[each.name] * (examples + others) * each.dtype.itemsize
        sums_first = needed <= bytes_left and _is_cheaper_summed_first(each, sizes[each.name], visits, others)
        bytes_left -= needed if sums_first else 0
        chosen[each.name] = _Layer(kinds[each.name], sums_first)
    return _Route({name: chosen[name] for name in plan.layers}, plan.rest, num_outputs)


def require_room_for_rest(plan: ParameterPlan, examples: int) -> None:
    """Raise InputError if the sums of gradients in parameters without factors do not fit into ``HELD_BYTES``."""
    needed = 4 * examples * sum(plan.coordinates[name].numel for name in plan.rest)
    if needed > HELD_BYTES:
        largest = max(plan.rest, key=lambda name: plan.coordinates[name].numel)
        raise InputError(
            f"Contributions in parameters without factors, such as {largest!r}, would take {needed / 2**30:,.1f} GiB "
            f"for {examples:,} examples, and the limit is {HELD_BYTES / 2**30:,.0f} GiB: train fewer examples, or only "
            "the head."
        )


def factored_layers(model: nn.Module, inputs: Tensor) -> ParameterPlan:
    """Return the plan of all parameters.

    Raises:
        InputError: A parameter has no per-example gradients by factors; the message names it.
    """
    plan = plan_parameters(model, inputs)
    if plan.rest:
        raise InputError(
            f"Parameter {plan.rest[0]!r} has no per-example gradient by factors (its layer is of an unsupported kind, "
            'or is used more than once): call hydra with objective="mean" or "class", which work with any layer.'
        )
    return plan


def _is_cheaper_summed_first(layer: LayerFactors, size: int, visits: int, others: int) -> bool:
    """Compare the two methods of the module docstring by multiplications for one training example."""
    forming, pair, by_gram = size, size, False
    if isinstance(layer, PositionFactors):
        _, groups, positions, _, gradients, input_cost = layer.sizes
        forming, by_gram = positions * size, gram_is_cheaper(layer)
        pair = groups * positions**2 * (input_cost + gradients + 1) if by_gram else size
    return visits * (forming + size) + others * size < visits * (others * pair + (0 if by_gram else forming))
