"""Which effects removing one example can have, and the words for estimates beyond them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

NOT_CREDIBLE = "not credible"
BEYOND_CREDIBLE = "effects_not_credible"  # key of the manifest's details: how many effects of each method
_ROUNDING = 1e-5  # of the largest credible rise: what float32 may add to an exact effect


@dataclass(frozen=True, eq=False)
class CredibleEffects:
    """The range of effects ``effect[i, j]`` that removing a training example can have on evaluation example j.

    A loss is never negative, so ``effect[i, j] >= -losses[j]`` for every removal. Upwards the range cannot be proved,
    only inferred: the model trained without i is a model like the present one, and at worst j is as new to it as the
    evaluation examples are to the present one. If j is exchangeable with these m examples, the probability that its
    loss then exceeds all of theirs is ``1 / (m + 1)``. So a rise by more than the largest of these losses is not
    credible, whatever the loss was before. If all of them are small, a rise up to the mean loss of a model that has
    learned nothing and outputs zeros (``log k`` nats for k classes) still is.

    Attributes:
        losses: Loss on each evaluation example before a removal, under the model that the effects are of, ``[m]``.
        highest: Largest credible rise: the largest of these losses, or the loss of a model that has learned nothing.
    """

    losses: np.ndarray
    highest: float

    @classmethod
    def of_losses(cls, losses: np.ndarray, of_zeros: np.ndarray) -> CredibleEffects:
        """Return the range for some losses ``[m]``, given the losses of a model that outputs zeros, ``[m]``."""
        highest = max(float(losses.max()), float(of_zeros.mean())) if len(losses) else 0.0
        return cls(losses.astype(np.float64), highest)

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> CredibleEffects | None:
        """Return the range that was stored with a matrix of effects, if any."""
        if "losses" not in attributes:
            return None
        return cls(np.asarray(attributes["losses"], dtype=np.float64), float(attributes["highest_credible"]))

    @property
    def attributes(self) -> dict[str, Any]:
        """What to store with the matrix, as plain data."""
        return {"losses": self.losses.tolist(), "highest_credible": self.highest}

    def excludes(self, effects: np.ndarray, evaluated: int | slice | np.ndarray = slice(None)) -> np.ndarray:
        """Return which effects are beyond the range.

        Args:
            effects: Effects ``[..., c]``, on c evaluation examples; or effects of any shape on a single one.
            evaluated: Positions of these evaluation examples; all by default.
        """
        tolerance = _ROUNDING * self.highest
        return (effects < -self.losses[evaluated] - tolerance) | (effects > self.highest + tolerance)


def why_not_credible(highest: str) -> str:
    """Return in one sentence why effects are marked, given the largest credible rise with its unit."""
    return (
        f"Marked as {NOT_CREDIBLE}: removing one example cannot take a loss below zero, and hardly raises it by more "
        f"than {highest}, the largest loss on any validation example or, if that is larger, of a model that has "
        "learned nothing."
    )
