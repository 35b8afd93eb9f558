"""Types that the families of methods share."""

from torch import Tensor

# Inputs ``[n, ...]`` and targets ``[n]`` or ``[n, k]`` of one split, or of some of its examples.
InputsAndTargets = tuple[Tensor, Tensor]
# One or several vectors in the coordinates of a plan: ``[r, numel]`` by parameter name.
Blocks = dict[str, Tensor]
