"""The stage of known wrong labels: how soon each score of the run finds them."""

import torch
from torch import Tensor
from typing_extensions import override

from attribution_core.errors import InputError
from attribution_core.evaluation.detection import detection_curve, suspicious_scores
from attribution_core.runs import Run, RunWriter
from attribution_core.scoring.stages.base import ScoringRun, Stage, curve_rows, write_or_skip

_POINTS = 101  # of the curve, from none inspected to all


class DetectionStage(Stage):
    """Write the curve detection, and in the details of that name what each score finds."""

    name = "detection"
    title = "detection of known wrong labels"
    order = 110

    @override
    def write(self, scoring: ScoringRun) -> None:
        write_detection(scoring.writer, scoring.known_wrong)


def write_detection(writer: RunWriter, known_wrong: Tensor | None) -> None:
    """Write how soon each score finds the labels that are known to be wrong, or why that cannot be said.

    Args:
        writer: The run, with all its scores.
        known_wrong: Which training labels are known to be wrong, bool ``[n]``; None where nothing is known.
    """
    write_or_skip(writer, "detection", lambda: _write(writer, known_wrong))


def _write(writer: RunWriter, known_wrong: Tensor | None) -> None:
    if known_wrong is None:
        raise InputError("it is not known which labels are wrong")
    curve = detection_curve(suspicious_scores(Run.open(writer.path)), known_wrong)
    shares = torch.linspace(0, 1, _POINTS, dtype=torch.float64)
    found = [curve.found_at(share) for share in shares.tolist()]
    series = {name: torch.tensor([each[name] for each in found], dtype=torch.float64) for name in curve.found}
    writer.write_curve("detection", curve_rows(shares.tolist(), {**series, "random order": shares}))
    details = {"wrong_labels": int(known_wrong.sum()), "perfect_area": curve.perfect_area, "scores": curve.rows()}
    writer.describe("detection", details)
