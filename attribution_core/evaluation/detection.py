"""Measure how soon scores find known wrong labels when examples are inspected most suspicious first."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.labels import changed_labels

SHARES = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class DetectionCurve:
    r"""Hold the share of the wrong labels found, against the share of the examples inspected.

    With a share ``p`` of wrong labels, the area under a curve (trapezoids) is 1/2 for a random order, whose curve is
    the diagonal, and ``1 - p/2`` for a perfect one. The share inspected is ``p`` times the true positive rate plus
    ``1 - p`` times the false positive rate, so the area under the ROC curve is an affine function of the area here:
    ``auc = (area - p/2) / (1 - p)``, 1/2 for random and 1 for perfect.

    Attributes:
        inspected: Share of the examples inspected, ``[n + 1]``, float64, from 0 to 1.
        found: For each score, the share of the wrong labels among the inspected examples with its highest values,
            ``[n + 1]``, float64; for ties, the expected share over all orders.
        wrong_share: Share of wrong labels, ``p``.
    """

    inspected: Tensor
    found: dict[str, Tensor]
    wrong_share: float

    @property
    def perfect_area(self) -> float:
        """Area under the curve of a perfect order."""
        return 1 - self.wrong_share / 2

    @property
    def area(self) -> dict[str, float]:
        """Area under each score's curve."""
        return {name: float(torch.trapezoid(found, self.inspected)) for name, found in self.found.items()}

    @property
    def auc(self) -> dict[str, float]:
        """Area under each score's ROC curve: the probability that it is higher for a wrong than for a right label."""
        return {name: (area - self.wrong_share / 2) / (1 - self.wrong_share) for name, area in self.area.items()}

    def found_at(self, share: float) -> dict[str, float]:
        """Return the share of the wrong labels found after inspecting a share of the examples, interpolated linearly.

        Raises:
            InputError: The share is outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise InputError(f"The share inspected must be in [0, 1], not {share}.")
        x = self.inspected.numpy()
        return {name: float(np.interp(share, x, found.numpy())) for name, found in self.found.items()}

    def rows(self) -> dict[str, dict[str, float]]:
        """Return each score's ``area``, ``auc`` and share found among the first ``5%``, ``10%`` and ``20%``."""
        area, auc = self.area, self.auc
        first = {f"{share:.0%}": self.found_at(share) for share in SHARES}
        return {
            name: {"area": area[name], "auc": auc[name], **{share: found[name] for share, found in first.items()}}
            for name in self.found
        }


def detection_curve(scores: Mapping[str, Tensor], wrong: Tensor) -> DetectionCurve:
    """Compute how soon each score finds the wrong labels.

    Args:
        scores: Scores by name, ``[n]`` each; higher is more suspicious.
        wrong: Which labels are wrong, bool ``[n]``.

    Returns:
        The curves, on the CPU.

    Raises:
        InputError: No label is wrong or none is right, or a score is not ``[n]`` or holds NaN.
    """
    wrong = wrong.cpu().bool()
    count, n = int(wrong.sum()), wrong.numel()
    if wrong.ndim != 1 or not 0 < count < n:
        raise InputError(
            f"Detection needs a mask [n] with some labels wrong and some right; given is one of shape "
            f"{list(wrong.shape)} with {count} wrong."
        )
    for name, values in scores.items():
        if values.shape != wrong.shape or bool(values.isnan().any()):
            raise InputError(
                f"The score {name} needs a number for each of the {n} labels, but it has the shape "
                f"{list(values.shape)} with {int(values.isnan().sum())} NaN. Remove it from the scores."
            )
    inspected = torch.arange(n + 1, dtype=torch.float64) / n
    return DetectionCurve(inspected, {name: _found(values, wrong) for name, values in scores.items()}, count / n)


def known_wrong(examples: pd.DataFrame) -> Tensor | None:
    """Return which labels are known to be wrong: those that differ from ``original_label``, a name or a number.

    Args:
        examples: Columns ``label``, ``label_name`` and, if the right labels are known, ``original_label``.

    Returns:
        Bool ``[n]``, or None if the right labels are not known.
    """
    changed = changed_labels(examples)
    return None if changed is None else torch.tensor(changed)


def suspicious_scores(run: Run) -> dict[str, Tensor]:
    """Return a run's scores that can find wrong labels, higher being more suspicious, in the order of its columns.

    These are its scores with a suspicious end (negated if that is the low end), except imported ones that some examples
    lack.

    Returns:
        Scores by name, ``[n]`` each, float64.
    """
    signs = {"high": 1.0, "low": -1.0}
    return {
        name: sign * torch.tensor(run.examples[name].to_numpy(dtype="float64"))
        for name in run.scores
        if (sign := signs.get(run.measure(name).suspicious or "")) is not None
        and not (name in run.imported and run.examples[name].hasnans)
    }


def _found(values: Tensor, wrong: Tensor) -> Tensor:
    """Return one score's curve, ``[n + 1]``, exact in integers up to one division, so that ties give straight lines."""
    ordered, order = values.detach().cpu().double().sort(descending=True)
    _, group, sizes = ordered.unique_consecutive(return_inverse=True, return_counts=True)
    inside = torch.zeros_like(sizes).index_add_(0, group, wrong[order].long())  # wrong labels in each group of ties
    before, start = inside.cumsum(0) - inside, sizes.cumsum(0) - sizes
    rank = torch.arange(1, len(ordered) + 1) - start[group]  # within the group of ties, from 1
    found = before[group] * sizes[group] + rank * inside[group]
    shares = found.double() / (sizes[group] * wrong.sum()).double()
    return torch.cat([shares.new_zeros(1), shares])
