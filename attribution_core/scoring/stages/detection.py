"""The stage of what is known to be wrong: how soon each score of the run finds those labels."""

import torch
from torch import Tensor

from attribution_core.evaluation.detection import detection_curve, suspicious_scores
from attribution_core.runs import Run, RunWriter
from attribution_core.scoring.stages.base import points_of, write_or_skip

_POINTS = 101  # of the curve, from nothing to all


def write_detection(writer: RunWriter, changed: Tensor | None) -> None:
    """Writes curve detection, and in the details of that name what each score finds.

    Where it is not known which labels are wrong, or nothing can be told, the details say so instead.

    Args:
        writer: The run, with all its scores.
        changed: Which training labels are known to be wrong, bool ``[n]``; None where nothing is known.
    """
    if changed is None:
        writer.describe("detection", {"skipped": "it is not known which labels are wrong"})
    else:
        write_or_skip(writer, "detection", "", False, lambda: _write(writer, changed))


def _write(writer: RunWriter, changed: Tensor) -> None:
    curve = detection_curve(suspicious_scores(Run.open(writer.path)), changed)
    shares = torch.linspace(0, 1, _POINTS, dtype=torch.float64)
    found = [curve.found_at(share) for share in shares.tolist()]
    series = {name: torch.tensor([each[name] for each in found], dtype=torch.float64) for name in curve.found}
    writer.write_curve("detection", points_of(shares.tolist(), {**series, "random order": shares}))
    details = {"wrong_labels": int(changed.sum()), "perfect_area": curve.perfect_area, "scores": curve.rows()}
    writer.describe("detection", details)
