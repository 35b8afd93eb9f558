"""Per-example gradients as factors: what each layer saw, and what each output asks of it.

The gradient of output c of example b in the weight of a linear map ``y_l = W x_l + bias`` applied at positions l (one
for a Linear layer, every pixel for a convolution through unfolding) is ``sum_l d_cl a_l^T``, with ``a_l`` the input and
``d_cl`` the gradient of output c in ``y_l``. One forward pass and k backward passes through activations alone give both
for a whole batch, since examples do not meet in evaluation mode; no per-example weight gradient is formed unless asked
for.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attribution_core.errors import InputError


@dataclass(frozen=True)
class LayerFactors:
    """One layer's side of every per-example gradient of a batch.

    Attributes:
        name: The module's name in the model.
        inputs: ``a``, ``[b, positions, in]``.
        output_gradients: ``d``, ``[b, k, positions, out]``.
        module: The layer.
    """

    name: str
    inputs: Tensor
    output_gradients: Tensor
    module: nn.Module

    def weight_jacobian(self) -> Tensor:
        """``[b, k, out * in]``, in the order of the flattened weight."""
        a, d = self.inputs, self.output_gradients
        return torch.einsum("bklo,bli->bkoi", d, a).flatten(2)

    def bias_jacobian(self) -> Tensor:
        """``[b, k, out]``."""
        return self.output_gradients.sum(dim=2)


def has_factors(module: nn.Module) -> bool:
    """Whether the module is a linear map at positions: Linear, or an ungrouped, zero-padded Conv2d."""
    if type(module) is nn.Linear:
        return True
    return type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"


def count_uses(model: nn.Module, inputs: Tensor) -> Counter[nn.Module]:
    """How often each module runs in one forward pass in evaluation mode; a layer that runs twice has no factors."""
    uses: Counter[nn.Module] = Counter()
    handles = [
        module.register_forward_hook(lambda module, _arguments, _output: uses.update([module]))
        for module in model.modules()
    ]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(inputs)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return uses


def layer_factors(model: nn.Module, inputs: Tensor, layers: dict[str, nn.Module]) -> tuple[Tensor, list[LayerFactors]]:
    """Outputs and factors of one batch.

    Args:
        model: In evaluation mode.
        inputs: ``[b, ...]``, on the model's device.
        layers: The layers wanted, by name; each must pass :func:`has_factors`.

    Returns:
        ``f(x)`` ``[b, k]`` and one :class:`LayerFactors` for each layer, in the order of ``layers``.

    Raises:
        InputError: A layer that is not used exactly once in a pass, or outputs that are not ``[b, k]``.
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}
    with _recording(layers, seen), torch.enable_grad():
        outputs = model(inputs)
    if outputs.ndim != 2 or len(outputs) != len(inputs):
        raise InputError(f"A model must give [examples, outputs]; this one gives {list(outputs.shape)}.")
    for name, uses in seen.items():
        if len(uses) != 1:
            raise InputError(f"Layer {name!r} is used {len(uses)} times in a pass; per-example gradients need one use.")
    results = [uses[0][1] for uses in seen.values()]
    gradients = [
        torch.autograd.grad(outputs[:, c].sum(), results, retain_graph=c + 1 < outputs.shape[1])
        for c in range(outputs.shape[1])
    ]
    factors = []
    for position, (name, uses) in enumerate(seen.items()):
        layer, stacked = layers[name], torch.stack([each[position] for each in gradients], dim=1)
        factors.append(LayerFactors(name, _positions_in(layer, uses[0][0]), _positions_out(layer, stacked), layer))
    return outputs.detach(), factors


@contextmanager
def _recording(layers: dict[str, nn.Module], seen: dict[str, list[tuple[Tensor, Tensor]]]) -> Iterator[None]:
    """Record each layer's input and output; what follows gets a copy, so that an in-place ReLU cannot change it."""

    def hook_of(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            recorded = output if output.requires_grad else output.detach().requires_grad_()
            seen[name].append((arguments[0].detach(), recorded))
            return recorded.clone()

        return hook

    handles = [layer.register_forward_hook(hook_of(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _positions_in(layer: nn.Module, inputs: Tensor) -> Tensor:
    """``[b, positions, in]``: a convolution's patches, a linear layer's inputs."""
    if isinstance(layer, nn.Conv2d):
        padding = layer.padding
        if isinstance(padding, str):
            inputs, padding = _pad_by_name(layer, inputs), (0, 0)
        patches = F.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)
        return patches.transpose(1, 2)
    return inputs.reshape(len(inputs), -1, inputs.shape[-1])


def _positions_out(layer: nn.Module, gradients: Tensor) -> Tensor:
    """``[b, k, positions, out]``."""
    if isinstance(layer, nn.Conv2d):
        return gradients.flatten(3).transpose(2, 3)
    return gradients.reshape(*gradients.shape[:2], -1, gradients.shape[-1])


def _pad_by_name(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """``padding="same"`` as PyTorch does it (the odd pixel goes behind); ``"valid"`` is none."""
    if layer.padding == "valid":
        return inputs
    totals = [dilation * (size - 1) for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True)]
    (top, left), (height, width) = [total // 2 for total in totals], totals
    return F.pad(inputs, (left, width - left, top, height - top))
