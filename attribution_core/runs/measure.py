"""What a measure is: its meaning, its unit, and which of its ends hints at a wrong label."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

SQUARED_ERROR = "half squared error"  # unit of the losses of a regression

Kind = Literal["label quality", "informativeness", "effect", "sensitivity", "contribution", "diagnostic", "imported"]


@dataclass(frozen=True)
class Measure:
    """A score of a training example, or the effects of training examples on evaluation examples.

    Attributes:
        name: Name of the score's column, or of the method of the effects.
        title: Name shown to people.
        kind: Family that the measure belongs to. Every run has the diagnostics; an imported score was computed
            elsewhere.
        unit: Unit of the values; empty for a pure number.
        definition: One or a few sentences for someone who has not read the paper.
        equation: Formula in LaTeX; empty for an imported measure.
        paper: Source of the formula; empty for a diagnostic and for an imported measure.
        suspicious: End of the scale that hints at a wrong label, or None when neither does.
        signed: Whether the values take both signs; they are then drawn on a scale centered on zero.
        regression: Fields that read differently for a regression run, by name. Regression models learn values in
            standard deviations (SD) of the training values, so errors are in SD and losses in half squared SD.
    """

    name: str
    title: str
    kind: Kind
    unit: str
    definition: str
    equation: str
    paper: str
    suspicious: Literal["high", "low"] | None
    signed: bool
    regression: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def title_in_sentence(self) -> str:
        """The title as it reads within a sentence: "label quality", but "NTK influence"."""
        first = self.title.split(" ", 1)[0]
        return self.title if first.isupper() else self.title[:1].lower() + self.title[1:]

    def for_regression(self) -> Measure:
        """Return the measure as it reads for a regression run."""
        return replace(self, **self.regression)  # type: ignore[arg-type]
