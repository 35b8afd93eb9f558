"""The curves of a run: what each shows, its axes and its paper."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """One curve of a run, of one or more series.

    Attributes:
        name: Its name in curves.parquet.
        title: Name for people.
        x: What the horizontal axis counts.
        y: What the vertical axis counts.
        log_x: Whether the horizontal axis is logarithmic.
        definition: What it shows, for someone who has not read the paper.
        paper: Where it is from.
    """

    name: str
    title: str
    x: str
    y: str
    log_x: bool
    definition: str
    paper: str


_ZHANG = "Zhang and Zhang 2022, Rethinking influence functions of neural networks in the over-parameterized regime"

_ALL = (
    Curve(
        name="ihvp_error",
        title="How wrong influence functions would be",
        x="weight decay (mean squared feature norms)",
        y="error rate",
        log_x=True,
        definition=(
            "Error of the inverse-Hessian estimate of removal effects on the fully trained linearised model, as a "
            "share of the effects themselves, for some weight decays, and the bound below which it can't fall (zero "
            "where there are fewer features than examples). The effects in this run are exact and have no such error."
        ),
        paper=f"{_ZHANG}, theorem 3 and figure 2",
    ),
    Curve(
        name="ihvp_error_by_density",
        title="Where influence functions would be wrong",
        x="tenth of the examples, from the rarest to the densest",
        y="error rate",
        log_x=False,
        definition=(
            "The same error at a weight decay of one mean squared feature norm, for training examples by the density "
            "of examples around them: rare examples, which matter most, are estimated worst."
        ),
        paper=f"{_ZHANG}, theorem 4 and figure 3",
    ),
    Curve(
        name="complexity_by_influence",
        title="What influence costs",
        x="tenth of the examples, from the most harmful to the most helpful",
        y="added norm of the weights",
        log_x=False,
        definition=(
            "How much longer each tenth of the training examples makes the linearised model's weights. Helpful and "
            "harmful examples both make it more complex; those between are redundant."
        ),
        paper=f"{_ZHANG}, eq. 19 and figure 5",
    ),
    Curve(
        name="changed_among_influencers",
        title="When wrong labels lead",
        x="training time (steps)",
        y="share with changed labels",
        log_x=True,
        definition=(
            "How many of the single most influential training examples of the validation examples are known to have a "
            "changed label, over training; the level line is their share among all training examples."
        ),
        paper=f"{_ZHANG}, eq. 20 and figure 7",
    ),
)

CURVES: dict[str, Curve] = {curve.name: curve for curve in _ALL}
