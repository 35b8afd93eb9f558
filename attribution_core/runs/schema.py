"""What run.json holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

SCHEMA_VERSION = 1

# The columns of examples.parquet and evaluation.parquet that are neither groups nor scores.
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
    "text",
    "umap_x",
    "umap_y",
)


class _Record(BaseModel):
    """Strict about names; NaN and infinity travel as strings, since JSON has neither."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class SchemaVersion(BaseModel):
    """The one field that every version of run.json has, read before all others."""

    schema_version: int


class StageRecord(_Record):
    """One step of a run, redone when it was cut off or when its fingerprint changed."""

    status: Literal["pending", "running", "done", "failed"] = "pending"
    seconds: float | None = None
    started: str | None = None
    message: str = ""
    fingerprint: str = ""


class Unreadable(_Record):
    """A file or row of the dataset that was left out, and why."""

    where: str
    why: str


class ValuesSummary(_Record):
    """What a run remembers of the values of a regression.

    ``name`` is their column's; a model learns them less ``mean`` and over ``scale``; ``ranges`` are the names of the
    ranges that they are spoken of in, from the lowest up.
    """

    name: str
    mean: float
    scale: float
    ranges: list[str]


class DatasetSummary(_Record):
    """What a run remembers of its dataset, so that it opens without it.

    ``class_names`` is empty where labels are values, which ``values`` then tells of. ``sizes`` maps a split's name to
    its number of examples; ``location`` is the dataset's absolute path, or empty for one that ``open_dataset`` knows by
    its name.
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

    ``fingerprint`` is the configuration's; ``measures`` are the columns of examples.parquet that are scores, in order;
    ``details`` holds facts about each measure, such as its route and its learning rate.
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
