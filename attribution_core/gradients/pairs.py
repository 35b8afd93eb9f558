"""Inner products of per-example gradients of one loss for all pairs, in the cheaper of two forms.

Each layer's gradients are kept as factors, for which a pair costs ``positions positions' (in + out)`` multiplications,
or as rows of length ``in out``, whichever is cheaper (:func:`attribution_core.gradients.ntk.gram_is_cheaper`). The
gradient of a Linear layer for one example is an outer product, so a pair costs ``in + out`` instead of ``in out``, and
that many numbers are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.gradients.layers import Kind, LayerFactors, PositionFactors
from attribution_core.gradients.ntk import gram, gram_is_cheaper, rows


@dataclass(frozen=True)
class LayerGradients:
    """One layer's gradients of some examples, in the cheaper of two forms.

    Attributes:
        kinds: Parameters of the layer that count.
        rows: Gradients ``[b, numel]``; None if they are kept as factors.
        factors: Factors of the gradients; None if they are kept as rows.
    """

    kinds: tuple[Kind, ...]
    rows: Tensor | None
    factors: PositionFactors | None

    @staticmethod
    def join(parts: "Sequence[LayerGradients]") -> "LayerGradients":
        """Concatenate the gradients of several batches."""
        whole = [part.rows for part in parts if part.rows is not None]
        if whole:
            return LayerGradients(parts[0].kinds, torch.cat(whole), None)
        factors = LayerFactors.join([part.factors for part in parts if part.factors is not None])
        if not isinstance(factors, PositionFactors):
            raise TypeError("Only factors with positions can be kept as factors.")
        return LayerGradients(parts[0].kinds, None, factors)

    @property
    def width(self) -> int:
        """Length of a gradient that is kept as a row."""
        if self.rows is None:
            raise TypeError("These gradients are kept as factors, not as rows.")
        return self.rows.shape[1]

    @property
    def mean_row(self) -> Tensor:
        """Mean of gradients that are kept as rows, ``[numel]``."""
        if self.rows is None:
            raise TypeError("These gradients are kept as factors, not as rows.")
        return self.rows.mean(dim=0)

    @property
    def num_examples(self) -> int:
        """Number of examples, ``b``."""
        return len(self.rows) if self.rows is not None else self.factors.num_examples if self.factors is not None else 0

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.rows.nbytes if self.rows is not None else self.factors.nbytes if self.factors is not None else 0


def layer_gradients(layer: LayerFactors, kinds: tuple[Kind, ...], whole: bool = False) -> LayerGradients:
    """Return the cheaper form of a layer's gradients, or rows if ``whole``, for factors of one output."""
    if isinstance(layer, PositionFactors) and not whole and gram_is_cheaper(layer):
        return LayerGradients(kinds, None, layer)
    return LayerGradients(kinds, rows(layer, kinds, layer.dtype), None)


def inner_products(left: LayerGradients, right: LayerGradients) -> Tensor:
    """Return ``<g_i, g_j>`` over the layer's parameters, ``[b, b']``, in the gradients' precision."""
    if left.rows is not None and right.rows is not None:
        return left.rows @ right.rows.T
    if left.factors is None or right.factors is None:
        raise TypeError("One operand has rows and the other factors: both must come from the same layer.")
    return gram(left.factors, right.factors, left.kinds, left.factors.dtype)
