r"""Hessian-free HYDRA for every pair of a training and an evaluation example.

Wanted is ``sum_t c_t <g_j, g_{t,i}>`` with scalars ``c_t`` (:mod:`attribution_core.methods.hydra`), for n training
examples that are each met T times and m evaluation examples. A layer has two ways, and takes the cheaper:

- **Meet at every step**: the cheaper of gradients and factors (:mod:`attribution_core.gradients.pairs`) for each of the
  ``T n m`` meetings, and nothing is kept of the training side;
- **Add up first**: ``sum_t c_t g_{t,i}`` is kept, and meets the evaluation side once: ``n m |w|`` multiplications for
  all of training, but ``n |w|`` numbers, so only while those of all such layers fit into ``HELD_BYTES``. Five epochs of
  LeNet-5 add up both convolutions (2,572 numbers an example) and meet in the linear layers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.layers import Kind, LayerFactors, PositionFactors
from attribution_core.gradients.ntk import gram_is_cheaper
from attribution_core.gradients.pairs import Side, inner_products, side_of
from attribution_core.gradients.per_example import loss_factors
from attribution_core.gradients.plan import ParameterPlan, plan_parameters
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.methods.hydra.replay import Replay
from attribution_core.progress import report
from attribution_core.training import loss_values

# What the evaluation side, and the sums of the training side, may take at a time. Past the first, training is replayed
# once for each block of evaluation examples.
HELD_BYTES = 2 * 2**30
EVALUATION_BATCH = 256


@dataclass(frozen=True)
class _Layer:
    """How a layer is treated: which parameters it has, and whether its gradients are added up first."""

    kinds: tuple[Kind, ...]
    adds_up: bool


def every_pair(
    replay: Replay,
    inputs: Tensor,
    targets: Tensor,
    weights: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """``sum_t weights_t s_i / B_t <grad l_j(w_T), grad l_i(w_{t-1})>`` over the steps with i in their batch.

    Args:
        replay: Of a training with a step or more.
        inputs: Of the evaluation examples, ``[m, ...]``, on the model's device.
        targets: Theirs.
        weights: A scalar for each step.

    Returns:
        These sums ``[n, m]``, in the model's precision, and the parts of each epoch in their mean over the evaluation
        examples ``[epochs, n]``.

    Raises:
        InputError: Parameters that have no per-example gradient by factors.
    """
    layers = _layers(replay, len(inputs))
    effects, means, beginning = [], [], replay.snapshot()
    for block in _evaluation_blocks(replay, inputs, targets, layers):
        replay.restore(beginning)
        effect, mean = _pairs_of_block(replay, block, layers, weights)
        effects.append(effect)
        means.append(mean * effect.shape[1] / len(inputs))
    return torch.cat(effects, dim=1), torch.stack(means).sum(dim=0)


def _evaluation_blocks(
    replay: Replay, inputs: Tensor, targets: Tensor, layers: dict[str, _Layer]
) -> Iterator[dict[str, Side]]:
    """The evaluation side of each layer, for so many examples at a time as fit into ``HELD_BYTES``."""
    final, loss = replay.final_model(), replay.trajectory.recipe.loss
    named = {name: final.get_submodule(name) for name in layers}

    def sides_of(part: slice) -> list[Side]:
        factors = evaluation_factors(final, named, inputs[part], targets[part], loss)
        return [side_of(each, layers[each.name].kinds, layers[each.name].adds_up) for each in factors]

    held: list[list[Side]] = []
    for part, sides in AdaptiveBatchSize(EVALUATION_BATCH).map_slices(sides_of, len(inputs)):
        held.append(sides)
        if part.stop >= len(inputs) or sum(side.nbytes for batch in held for side in batch) >= HELD_BYTES:
            block = {name: Side.join([batch[at] for batch in held]) for at, name in enumerate(layers)}
            held.clear()
            yield block


def evaluation_factors(
    model: nn.Module, layers: dict[str, nn.Module], inputs: Tensor, targets: Tensor, loss: str
) -> list[LayerFactors]:
    """Factors of each evaluation example's own loss, one batch of them, for a model in evaluation mode."""
    factors, _ = loss_factors(model, inputs, layers, lambda outputs: loss_values(outputs, targets, loss).sum())
    return factors


def _pairs_of_block(
    replay: Replay,
    block: dict[str, Side],
    layers: dict[str, _Layer],
    weights: Sequence[float],
) -> tuple[Tensor, Tensor]:
    # The factors are those of the batch's weighted mean, so 1 / B_t and s_i are in them.
    n, example = replay.trajectory.num_examples, next(replay.model.parameters())
    sums = {name: example.new_zeros(n, side.width) for name, side in block.items() if layers[name].adds_up}
    middles = {name: block[name].mean_row for name in sums}
    effect = example.new_zeros(n, next(iter(block.values())).num_examples)
    by_epoch = example.new_zeros(replay.trajectory.recipe.epochs, n)
    for moment in replay.moments(layers={name: replay.model.get_submodule(name) for name in layers}):
        for examples, layer_factors in moment.parts:
            met, mean = [], example.new_zeros(len(examples))
            for factors in layer_factors:
                own = side_of(factors, layers[factors.name].kinds, layers[factors.name].adds_up)
                if own.rows is not None and factors.name in sums:
                    sums[factors.name].index_add_(0, examples, own.rows, alpha=weights[moment.step])
                    mean += own.rows @ middles[factors.name]
                else:
                    met.append(inner_products(own, block[factors.name]))
            if met:
                total = torch.stack(met).sum(dim=0) if len(met) > 1 else met[0]
                effect.index_add_(0, examples, total, alpha=weights[moment.step])
                mean += total.mean(dim=1)
            by_epoch[replay.epoch_of(moment.step), examples] += weights[moment.step] * mean
        report(moment.step + 1, len(replay.steps), "replaying training")
    for name, total in sums.items():
        effect += inner_products(Side(layers[name].kinds, total, None), block[name])
    return effect, by_epoch


def _layers(replay: Replay, others: int) -> dict[str, _Layer]:
    """The layers with parameters and how each is treated, from the factors of one training example."""
    plan = factored_layers(replay.model, replay.inputs)
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
        adds_up = needed <= bytes_left and _is_better_added_up(each, sizes[each.name], visits, others)
        bytes_left -= needed if adds_up else 0
        chosen[each.name] = _Layer(kinds[each.name], adds_up)
    return {name: chosen[name] for name in plan.layers}


def factored_layers(model: nn.Module, inputs: Tensor) -> ParameterPlan:
    """The plan of all parameters.

    Raises:
        InputError: A parameter, named, without per-example gradients by factors.
    """
    plan = plan_parameters(model, inputs)
    if plan.rest:
        raise InputError(
            f"Parameter {plan.rest[0]!r} has no per-example gradient by factors (its layer is of another kind, or used "
            'more than once): ask hydra for objective="mean" or "class", which work with any layer.'
        )
    return plan


def _is_better_added_up(layer: LayerFactors, size: int, visits: int, others: int) -> bool:
    """The rule at the head of this file, in multiplications for one training example."""
    forming, pair, by_gram = size, size, False
    if isinstance(layer, PositionFactors):
        _, groups, positions, _, gradients, input_cost = layer.sizes
        forming, by_gram = positions * size, gram_is_cheaper(layer)
        pair = groups * positions**2 * (input_cost + gradients + 1) if by_gram else size
    return visits * (forming + size) + others * size < visits * (others * pair + (0 if by_gram else forming))
