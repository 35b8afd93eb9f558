"""Inner products of per-example gradients of one loss, pair by pair, without forming what is large.

The evaluation side is kept once: for each layer as factors, where a pair then costs
``positions positions' (in + out)`` multiplications, or as gradients ``in out`` long, whichever is less
(:func:`attribution_core.gradients.ntk.gram_is_cheaper`). For one example a Linear layer's gradient is an outer product,
so a pair costs ``in + out`` instead of ``in out``, and the same is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.gradients.layers import Kind, LayerFactors, PositionFactors
from attribution_core.gradients.ntk import gram, gram_is_cheaper, rows


@dataclass(frozen=True)
class Side:
    """One layer's gradients of some examples, ready to meet others.

    Attributes:
        kinds: The layer's parameters that count.
        rows: ``[b, numel]``; None when the factors are the cheaper form.
        factors: The factors; None when the rows are.
    """

    kinds: tuple[Kind, ...]
    rows: Tensor | None
    factors: PositionFactors | None

    @staticmethod
    def join(parts: "Sequence[Side]") -> "Side":
        """The gradients of all examples of several batches."""
        whole = [part.rows for part in parts if part.rows is not None]
        if whole:
            return Side(parts[0].kinds, torch.cat(whole), None)
        factors = LayerFactors.join([part.factors for part in parts if part.factors is not None])
        if not isinstance(factors, PositionFactors):
            raise TypeError("Only factors with positions are kept as they are.")
        return Side(parts[0].kinds, None, factors)

    @property
    def width(self) -> int:
        """Numbers in a gradient kept whole."""
        if self.rows is None:
            raise TypeError("These gradients are kept as factors.")
        return self.rows.shape[1]

    @property
    def mean_row(self) -> Tensor:
        """The mean of gradients kept whole, ``[numel]``."""
        if self.rows is None:
            raise TypeError("These gradients are kept as factors.")
        return self.rows.mean(dim=0)

    @property
    def num_examples(self) -> int:
        """``b``."""
        return len(self.rows) if self.rows is not None else self.factors.num_examples if self.factors is not None else 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.rows.nbytes if self.rows is not None else self.factors.nbytes if self.factors is not None else 0


def side_of(layer: LayerFactors, kinds: tuple[Kind, ...], whole: bool = False) -> Side:
    """The cheaper form of a layer's gradients (or whole ones), for factors of one output, in their own precision."""
    if isinstance(layer, PositionFactors) and not whole and gram_is_cheaper(layer):
        return Side(kinds, None, layer)
    return Side(kinds, rows(layer, kinds, layer.dtype), None)


def inner_products(left: Side, right: Side) -> Tensor:
    """``<g_i, g_j>`` over the layer's parameters, in the gradients' own precision: ``[b, b']``."""
    if left.rows is not None and right.rows is not None:
        return left.rows @ right.rows.T
    if left.factors is None or right.factors is None:
        raise TypeError("Gradients meet factors: both sides must come from the same layer.")
    return gram(left.factors, right.factors, left.kinds, left.factors.dtype)
