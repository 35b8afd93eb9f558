"""Losses of a run's model after training with several weight decays: which is best, and which to try next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from attribution_core.runs.store import Run

CURVE = "regularization"
# Series of the curve; the first one chooses.
LEAVE_ONE_OUT, TRAINING, VALIDATION, TEST = "leave_one_out", "training", "validation", "test"

_USUAL = 5e-4  # tried around where the run itself has no weight decay
_STEPS = 4  # to each side of the run's own weight decay at first, and beyond an end where the loss is least there
_PER_DECADE = 2
# Share of a loss that one training does not tell from noise: on the demo, the losses at weight decays too small to
# matter differ by 1%.
_NOISE = 0.01


@dataclass(frozen=True)
class Regularization:
    """What training with several weight decays showed.

    Attributes:
        losses: Mean losses, by weight decay in ascending order: columns leave_one_out (estimated, of the training
            examples), training, validation and test.
        own: The weight decay of the run itself.
    """

    losses: pd.DataFrame
    own: float

    @property
    def by_value(self) -> dict[float, dict[str, float]]:
        """The losses of each weight decay, by their names."""
        names = [str(name) for name in self.losses.columns]
        rows = zip(self.losses.index, self.losses.to_numpy(dtype=np.float64), strict=True)
        return {float(value): dict(zip(names, row.tolist(), strict=True)) for value, row in rows}

    @property
    def best(self) -> float:
        """Weight decay of least estimated leave-one-out loss."""
        return min(self.by_value, key=lambda value: self.by_value[value][LEAVE_ONE_OUT])

    @property
    def is_at_end(self) -> bool:
        """Whether the loss still falls clearly at the smallest or largest value tried, so that others may be better."""
        tried = list(self.by_value)
        neighbors = {tried[0]: tried[:2], tried[-1]: tried[-2:]}.get(self.best, [])
        return all(value == self.best or self._is_clear(value) for value in neighbors) and bool(neighbors)

    @property
    def is_better(self) -> bool:
        """Whether the best weight decay is clearly better than the run's own."""
        return self.best != self.own and (self.own not in self.by_value or self._is_clear(self.own))

    def _is_clear(self, value: float) -> bool:
        """Return whether the loss at the best weight decay is clearly below that at another one."""
        losses = self.by_value
        return losses[self.best][LEAVE_ONE_OUT] < (1 - _NOISE) * losses[value][LEAVE_ONE_OUT]

    @property
    def sentence(self) -> str:
        """Which weight decay is best, and what to do."""
        least, own = f"Leave-one-out loss is least at weight decay {self.best:g}", f"{self.own:g}"
        if self.is_at_end:
            return f"{least}, at the end of what was tried (the run used {own}): try values beyond it."
        if self.best == self.own:
            return f"{least}, which the run used."
        if not self.is_better:
            return f"{least}, but at {own}, which the run used, it is within {_NOISE:.0%} of that: keep it."
        return f"{least} (the run used {own}): score again with --train-weight-decay {self.best:g}."


def read_regularization(run: Run) -> Regularization | None:
    """Read what a run knows of other weight decays; None if it knows nothing."""
    points = run.curves[run.curves["curve"] == CURVE]
    if points.empty:
        return None
    return Regularization(points.pivot(index="x", columns="series", values="y").sort_index(), own_weight_decay(run))


def own_weight_decay(run: Run) -> float:
    """Return the weight decay that a run was trained with."""
    return float(run.manifest.config["recipe"]["weight_decay"])


def weight_decays_to_try(run: Run) -> list[float]:
    """Return the weight decays that tell which one is best, in half decades around the run's own.

    Those that were tried are among them. Where the loss is least at an end of them, others beyond it follow.
    """
    known = read_regularization(run)
    if known is None or len(known.losses) < 3:
        center = own_weight_decay(run) or _USUAL
        grid = [_rounded(center * 10 ** (step / _PER_DECADE)) for step in range(-_STEPS, _STEPS + 1)]
        return sorted({*grid, center, *([] if known is None else known.losses.index)})
    tried = [float(value) for value in known.losses.index]
    if known.is_at_end:
        direction = 1 if known.best == tried[-1] else -1
        beyond = [_rounded(known.best * 10 ** (direction * step / _PER_DECADE)) for step in range(1, _STEPS + 1)]
        tried = sorted({*tried, *beyond})
    return tried


def why_no_regularization(run: Run) -> str:
    """Return why a run's weight decay cannot be chosen by its leave-one-out loss, in a sentence; empty if it can."""
    config = run.manifest.config
    if not config.get("recipe"):
        return f"The run {run.id} does not record how its model was trained, so it cannot be trained in other ways."
    if config.get("training") == "none":
        return (
            f"The run {run.id} scored weights as they were given, so it is unknown how they were trained: score with "
            "--training scratch or fine-tune first."
        )
    if config.get("trainable") == "head":
        return (
            f"The run {run.id} trains the head of a frozen network, for which scoring itself chooses the weight decay "
            "of least leave-one-out loss: score again without --train-weight-decay if you gave one."
        )
    return ""


def _rounded(value: float) -> float:
    """Return a value in two significant digits, which people can read and type."""
    return float(np.format_float_scientific(value, precision=1))
