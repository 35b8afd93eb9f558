"""The content of run.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

SCHEMA_VERSION = 1

# Standard deviation of the contribution between trainings, in runs whose contributions are means over several.
CONTRIBUTION_SPREAD = "contribution_spread"
# The columns of examples.parquet and evaluation.parquet that are neither group columns nor scores.
BASE_COLUMNS = (
    "id",
    "split",
    "label",
    "label_name",
    "predicted",
    "predicted_name",
    "confidence",
    "margin",
    "loss",
    "residual",
    "correct",
    "suggested_label",
    "suggested_name",
    "suggested_confidence",
    "text",
    "umap_x",
    "umap_y",
    CONTRIBUTION_SPREAD,
)


class _Record(BaseModel):
    """A record that refuses unknown fields; NaN and infinity are stored as strings, since JSON has neither."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class SchemaVersion(BaseModel):
    """The one field that every version of run.json has; it is read before all others."""

    schema_version: int


class StageRecord(_Record):
    """A stage of a run; it is repeated if it was interrupted or its fingerprint has changed."""

    title: str = ""
    status: Literal["pending", "running", "done", "failed"] = "pending"
    seconds: float | None = None
    started: str | None = None
    message: str = ""
    fingerprint: str = ""


class Unreadable(_Record):
    """A file or row of the dataset that was skipped, and why."""

    where: str
    why: str


class ValuesSummary(_Record):
    """The values of a regression, as a run stores them.

    Attributes:
        name: Name of the target column.
        mean: Mean of the training values.
        scale: Standard deviation of the training values; a model learns ``(value - mean) / scale``.
        ranges: Names of the ranges that the values are grouped into, from the lowest up.
    """

    name: str
    mean: float
    scale: float
    ranges: list[str]


class DatasetSummary(_Record):
    """The dataset of a run, as the run stores it, so that it opens without the dataset.

    Attributes:
        name: Name of the dataset.
        location: Absolute path of the dataset; empty for one that ``open_dataset`` opens by its name and for a torch
            dataset.
        class_names: Names of the classes; empty for a regression.
        sizes: Number of examples of each split.
        mode: Kind of the examples: an image mode such as ``"RGB"``, ``"text"`` or ``"table"``.
        values: The values of a regression; None for a classification.
        unreadable: Files and rows that were skipped.
        notes: Remarks about how the dataset was read.
        fingerprint: Fingerprint of the examples and their labels.
    """

    name: str
    location: str
    class_names: list[str]
    sizes: dict[str, int]
    mode: str
    values: ValuesSummary | None = None
    unreadable: list[Unreadable] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    fingerprint: str


class RunManifest(_Record):
    """The content of run.json.

    Attributes:
        schema_version: Version of this schema.
        title: Name of the run shown to people.
        created: Time when the run was begun, in UTC as ISO 8601.
        fingerprint: Fingerprint of the configuration.
        config: The configuration, as plain data.
        versions: Versions of Python and of the packages.
        hardware: Description of the machine.
        dataset: The dataset, once it was read.
        model: Facts about the model.
        metrics: Figures of merit, such as ``test_accuracy``.
        measures: Columns of examples.parquet that are scores, in order.
        details: Facts about each measure, such as its route and learning rate, or the reason why it was skipped.
        stages: The stages, in their order; those of runs of earlier versions that were begun.
    """

    schema_version: int = SCHEMA_VERSION
    title: str
    created: str
    fingerprint: str
    config: dict[str, Any]
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    dataset: DatasetSummary | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    measures: list[str] = Field(default_factory=list)
    details: dict[str, dict[str, Any]] = Field(default_factory=dict)
    stages: dict[str, StageRecord] = Field(default_factory=dict)

    @property
    def evaluated(self) -> int:
        """Number of validation examples that effects are measured on, which come first among the evaluation examples.

        It is all of them in runs of versions before the option ``max_evaluation``.
        """
        validation = 0 if self.dataset is None else self.dataset.sizes.get("validation", 0)
        return min(validation, self.config.get("max_evaluation") or validation)

    @field_validator("details", mode="before")
    @classmethod
    def _rename_left_out(cls, details: Any) -> Any:
        """Read ``left_out``, as earlier versions called the reason why a part was skipped, as ``skipped``."""
        if not isinstance(details, dict):
            return details
        return {name: _with_skipped(facts) if isinstance(facts, dict) else facts for name, facts in details.items()}


def _with_skipped(facts: dict[str, Any]) -> dict[str, Any]:
    # A reason is a text; an imported score may be called left_out, too, and is a dict.
    if not isinstance(facts.get("left_out"), str):
        return facts
    return {"skipped" if name == "left_out" else name: value for name, value in facts.items()}
