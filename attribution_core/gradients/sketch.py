"""Smaller features with (nearly) the same inner products."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coordinates:
    """A random choice of coordinates of one parameter tensor, scaled so that inner products are right on average.

    Unique information, section 5 and the authors' code: each parameter tensor apart (weights and biases too), without
    replacement, times ``sqrt(numel / chosen)``.

    Attributes:
        indices: ``[chosen]``, into the flattened tensor.
        scale: ``sqrt(numel / chosen)``; 1 when all are chosen.
    """

    indices: Tensor
    scale: float

    @classmethod
    def choose(cls, numel: int, dimension: int, generator: torch.Generator) -> "Coordinates":
        """Choose ``min(numel, dimension)`` of ``numel`` coordinates."""
        chosen = min(numel, dimension)
        order = torch.randperm(numel, generator=generator)[:chosen].sort().values
        return cls(order, (numel / chosen) ** 0.5)
