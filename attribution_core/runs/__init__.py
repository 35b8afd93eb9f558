"""Runs on disk: reading and writing their directories, the decisions about them, and what their scores mean."""

from attribution_core.runs.credibility import NOT_CREDIBLE, CredibleEffects, why_not_credible
from attribution_core.runs.curves import CURVES, Curve
from attribution_core.runs.decisions import Decision, DecisionLog
from attribution_core.runs.files import fingerprint
from attribution_core.runs.listing import RunSummary, list_runs
from attribution_core.runs.measures import MEASURES, Measure
from attribution_core.runs.retraining import RETRAINING_OUTCOMES
from attribution_core.runs.schema import SCHEMA_VERSION, DatasetSummary, RunManifest, StageRecord, Unreadable
from attribution_core.runs.store import Run
from attribution_core.runs.writer import RunWriter

__all__ = [
    "CURVES",
    "MEASURES",
    "NOT_CREDIBLE",
    "RETRAINING_OUTCOMES",
    "SCHEMA_VERSION",
    "CredibleEffects",
    "Curve",
    "DatasetSummary",
    "Decision",
    "DecisionLog",
    "Measure",
    "Run",
    "RunManifest",
    "RunSummary",
    "RunWriter",
    "StageRecord",
    "Unreadable",
    "fingerprint",
    "list_runs",
    "why_not_credible",
]
