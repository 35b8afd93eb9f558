"""Coordinates of gradients that (nearly) preserve their inner products."""

from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.gradients.layers import Kind, LayerFactors, MapFactors
from attribution_core.gradients.rotation import Basis, rotate


@dataclass(frozen=True)
class Coordinates:
    """The coordinates kept of one parameter's gradient, in the original basis or in a Kronecker-factored one.

    In a Kronecker-factored basis the gradient, as a matrix ``G`` (the first dimension against the others), has the
    coordinates ``left^T G right``, flattened.

    Attributes:
        indices: Indices into the flattened coordinates, ``[chosen]``.
        numel: Number of entries of the parameter.
        scale: Factor of each coordinate; 1 unless the choice was random.
        left: Orthonormal columns ``[rows, r]``; None is the identity.
        right: Orthonormal columns ``[columns, s]``; None is the identity.
    """

    indices: Tensor
    numel: int
    scale: float = 1.0
    left: Basis | None = None
    right: Basis | None = None

    @classmethod
    def choose(cls, numel: int, dimension: int, generator: torch.Generator) -> "Coordinates":
        """Choose ``min(numel, dimension)`` random coordinates, scaled so that inner products are unbiased.

        As in unique information, section 5 and its authors' code, coordinates are chosen for each parameter tensor
        separately (also for weights and biases), without replacement, and multiplied by ``sqrt(numel / chosen)``.
        """
        chosen = min(numel, dimension)
        order = torch.randperm(numel, generator=generator)[:chosen].sort().values
        return cls(order, numel, (numel / chosen) ** 0.5)

    @property
    def is_whole(self) -> bool:
        """Whether the gradient is kept unchanged."""
        return self.left is None and self.right is None and len(self.indices) == self.numel

    @classmethod
    def turned(cls, numel: int, left: Basis | None, right: Basis | None) -> "Coordinates":
        """Keep all coordinates in square, orthonormal bases."""
        return cls(torch.arange(numel), numel, 1.0, left, right)

    def of_layer(self, layer: LayerFactors, kind: Kind) -> Tensor:
        """Return the kept coordinates of a layer's weight or bias, ``[b, k, chosen]``."""
        if self.is_whole:
            return layer.jacobian(kind)
        if self.left is None and self.right is None:
            return layer.jacobian(kind, self.indices.to(layer.device)) * self.scale
        indices = None if len(self.indices) == self.numel else self.indices.to(layer.device)
        return layer.rotated_jacobian(kind, self.left, self.right, indices)

    def numbers_formed(self, layer: LayerFactors, kind: Kind) -> int:
        """Return the count of numbers that :meth:`of_layer` forms for one example and output."""
        if kind == "weight" and isinstance(layer, MapFactors) and layer.is_outer_product:
            rows = layer.sizes.gradients if self.left is None else self.left.shape[1]
            columns = layer.sizes.inputs if self.right is None else self.right.shape[1]
            return min(2 * len(self.indices), rows * columns)
        return self.numel

    def of_gradients(self, gradients: Tensor) -> Tensor:
        """Return the kept coordinates ``[b, k, chosen]`` of gradients ``[b, k, numel]``."""
        if self.is_whole:
            return gradients
        return rotate(gradients, self.left, self.right)[:, :, self.indices.to(gradients.device)] * self.scale
