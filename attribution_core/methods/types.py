"""Types that the families of methods share."""

from torch import Tensor

# Inputs ``[n, ...]`` and targets ``[n]`` or ``[n, k]`` of some examples.
InputsAndTargets = tuple[Tensor, Tensor]
# A vector, or several, in the coordinates of a plan: by parameter, ``[r, numel]``.
Blocks = dict[str, Tensor]
