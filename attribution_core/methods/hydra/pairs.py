r"""Hessian-free HYDRA for every pair of a training and an evaluation example.

The goal is ``sum_t c_t <g_j, g_{t,i}>`` with scalars ``c_t`` (:mod:`attribution_core.methods.hydra.contributions`), for
n training examples that each occur T times and m evaluation examples. Each layer uses the cheapest of three methods:

- **Multiply at every step**: each of the ``T n m`` inner products uses gradients or factors, whichever is cheaper
  (:mod:`attribution_core.gradients.pairs`), and no training gradients are kept;
- **Sum first**: ``sum_t c_t g_{t,i}`` is kept and multiplied with the evaluation gradients once: ``n m |w|``
  multiplications for all of training, but ``n |w|`` numbers, so only if those of all such layers fit into
  ``HELD_BYTES``. Over five epochs of LeNet-5, both convolutions (2,572 numbers per example) are summed first, and the
  linear layers are multiplied at every step;
- **Sum factors first**: the inputs a of a Linear layer that no layer with weights precedes, such as the first one of an
  MLP, are the same at every step, so ``sum_t c_t (a_i . a_j)(d_ti . d_j) = (a_i . a_j)((sum_t c_t d_ti) . d_j)``: only
  ``n (in + out)`` numbers are kept, and a pair costs ``in + out`` once, not T times.

Parameters without factors are always summed first (:mod:`attribution_core.methods.hydra.rest`). With BatchNorm, the
statistics of a step are constants in the factors; :mod:`attribution_core.methods.hydra.coupling` adds how they move.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.layers import Kind, LayerFactors, MapFactors, PositionFactors
from attribution_core.gradients.ntk import gram_is_cheaper
from attribution_core.gradients.pairs import LayerGradients, inner_products, layer_gradients
from attribution_core.gradients.per_example import loss_factors
from attribution_core.gradients.plan import ParameterPlan, plan_parameters
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.methods.hydra.batch_statistics import batch_norms, constant_statistics
from attribution_core.methods.hydra.coupling import Coupling, find_coupling
from attribution_core.methods.hydra.replay import Replay
from attribution_core.methods.hydra.rest import rest_gradients
from attribution_core.models import evaluation_mode
from attribution_core.progress import report
from attribution_core.training import loss_values

# Bytes that the evaluation gradients, and the sums of training gradients, may take at a time. If the evaluation
# gradients need more, training is replayed once for each block of evaluation examples.
HELD_BYTES = 2 * 2**30
EVALUATION_BATCH = 256
# What stands for the parameters without factors among the layers; no module is called so.
_REST = "."
# Examples on which inputs at the first and the last weights are compared.
_COMPARED = 8


@dataclass(frozen=True)
class _Layer:
    """How a layer's gradients are multiplied.

    Attributes:
        kinds: Parameters that the layer has.
        sums_first: Whether its gradients are summed first.
        has_fixed_inputs: Whether its factors are, since its inputs are fixed.
        is_outer_product: Whether gradients that are summed first are outer products, of which only factors are passed.
    """

    kinds: tuple[Kind, ...]
    sums_first: bool
    has_fixed_inputs: bool
    is_outer_product: bool

    def gradients(self, factors: LayerFactors) -> LayerGradients:
        """Return gradients in the form in which they are added or multiplied."""
        return layer_gradients(factors, self.kinds, self.sums_first and not self.is_outer_product)


@dataclass(frozen=True)
class _Route:
    """How each parameter's gradients are multiplied: by its layer, or with those of all that have no factors."""

    layers: dict[str, _Layer]
    rest: list[str]
    num_outputs: int
    coupling: Coupling

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


class _SummedGradients:
    """The sums ``sum_t c_t g_t`` of a layer's gradients as rows, ``[n, |w|]``."""

    def __init__(self, examples: int, others: LayerGradients) -> None:
        self._others, self._mean = others, others.mean_row
        self.total = self._mean.new_zeros(examples, others.width)

    def add(self, examples: Tensor, own: LayerGradients, weight: float) -> Tensor:
        """Add the gradients of some examples at a step, and return their mean product with the evaluation gradients."""
        assert own.rows is not None
        self.total.index_add_(0, examples, own.rows, alpha=weight)
        return own.rows @ self._mean

    def products(self) -> Tensor:
        """Return the inner products of the sums with the evaluation gradients, ``[n, m]``."""
        return inner_products(LayerGradients(self._others.kinds, self.total, None), self._others)


class _SummedOuterProducts:
    """As :class:`_SummedGradients`, of a Linear layer on vectors, whose gradients are ``d [a, 1]^T``.

    They are added as they are formed, and their products with the mean evaluation gradient need them not at all.
    """

    def __init__(self, examples: int, others: LayerGradients) -> None:
        assert isinstance(others.factors, MapFactors)
        self._kinds = others.kinds
        a, d = self._sides(others.factors)
        self._others = (d[:, :, None] * a[:, None]).flatten(1)
        self._mean = self._others.mean(dim=0).view(d.shape[1], a.shape[1])
        self.total = a.new_zeros(examples, d.shape[1], a.shape[1])

    def add(self, examples: Tensor, own: LayerGradients, weight: float) -> Tensor:
        """As :meth:`_SummedGradients.add`."""
        assert isinstance(own.factors, MapFactors)
        a, d = self._sides(own.factors)
        self.total.index_add_(0, examples, d[:, :, None] * a[:, None], alpha=weight)
        return (d * (a @ self._mean.T)).sum(dim=1)

    def products(self) -> Tensor:
        """As :meth:`_SummedGradients.products`."""
        return self.total.flatten(1) @ self._others.T

    def _sides(self, factors: MapFactors) -> tuple[Tensor, Tensor]:
        """Return ``a`` with what multiplies the bias, ``[b, in (+ 1)]``, and d, ``[b, out]``."""
        a, d = factors.inputs[:, 0, 0], factors.output_gradients[:, 0, 0, 0]
        parts = [a] if "weight" in self._kinds else []
        return torch.cat([*parts, a.new_ones(len(a), 1)] if "bias" in self._kinds else parts, dim=1), d


class _SummedFactors:
    """The sums of a layer whose inputs are the same at every step.

    Attributes:
        inputs: ``a`` of each training example, ``[n, in]``.
        total: ``sum_t c_t d_t`` of each training example, ``[n, out]``.
    """

    def __init__(self, inputs: Tensor, others: LayerGradients) -> None:
        assert isinstance(others.factors, MapFactors)
        self.inputs, self._others, self._kinds = inputs, others, others.kinds
        a, d = others.factors.inputs[:, 0, 0], others.factors.output_gradients[:, 0, 0, 0]
        self.total = inputs.new_zeros(len(inputs), d.shape[1])
        # Mean over j of (a_i . a_j [weight] + 1 [bias]) d_j, whose product with d_ti is the mean product.
        self._mean = torch.zeros_like(self.total)
        if "weight" in self._kinds:
            self._mean += inputs @ (a.T @ d / len(a))
        if "bias" in self._kinds:
            self._mean += d.mean(dim=0)

    def add(self, examples: Tensor, own: LayerGradients, weight: float) -> Tensor:
        """As :meth:`_SummedGradients.add`."""
        assert isinstance(own.factors, MapFactors)
        gradients = own.factors.output_gradients[:, 0, 0, 0]
        self.total.index_add_(0, examples, gradients, alpha=weight)
        return (gradients * self._mean[examples]).sum(dim=1)

    def products(self) -> Tensor:
        """As :meth:`_SummedGradients.products`."""
        factors = MapFactors("", self.inputs[:, None, None], self.total[:, None, None, None])
        return inner_products(LayerGradients(self._kinds, None, factors), self._others)


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
    fixed = _fixed_inputs(replay, [name for name, layer in route.layers.items() if layer.has_fixed_inputs])
    effects, means, beginning = [], [], replay.snapshot()
    for block in _evaluation_blocks(replay, inputs, targets, route):
        replay.restore(beginning)
        effect, mean = _pairs_of_block(replay, block, route, fixed, weights)
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
        found = {each.name: layers[each.name].gradients(each) for each in factors}
        return found | route.rest_of(final, inputs[part], targets[part], loss)

    held: list[dict[str, LayerGradients]] = []
    for part, gradients in AdaptiveBatchSize(EVALUATION_BATCH).map_slices(gradients_of, len(inputs)):
        held.append(gradients)
        if part.stop >= len(inputs) or sum(each.nbytes for batch in held for each in batch.values()) >= HELD_BYTES:
            block = {name: LayerGradients.join([batch[name] for batch in held]) for name in gradients}
            held.clear()
            yield block


def _fixed_inputs(replay: Replay, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the inputs ``[n, in]`` of layers that have the same at every step."""
    if not names:
        return {}
    final, (inputs, targets), loss = replay.final_model(), replay.trajectory.data, replay.trajectory.recipe.loss
    named = {name: final.get_submodule(name) for name in names}

    def inputs_of(part: slice) -> list[LayerFactors]:
        return evaluation_factors(final, named, inputs[part], targets[part], loss)

    found = [batch for _, batch in AdaptiveBatchSize(EVALUATION_BATCH).map_slices(inputs_of, len(inputs))]
    layers = [LayerFactors.join(parts) for parts in zip(*found, strict=True)]
    return {each.name: each.inputs[:, 0, 0] for each in layers if isinstance(each, MapFactors)}


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
    fixed: dict[str, Tensor],
    weights: Sequence[float],
) -> tuple[Tensor, Tensor]:
    # The factors are those of the batch's weighted mean, so they include 1 / B_t and s_i.
    n, example = replay.trajectory.num_examples, next(replay.model.parameters())
    layers, loss = route.layers, replay.trajectory.recipe.loss
    sums: dict[str, _SummedGradients | _SummedOuterProducts | _SummedFactors] = {
        name: _SummedGradients(n, each) if each.factors is None else _SummedOuterProducts(n, each)
        for name, each in block.items()
        if route.sums_first(name)
    }
    sums |= {name: _SummedFactors(inputs, block[name]) for name, inputs in fixed.items()}
    effect = example.new_zeros(n, next(iter(block.values())).num_examples)
    by_epoch = example.new_zeros(replay.trajectory.recipe.epochs, n)
    named = {name: replay.model.get_submodule(name) for name in {**layers, **route.coupling.layers}}
    for moment in replay.moments(layers=named):
        for examples, layer_factors in moment.parts:
            products = route.coupling.of_step(replay.model, moment.statistics, layer_factors, block)
            mean = example.new_zeros(len(examples))
            owns = {each.name: layers[each.name].gradients(each) for each in layer_factors if each.name in layers}
            scale = replay.weights[examples] / len(moment.batch)
            with constant_statistics(replay.model, moment.statistics):
                owns |= route.rest_of(replay.model, replay.inputs[examples], replay.targets[examples], loss, scale)
            for name, own in owns.items():
                if name in sums:
                    mean += sums[name].add(examples, own, weights[moment.step])
                else:
                    products.append(inner_products(own, block[name]))
            if products:
                total = torch.stack(products).sum(dim=0) if len(products) > 1 else products[0]
                effect.index_add_(0, examples, total, alpha=weights[moment.step])
                mean += total.mean(dim=1)
            by_epoch[replay.epoch_of(moment.step), examples] += weights[moment.step] * mean
        report(moment.step + 1, len(replay.steps), "replaying training")
    for each in sums.values():
        effect += each.products()
    return effect, by_epoch


def _route(replay: Replay, others: int) -> _Route:
    """Choose the cheapest method for each layer with parameters, from the factors of one training example."""
    plan = plan_parameters(replay.model, replay.inputs)
    require_room_for_rest(plan, replay.trajectory.num_examples)
    with evaluation_mode(replay.model):  # one example has no statistics
        factors, _ = loss_factors(replay.model, replay.inputs[:1], plan.layers, lambda outputs: outputs.sum())
        with torch.no_grad():
            num_outputs = int(replay.model(replay.inputs[:1]).shape[1])
    examples, visits = replay.trajectory.num_examples, replay.trajectory.recipe.epochs
    kinds: dict[str, tuple[Kind, ...]] = {}
    sizes: dict[str, int] = {}
    for each in factors:
        own = [(kind, name) for kind, name in each.parameters() if name in plan.coordinates]
        kinds[each.name] = tuple(kind for kind, _ in own)
        sizes[each.name] = sum(plan.coordinates[name].numel for _, name in own)
    bytes_left = HELD_BYTES
    chosen, fixed = {}, _with_fixed_inputs(replay, plan)
    for each in sorted(factors, key=lambda layer: sizes[layer.name]):
        needed = sizes[each.name] * (examples + others) * each.dtype.itemsize
        sums_first = needed <= bytes_left and _is_cheaper_summed_first(each, sizes[each.name], visits, others)
        bytes_left -= needed if sums_first else 0
        kept = 2 * each.numel * examples * each.dtype.itemsize
        has_fixed_inputs = not sums_first and each.name in fixed and kept <= bytes_left
        bytes_left -= kept if has_fixed_inputs else 0
        is_outer_product = isinstance(each, MapFactors) and each.is_outer_product and gram_is_cheaper(each)
        chosen[each.name] = _Layer(kinds[each.name], sums_first, has_fixed_inputs, is_outer_product)
    coupling = find_coupling(replay, plan.layers)
    return _Route({name: chosen[name] for name in plan.layers}, plan.rest, num_outputs, coupling)


def _with_fixed_inputs(replay: Replay, plan: ParameterPlan) -> set[str]:
    """Return the Linear layers on vectors whose inputs are the same at the first and at the last weights.

    Layers that draw at random cannot be replayed, and behind BatchNorm no inputs are the same in another batch, so that
    inputs depend on the weights before them alone.
    """
    if batch_norms(replay.model):
        return set()
    sides = [
        (model, {name: model.get_submodule(name) for name in plan.layers})
        for model in (replay.model, replay.final_model())
    ]
    found = set(plan.layers)
    for place in range(min(_COMPARED, len(replay.inputs))):
        one = slice(place, place + 1)  # several at a time may not fit into memory
        inputs, targets, loss = replay.inputs[one], replay.targets[one], replay.trajectory.recipe.loss
        first, last = (evaluation_factors(model, layers, inputs, targets, loss) for model, layers in sides)
        found -= {each.name for each, later in zip(first, last, strict=True) if not _is_fixed(each, later)}
    return found


def _is_fixed(first: LayerFactors, last: LayerFactors) -> bool:
    if not isinstance(first, MapFactors) or not isinstance(last, MapFactors):
        return False
    return first.is_outer_product and gram_is_cheaper(first) and torch.equal(first.inputs, last.inputs)


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
