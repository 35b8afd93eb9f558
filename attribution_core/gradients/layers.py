"""Kinds of layers whose per-example gradients follow from the layer's inputs and the gradients in its outputs.

The gradient of output c of example b in the weight of a linear map ``y_l = W a_l + bias`` applied at positions l (one
for a Linear layer on vectors, every pixel for a convolution through unfolding) is ``sum_l d_cl a_l^T``, with the input
``a_l`` and the gradient ``d_cl`` of output c in ``y_l``. An embedding is such a map of one-hot inputs. A normalization
in evaluation mode scales normalized inputs elementwise, so its gradient is ``sum_l d_cl * normalized_l``.

To support another layer, write a maker and add it to ``MAKERS``.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attribution_core.errors import InputError
from attribution_core.gradients.rotation import Basis, rotate, times

Kind = Literal["weight", "bias"]


@dataclass(frozen=True)
class LayerFactors(ABC):
    """Factors of one layer's per-example gradients for a batch. Every tensor in it has one row per example.

    Attributes:
        name: The module's name in the model.
    """

    name: str

    @abstractmethod
    def weight_jacobian(self, indices: Tensor | None = None) -> Tensor:
        """Return ``[b, k, numel]`` in the order of the flattened weight, or its columns ``indices``."""

    @abstractmethod
    def bias_jacobian(self) -> Tensor:
        """Return ``[b, k, out]``."""

    def jacobian(self, kind: Kind, indices: Tensor | None = None) -> Tensor:
        """Return the parameter's Jacobian ``[b, k, numel]``, or its columns ``indices``."""
        if kind == "weight":
            return self.weight_jacobian(indices)
        return self.bias_jacobian() if indices is None else self.bias_jacobian()[:, :, indices]

    def rotated_jacobian(
        self, kind: Kind, left: Basis | None, right: Basis | None, indices: Tensor | None = None
    ) -> Tensor:
        """Return ``left^T G right`` or its entries ``indices``, for the gradient as a matrix G.

        See :func:`attribution_core.gradients.rotation.rotate`.
        """
        rotated = rotate(self.jacobian(kind), left, right)
        return rotated if indices is None else rotated[:, :, indices]

    def take(self, examples: slice | Tensor) -> LayerFactors:
        """Return the factors of some examples, given by a slice, indices or a mask."""
        return self._with({name: value[examples] for name, value in self._tensors().items()})

    @staticmethod
    def join(parts: Sequence[LayerFactors]) -> LayerFactors:
        """Concatenate the factors of several batches."""
        tensors = {name: torch.cat([part._tensors()[name] for part in parts]) for name in parts[0]._tensors()}
        return parts[0]._with(tensors)

    def parameters(self) -> tuple[tuple[Kind, str], ...]:
        """Return both kinds with the model's names for such parameters, whether or not the layer has them."""
        prefix = f"{self.name}." if self.name else ""
        return ("weight", f"{prefix}weight"), ("bias", f"{prefix}bias")

    @property
    def num_examples(self) -> int:
        """Number of examples, ``b``."""
        return len(next(iter(self._tensors().values())))

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return next(iter(self._tensors().values())).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the gradients."""
        return next(value.dtype for value in self._tensors().values() if value.is_floating_point())

    @property
    def numel(self) -> int:
        """Count of numbers in the tensors."""
        return sum(value.numel() for value in self._tensors().values())

    @property
    def nbytes(self) -> int:
        """Size of the tensors in bytes."""
        return sum(value.nbytes for value in self._tensors().values())

    def _with(self, tensors: dict[str, Any]) -> LayerFactors:
        return dataclasses.replace(self, **tensors)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


class Sizes(NamedTuple):
    """Sizes of a layer with positions; its weight has ``groups * gradients * inputs`` numbers.

    Attributes:
        outputs: Number of outputs of the model, k.
        groups: Number of groups of channels; 1 except for grouped convolutions.
        positions: Number of positions at which the layer is applied.
        inputs: Length of ``a``.
        gradients: Length of ``d``.
        input_cost: Number of multiplications for ``a . a'``.
    """

    outputs: int
    groups: int
    positions: int
    inputs: int
    gradients: int
    input_cost: int


@dataclass(frozen=True)
class PositionFactors(LayerFactors):
    """A layer whose inner products of gradients are sums over pairs of positions of ``(a . a')(d . d')``."""

    @property
    @abstractmethod
    def sizes(self) -> Sizes:
        """Sizes of the factors."""

    @abstractmethod
    def input_gram(self, other: PositionFactors, group: int, dtype: torch.dtype) -> Tensor:
        """Return ``a . a'`` for all pairs, ``[b * positions, b' * positions']``, computed in ``dtype``."""

    @abstractmethod
    def gradients_of(self, group: int) -> Tensor:
        """Return ``d`` of one group of channels, ``[b, k, positions, out]``."""


@dataclass(frozen=True)
class MapFactors(PositionFactors):
    """A linear map applied at positions: Linear, or Conv2d with its channels in groups.

    Attributes:
        inputs: ``a``, ``[b, groups, positions, in]``.
        output_gradients: ``d``, ``[b, k, groups, positions, out]``.
    """

    inputs: Tensor
    output_gradients: Tensor

    @property
    def sizes(self) -> Sizes:
        """Sizes of the factors."""
        _, k, groups, positions, out = self.output_gradients.shape
        return Sizes(k, groups, positions, self.inputs.shape[3], out, self.inputs.shape[3])

    def weight_jacobian(self, indices: Tensor | None = None) -> Tensor:
        """Return ``[b, k, groups out in]``; a few columns of a layer with one position cost a product each."""
        _, groups, positions, width, out, _ = self.sizes
        if indices is not None and groups == positions == 1 and 2 * len(indices) < width * out:
            rows, columns = indices // width, indices % width
            return self.output_gradients[:, :, 0, 0, rows] * self.inputs[:, None, 0, 0, columns]
        whole = torch.einsum("bkglo,bgli->bkgoi", self.output_gradients, self.inputs).flatten(2)
        return whole if indices is None else whole[:, :, indices]

    def bias_jacobian(self) -> Tensor:
        """Return ``[b, k, out]``."""
        return self.output_gradients.sum(dim=3).flatten(2)

    def rotated_jacobian(
        self, kind: Kind, left: Basis | None, right: Basis | None, indices: Tensor | None = None
    ) -> Tensor:
        """Rotate the factors before the gradient is formed, or the gradient afterward, whichever is cheaper."""
        k, groups, positions, width, out, _ = self.sizes
        s, r = width if right is None else right.shape[1], out if left is None else left.shape[1]
        before = positions * (width * s * (right is not None) + k * out * r * (left is not None) + k * r * s)
        after = k * width * out * positions + k * out * width * (r * (left is not None) + s * (right is not None))
        if kind == "weight" and groups == 1 and before <= after:
            return self.rotated(left, right).weight_jacobian(indices)
        return super().rotated_jacobian(kind, left, right, indices)

    @property
    def has_one_group(self) -> bool:
        """Whether the weight is one matrix ``[out, in]`` that connects all channels."""
        return self.sizes.groups == 1

    @property
    def is_outer_product(self) -> bool:
        """Whether each gradient of the weight is a single ``d a^T``: a Linear layer on vectors."""
        return self.has_one_group and self.sizes.positions == 1

    def rotated(self, left: Basis | None, right: Basis | None) -> MapFactors:
        """Return the factors of ``left^T G right`` for one group: ``in s + k out r`` multiplications per position."""
        inputs = self.inputs if right is None else times(self.inputs, right)
        gradients = self.output_gradients if left is None else times(self.output_gradients, left)
        return MapFactors(self.name, inputs, gradients)

    def input_gram(self, other: PositionFactors, group: int, dtype: torch.dtype) -> Tensor:
        """Return ``a . a'`` from one matrix product."""
        if not isinstance(other, MapFactors):
            raise TypeError(f"The factors of {self.name} need those of the same kind of layer.")
        return self.inputs[:, group].flatten(0, 1).to(dtype) @ other.inputs[:, group].flatten(0, 1).to(dtype).T

    def gradients_of(self, group: int) -> Tensor:
        """Return ``d`` of one group, as a view."""
        return self.output_gradients[:, :, group]


@dataclass(frozen=True)
class EmbeddingFactors(PositionFactors):
    """A table of vectors that is looked up at positions: a linear map of one-hot inputs.

    Attributes:
        indices: Indices looked up, ``[b, positions]``.
        output_gradients: ``d``, ``[b, k, positions, out]``; zero for the padding index, whose row PyTorch does not
            train.
        rows: Number of vectors in the table.
    """

    indices: Tensor
    output_gradients: Tensor
    rows: int

    @property
    def sizes(self) -> Sizes:
        """Sizes of the factors; an inner product of one-hot inputs is one comparison."""
        _, k, positions, out = self.output_gradients.shape
        return Sizes(k, 1, positions, self.rows, out, 1)

    def weight_jacobian(self, indices: Tensor | None = None) -> Tensor:
        """Return ``[b, k, rows out]``; a few columns are computed without the others."""
        b, k, positions, out = self.output_gradients.shape
        if indices is not None and positions * len(indices) < self.rows * out:
            hits = (self.indices[:, :, None] == indices // out).to(self.output_gradients.dtype)
            return torch.einsum("blp,bklp->bkp", hits, self.output_gradients[..., indices % out])
        table = self.output_gradients.new_zeros(b, k, self.rows, out)
        table.scatter_add_(2, self.indices[:, None, :, None].expand(b, k, positions, out), self.output_gradients)
        return table.flatten(2) if indices is None else table.flatten(2)[:, :, indices]

    def bias_jacobian(self) -> Tensor:
        """Raise TypeError, since an embedding has no bias."""
        raise TypeError(f"The embedding {self.name} has no bias.")

    def input_gram(self, other: PositionFactors, group: int, dtype: torch.dtype) -> Tensor:
        """Return 1 where both looked up the same row, otherwise 0."""
        if not isinstance(other, EmbeddingFactors) or group:
            raise TypeError(f"The factors of {self.name} need those of the same kind of layer.")
        return (self.indices.flatten()[:, None] == other.indices.flatten()).to(dtype)

    def gradients_of(self, group: int) -> Tensor:  # noqa: ARG002 - there is one group
        """Return ``d`` of one group, as a view."""
        return self.output_gradients


@dataclass(frozen=True)
class ScaleFactors(LayerFactors):
    """An elementwise scale and shift of normalized inputs; its gradients are small, so they are kept whole.

    Attributes:
        weight: Gradient of the scale, ``sum_l d_l * normalized_l``, ``[b, k, numel]``.
        bias: Gradient of the shift, ``sum_l d_l``, ``[b, k, numel]``.
    """

    weight: Tensor
    bias: Tensor

    def weight_jacobian(self, indices: Tensor | None = None) -> Tensor:
        """Return ``[b, k, numel]``."""
        return self.weight if indices is None else self.weight[:, :, indices]

    def bias_jacobian(self) -> Tensor:
        """Return ``[b, k, numel]``."""
        return self.bias


# -- makers: from recorded inputs and gradients to factors -------------------------------------------------------------


def layer_inputs(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return ``a`` of :class:`MapFactors` from the inputs of a Linear or Conv2d layer, ``[b, groups, positions, in]``.

    For a convolution this pads as ``nn.Conv2d`` does and takes the window at each position, with channels by groups.
    """
    if isinstance(layer, nn.Linear):
        return inputs.reshape(len(inputs), 1, -1, inputs.shape[-1])
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{type(layer).__name__} is neither a Linear nor a Conv2d layer.")
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
    (height, width), (down, right) = layer.kernel_size, layer.dilation
    # Use views and one copy along whole rows of positions: F.unfold took three quarters of the time of cnn4's kernel,
    # and a copy along the few columns of a window half the time of LeNet-5's factors.
    windows = padded.unfold(2, down * (height - 1) + 1, layer.stride[0]).unfold(
        3, right * (width - 1) + 1, layer.stride[1]
    )
    windows = windows[..., ::down, ::right].unflatten(1, (layer.groups, -1)).permute(0, 1, 2, 5, 6, 3, 4)
    return windows.flatten(2, 4).flatten(3).transpose(2, 3)


def _linear(name: str, layer: nn.Module, inputs: Tensor, gradients: Tensor) -> LayerFactors:
    d = gradients.reshape(*gradients.shape[:2], 1, -1, gradients.shape[-1])
    return MapFactors(name, layer_inputs(layer, inputs), d)


def _convolution(name: str, layer: nn.Module, inputs: Tensor, gradients: Tensor) -> LayerFactors:
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{name} is not a Conv2d.")
    d = gradients.flatten(3).unflatten(2, (layer.groups, -1)).transpose(3, 4)
    return MapFactors(name, layer_inputs(layer, inputs), d)


def _embedding(name: str, layer: nn.Module, inputs: Tensor, gradients: Tensor) -> LayerFactors:
    if not isinstance(layer, nn.Embedding):
        raise TypeError(f"{name} is not an Embedding.")
    indices = inputs.reshape(len(inputs), -1)
    d = gradients.reshape(*gradients.shape[:2], -1, gradients.shape[-1])
    if layer.padding_idx is not None:
        d = d * (indices != layer.padding_idx)[:, None, :, None]
    return EmbeddingFactors(name, indices, d, layer.num_embeddings)


def _channel_norm(name: str, layer: nn.Module, inputs: Tensor, gradients: Tensor) -> LayerFactors:
    """Return the factors of BatchNorm and GroupNorm: a scale per channel, with channels along the second axis."""
    if isinstance(layer, nn.GroupNorm):
        normalized = F.group_norm(inputs, layer.num_groups, eps=layer.eps)
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        mean, variance = layer.running_mean, layer.running_var
        if layer.training:  # statistics of the whole batch, as constants
            axes = [0, *range(2, inputs.ndim)]
            variance, mean = torch.var_mean(inputs, axes, correction=0)
        normalized = F.batch_norm(inputs, mean, variance, training=False, eps=layer.eps)
    else:
        raise TypeError(f"{name} is not a normalization by channels.")
    x, d = normalized.reshape(*inputs.shape[:2], -1), gradients.reshape(*gradients.shape[:3], -1)
    return ScaleFactors(name, torch.einsum("bkcl,bcl->bkc", d, x), d.sum(dim=3))


def _layer_norm(name: str, layer: nn.Module, inputs: Tensor, gradients: Tensor) -> LayerFactors:
    """Return the factors of LayerNorm: a scale for each entry of the normalized shape, which comes last."""
    if not isinstance(layer, nn.LayerNorm):
        raise TypeError(f"{name} is not a LayerNorm.")
    size = layer.weight.numel()
    x = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps).reshape(len(inputs), -1, size)
    d = gradients.reshape(*gradients.shape[:2], -1, size)
    return ScaleFactors(name, torch.einsum("bkli,bli->bki", d, x), d.sum(dim=2))


# Makers: (name, layer, input [b, ...], gradient of each output in the layer's result [b, k, ...]) -> factors
MAKERS: dict[type[nn.Module], Callable[[str, nn.Module, Tensor, Tensor], LayerFactors]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
    nn.BatchNorm1d: _channel_norm,
    nn.BatchNorm2d: _channel_norm,
    nn.GroupNorm: _channel_norm,
    nn.LayerNorm: _layer_norm,
}


def has_factors(module: nn.Module) -> bool:
    """Return whether the module's type is in ``MAKERS``; a subclass may compute something else and is not."""
    return type(module) in MAKERS


def refuse_unfit(model: nn.Module) -> None:
    """Raise InputError, with the layer's name, if an example has no gradient of its own."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise InputError(
                f"Layer {name!r} normalizes by the statistics of its batch, even in evaluation mode, so an example has "
                "no gradient of its own: use track_running_stats=True, or GroupNorm."
            )
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            raise InputError(
                f"Layer {name!r} rescales its weights at every use (max_norm), which has no derivative: build it "
                "without max_norm."
            )
