"""A network in two: what stays as it is, through which the data pass once, and the last layers, which are trained.

What is measured is the last layers on what they are given. Where these are the head alone, the model is linear, so
that every measure is exact and costs next to nothing, however large the network is. Frozen parameters are no part of
any measure, since they are no part of the model that is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx, nn

from attribution_core.errors import InputError
from attribution_core.methods.linearized.build import head_of
from attribution_core.models import evaluation_mode
from attribution_core.training import outputs_of

# What the two parts together may differ by from the whole, as a share of its largest output: rounding.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class FrozenTrunk:
    """Where a network is cut. Kept by names, so that it travels to other processes.

    Attributes:
        head: Name of the layer that gives the outputs.
        block: Name of the first module that is trained with it; None where the head is trained alone.
    """

    head: str
    block: str | None

    def trunk(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """Inputs ``[n, ...]`` to what the last layers are given, in evaluation mode and in batches."""
        if self.block is None:
            layer = model.get_submodule(self.head)
            return lambda inputs: _given_to(layer, model, inputs)
        before, _ = _parts(model, self.block)
        return lambda inputs: outputs_of(before, inputs)

    def last_layers(self, model: nn.Module) -> nn.Module:
        """What is trained and measured, with the weights that it has in the model."""
        if self.block is None:
            return nn.Sequential(nn.Flatten(), model.get_submodule(self.head))
        return _parts(model, self.block)[1]


def freeze_trunk(model: nn.Module, inputs: Tensor, trainable: Literal["head", "last-block"]) -> FrozenTrunk:
    """Find where to cut.

    Args:
        model: The whole network.
        inputs: ``[n, ...]``, of which the first two are tried.
        trainable: ``"head"``, the linear layer that gives the outputs, or ``"last-block"``: the last module before it
            that holds two layers or more, looking into ``nn.Sequential``, and all that follows.

    Raises:
        InputError: No linear head, no such block, or a network that cannot be cut in front of it.
    """
    layer = head_of(model, inputs)
    head = next(name for name, module in model.named_modules() if module is layer)
    if trainable == "head":
        return FrozenTrunk(head, None)
    block = _last_block(model, head)
    if block is None:
        raise InputError("This model has no block of layers before its last one: train head, or all.")
    cut = FrozenTrunk(head, block)
    with evaluation_mode(model), torch.no_grad():
        example = next(model.parameters())
        few = inputs[:2].to(example)
        whole, parts = model(few), cut.last_layers(model).eval()(cut.trunk(model)(few))
    if not torch.allclose(whole, parts, rtol=0, atol=AGREEMENT * float(whole.abs().max())):
        raise InputError(f"Cut before {block!r} this model gives other outputs: train head, or all.")
    return cut


def _given_to(layer: nn.Module, model: nn.Module, inputs: Tensor) -> Tensor:
    """What a layer is given on the way through the model."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, given: seen.append(given[0]))
    try:
        outputs_of(model, inputs)
    finally:
        handle.remove()
    return torch.cat(seen)


def _last_block(module: nn.Module, head: str) -> str | None:
    """The name, within the module, of the last block before the layer named ``head`` there."""
    before = []
    for name, child in module.named_children():
        if name == head or head.startswith(f"{name}."):
            inside = _last_block(child, head.removeprefix(f"{name}."))
            if inside is not None:
                return f"{name}.{inside}"
            break
        before.append((name, child))
    for name, child in reversed(before):
        if _is_block(child):
            inside = _last_block(child, "") if isinstance(child, nn.Sequential) else None
            return name if inside is None else f"{name}.{inside}"
    return None


def _is_block(module: nn.Module) -> bool:
    """Whether it holds two layers or more with parameters of their own."""
    layers = [each for each in module.modules() if each is not module and list(each.parameters(recurse=False))]
    return len(layers) > 1


class _Tracer(fx.Tracer):
    """Looks into the modules around a block, and takes all others whole."""

    def __init__(self, block: str) -> None:
        super().__init__()
        self._block = block

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        """Whether it is taken whole."""
        return not self._block.startswith(f"{module_qualified_name}.")


def _parts(model: nn.Module, block: str) -> tuple[nn.Module, nn.Module]:
    """The network before a block, and from it on; both share its parameters."""
    refusal = f"This model cannot be cut before its block {block!r}: train head, or all."
    try:
        graph = _Tracer(block).trace(model)
    # What a graph cannot follow: a way through the network that depends on values, or on a shape, as in some
    # Transformers.
    except (TypeError, RuntimeError, ValueError, fx.proxy.TraceError) as error:
        raise InputError(refusal) from error
    first = [node for node in graph.nodes if node.op == "call_module" and node.target == block]
    if len(first) != 1 or len(first[0].all_input_nodes) != 1:
        raise InputError(refusal)
    start, given = first[0], first[0].all_input_nodes[0]
    before, after = fx.Graph(), fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node is start:
            break
        made[node] = before.node_copy(node, made.__getitem__)
    before.output(made[given])
    made = {given: after.placeholder("features")}
    reached = False
    for node in graph.nodes:
        reached = reached or node is start
        if reached and not all(each in made for each in node.all_input_nodes):
            raise InputError(refusal)  # what comes after also needs something from before
        if reached:
            made[node] = after.node_copy(node, made.__getitem__)
    return fx.GraphModule(model, before), fx.GraphModule(model, after)
