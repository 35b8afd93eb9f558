"""Cuts a network in two: a frozen trunk, through which the data pass once, and the last layers, which are trained.

Every measure describes the last layers on the trunk's outputs. If these are the head alone, the model is linear, so
that every measure is exact and costs next to nothing, however large the network is. Frozen parameters enter no
measure, since they are not part of the model that is measured.
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

# How much the two parts together may differ from the whole, by rounding, as a share of its largest output.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class FrozenTrunk:
    """The place where a network is cut, by the names of its modules, so that it can be sent to other processes.

    Attributes:
        head: Name of the layer that gives the outputs.
        block: Name of the first module that is trained with the head; None if the head alone is trained.
    """

    head: str
    block: str | None

    def trunk(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return the function from inputs ``[n, ...]`` to those of the last layers, in evaluation mode and batches."""
        if self.block is None:
            layer = model.get_submodule(self.head)
            return lambda inputs: _inputs_of(layer, model, inputs)
        before, _ = _parts(model, self.block)
        return lambda inputs: outputs_of(before, inputs)

    def last_layers(self, model: nn.Module) -> nn.Module:
        """Return what is trained and measured, with the weights that it has in the model."""
        if self.block is None:
            return nn.Sequential(nn.Flatten(), model.get_submodule(self.head))
        return _parts(model, self.block)[1]


def freeze_trunk(model: nn.Module, inputs: Tensor, trainable: Literal["head", "last-block"]) -> FrozenTrunk:
    """Find where to cut a network.

    Args:
        model: The whole network.
        inputs: Examples ``[n, ...]``; the first two are tried.
        trainable: ``"head"``, the linear layer that gives the outputs, or ``"last-block"``: the last module before it
            that holds two layers or more, looking into ``nn.Sequential``, and everything after that module.

    Raises:
        InputError: The network has no linear head or no such block, or cannot be cut before it.
    """
    layer = head_of(model, inputs)
    head = next(name for name, module in model.named_modules() if module is layer)
    if trainable == "head":
        return FrozenTrunk(head, None)
    block = _last_block(model, head)
    if block is None:
        raise InputError("This model has no block of layers before its last one: use --train head or all.")
    cut = FrozenTrunk(head, block)
    with evaluation_mode(model), torch.no_grad():
        example = next(model.parameters())
        few = inputs[:2].to(example)
        whole, parts = model(few), cut.last_layers(model).eval()(cut.trunk(model)(few))
    if not torch.allclose(whole, parts, rtol=0, atol=AGREEMENT * float(whole.abs().max())):
        raise InputError(f"Cut before its block {block!r}, this model gives other outputs: use --train head or all.")
    return cut


def _inputs_of(layer: nn.Module, model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the inputs that a layer receives when these inputs pass through the model."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, given: seen.append(given[0]))
    try:
        outputs_of(model, inputs)
    finally:
        handle.remove()
    return torch.cat(seen)


def _last_block(module: nn.Module, head: str) -> str | None:
    """Return the name, within a module, of the last block before the layer named ``head`` in it."""
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
    """Return whether a module holds two layers or more that have parameters."""
    layers = [each for each in module.modules() if each is not module and list(each.parameters(recurse=False))]
    return len(layers) > 1


class _Tracer(fx.Tracer):
    """Traces through the modules that contain a block, and takes all others whole."""

    def __init__(self, block: str) -> None:
        super().__init__()
        self._block = block

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        """Return whether a module is taken whole."""
        return not self._block.startswith(f"{module_qualified_name}.")


def _parts(model: nn.Module, block: str) -> tuple[nn.Module, nn.Module]:
    """Return the network before a block, and the rest; both share its parameters.

    Raises:
        InputError: The network cannot be cut there.
    """
    refusal = f"This model cannot be cut before its block {block!r}: use --train head or all."
    try:
        graph = _Tracer(block).trace(model)
    # A graph cannot follow a path through the network that depends on values or on a shape, as in some Transformers.
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
            raise InputError(refusal)  # a later layer also uses an output from before the cut
        if reached:
            made[node] = after.node_copy(node, made.__getitem__)
    return fx.GraphModule(model, before), fx.GraphModule(model, after)
