"""A run on disk, open for reading."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import ValidationError

from attribution_core.errors import InputError, first_problem
from attribution_core.runs.credibility import BEYOND_CREDIBLE, CredibleEffects
from attribution_core.runs.curves import CURVES, Curve
from attribution_core.runs.decisions import DecisionLog
from attribution_core.runs.embeddings import read_embeddings
from attribution_core.runs.files import is_locked
from attribution_core.runs.imported import ImportedScore, imported_scores
from attribution_core.runs.labels import VALUE_RANGE
from attribution_core.runs.matrices import open_matrix
from attribution_core.runs.measures import MEASURES, Measure
from attribution_core.runs.names import (
    DECISIONS_FILE,
    EFFECTS_FOLDER,
    EVOLUTION_FOLDER,
    MANIFEST_FILE,
    MATRIX_SUFFIX,
    effects_file,
    evolution_file,
    table_file,
)
from attribution_core.runs.retraining import read_retraining
from attribution_core.runs.schema import BASE_COLUMNS, SCHEMA_VERSION, RunManifest, SchemaVersion, ValuesSummary
from attribution_core.runs.tables import CLASS_EFFECTS, CLASS_PAIRS, CURVE_POINTS
from attribution_core.runs.thumbnails import Pack

if TYPE_CHECKING:
    import zarr

TableName = Literal["examples", "evaluation", "near_duplicates"]
SplitName = Literal["train", "evaluation"]
Status = Literal["complete", "running", "failed", "incomplete"]


def table_of(split: str) -> SplitName:
    """Return the name of the table that holds the examples of a split."""
    return "train" if split == "train" else "evaluation"


class Run:
    """A run, open for reading; each part is read when it is first used."""

    def __init__(self, path: Path, manifest: RunManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._imported = imported_scores(manifest)
        self.decisions = DecisionLog(path / DECISIONS_FILE)
        self._packs = {split: Pack(path, split) for split in ("train", "evaluation")}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run, complete or interrupted; using a part that is missing raises an error.

        Raises:
            InputError: If there is no run, it is damaged, or a newer SampleScope wrote it.
        """
        path = Path(os.path.abspath(path))  # noqa: PTH100 (a link keeps its name, by which its folder lists it)
        if not (path / MANIFEST_FILE).is_file():
            raise InputError(f"{path} is not a run (it has no {MANIFEST_FILE}): give a folder that score wrote.")
        return cls(path, read_manifest(path))

    @property
    def id(self) -> str:
        """Name of the directory."""
        return self.path.name

    @property
    def title(self) -> str:
        """Name shown to people."""
        return self.manifest.title

    @property
    def status(self) -> Status:
        """State of the run: incomplete if no process is writing it and it lacks scores or the end of a stage."""
        if is_locked(self.path):
            return "running"
        states = {stage.status for stage in self.manifest.stages.values()}
        if "failed" in states:
            return "failed"
        return "complete" if states == {"done"} and self.manifest.measures else "incomplete"

    @property
    def awaited(self) -> list[str]:
        """Titles of the stages whose results are still to come, in their order, while a process scores the run."""
        left = {name: stage for name, stage in self.manifest.stages.items() if stage.status != "done"}
        return [stage.title or name for name, stage in left.items()] if self.status == "running" else []

    @property
    def version(self) -> str:
        """Text that changes whenever the run is written: a cache key for results computed from it."""
        files = [self.path / MANIFEST_FILE, *(self.path / table_file(name) for name in ("examples", "evaluation"))]
        return ":".join([str(self.path), *(str(file.stat().st_mtime_ns) for file in files if file.exists())])

    @property
    def has_examples(self) -> bool:
        """Whether the run has its table of training examples yet."""
        return (self.path / table_file("examples")).is_file()

    @cached_property
    def examples(self) -> pd.DataFrame:
        """A row for each training example, with its labels, predictions, group columns and scores."""
        return read_table(self.path, "examples")

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """A row for each validation and test example, with a ``split`` column and, of the scores, label quality."""
        return read_table(self.path, "evaluation")

    @property
    def scores(self) -> list[str]:
        """Columns that rank examples: the run's measures, its imported scores, then the diagnostics."""
        imported = [name for name, score in self.imported.items() if score.measure.kind != "effect"]
        diagnostics = [name for name, measure in MEASURES.items() if measure.kind == "diagnostic"]
        listed = dict.fromkeys([*self.manifest.measures, *imported, *diagnostics])
        return [name for name in listed if name in self.examples.columns and name in self.known_measures]

    @property
    def imported(self) -> dict[str, ImportedScore]:
        """Imported scores and effects, by name."""
        return self._imported

    @cached_property
    def known_measures(self) -> dict[str, Measure]:
        """Measures by name: the registry, as it reads for this run, and the imported scores."""
        known = MEASURES if self.values is None else {name: each.for_regression() for name, each in MEASURES.items()}
        return {**known, **{name: score.measure for name, score in self.imported.items()}}

    @property
    def quality(self) -> dict[str, float]:
        """Quality of the trained model on each split: the accuracy or R² (see :attr:`quality_name`), 1 at best."""
        suffix = "_accuracy" if self.values is None else "_r2"
        metrics = self.manifest.metrics
        return {name.removesuffix(suffix): value for name, value in metrics.items() if name.endswith(suffix)}

    @property
    def quality_name(self) -> str:
        """``"accuracy"``, or for a regression ``"R²"``, the share of the variance that the predictions explain."""
        return "accuracy" if self.values is None else "R²"

    def curve(self, name: str) -> Curve:
        """Return what a curve means for this run."""
        return CURVES[name] if self.values is None else CURVES[name].for_regression()

    def measure(self, name: str) -> Measure:
        """Return what a score of the run means, from the registry or from its import.

        Raises:
            InputError: If neither has the score.
        """
        if name not in self.known_measures:
            raise InputError(f"The run {self.id} has no score {name}: choose one of {', '.join(self.scores)}.")
        return self.known_measures[name]

    def facts(self, name: str) -> dict[str, Any]:
        """Return how a score was computed (its route and settings) or imported (its source); empty if unknown."""
        if name not in self.imported:
            return self.manifest.details.get(name, {})
        found = self.imported[name]
        facts = {"imported_from": found.source, "imported_on": found.time, "note": found.note}
        return {what: value for what, value in facts.items() if value}

    @property
    def groups(self) -> list[str]:
        """Group columns, which come from the dataset, such as ``original_label``."""
        known = {*BASE_COLUMNS, *self.manifest.measures, *self.imported}
        return [name for name in self.examples.columns if name not in known]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the labels; empty for a regression."""
        return self.manifest.dataset.class_names if self.manifest.dataset is not None else []

    @property
    def values(self) -> ValuesSummary | None:
        """The values of a regression; None for a classification."""
        return self.manifest.dataset.values if self.manifest.dataset is not None else None

    @property
    def strata_names(self) -> list[str]:
        """Names of the classes, or for a regression of the ranges of values, from the lowest up."""
        return self.class_names if self.values is None else self.values.ranges

    def strata(self, table: pd.DataFrame) -> np.ndarray:
        """Return the class, or the range of the value, of each row of :attr:`examples` or :attr:`evaluation`.

        Returns:
            Positions in :attr:`strata_names`, int64 ``[rows]``.
        """
        if self.values is None:
            return table["label"].to_numpy(dtype=np.int64)
        return np.asarray(pd.Index(self.values.ranges).get_indexer(pd.Index(table[VALUE_RANGE])), dtype=np.int64)

    def cleaned_labels(self, split: SplitName = "train") -> pd.DataFrame:
        """Return the labels of the training examples, or of the evaluation examples, with the decisions applied.

        Returns:
            Columns id, split, label (final), label_in_data, and action, time and reviewer (each "" if nothing was
            decided), in the order of :attr:`examples` or :attr:`evaluation`.
        """
        table = self.examples if split == "train" else self.evaluation
        splits = table["split"] if split == "evaluation" else pd.Series("train", index=table.index, dtype="str")
        keys = pd.MultiIndex.from_arrays([table["id"], splits])
        decisions = self.decisions.current().set_index(["id", "split"]).reindex(keys)
        in_data = table["label"].to_numpy(dtype="int64" if self.values is None else "float64")
        new_label = decisions["new_label"].to_numpy(dtype="float64", na_value=np.nan)
        return pd.DataFrame(
            {
                "id": table["id"],
                "split": splits,
                "label": np.where(np.isnan(new_label), in_data, new_label).astype(in_data.dtype),
                "label_in_data": in_data,
                "action": decisions["action"].fillna("").to_numpy(),
                "time": decisions["time"].fillna("").to_numpy(),
                "reviewer": decisions["reviewer"].fillna("").to_numpy(),
            }
        )

    def effects(self, method: str) -> zarr.Array:
        """Open the effects of a method: ``effect[i, j]`` is the change of loss j when training example i is removed.

        Returns:
            ``[train, evaluated]``; a slice is a float32 array. The columns are the first rows of :attr:`evaluation`,
            ``manifest.evaluated`` validation examples.

        Raises:
            InputError: If the run has no effects by this method.
        """
        return open_matrix(self.path / effects_file(method))

    def credible_effects(self, method: str) -> CredibleEffects | None:
        """Return the range of effects by a method that are credible; None if unknown, as for imported effects.

        Raises:
            InputError: If the run has no effects by this method.
        """
        return CredibleEffects.from_attributes(self.effects(method).attrs.asdict())

    def share_not_credible(self, method: str) -> float:
        """Return the share of a method's effects that are not credible; 0 if unknown, as for imported effects."""
        counts = self.manifest.details.get(BEYOND_CREDIBLE, {}).get(method, {"count": 0, "of": 1})
        return float(counts["count"] / max(1, counts["of"]))

    def evolution(self, measure: str) -> tuple[np.ndarray, zarr.Array]:
        """Open a measure over training: times ``[times]`` and values ``[times, train]``.

        Raises:
            InputError: If the run has no evolution of this measure.
        """
        matrix = open_matrix(self.path / evolution_file(measure))
        return np.asarray(matrix.attrs["times"], dtype=np.float64), matrix

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Points of all curves (see :data:`attribution_core.runs.CURVES`): columns curve, series, x and y."""
        return CURVE_POINTS.read(self.path)

    @cached_property
    def class_effects(self) -> pd.DataFrame:
        """Effects of classes on classes: columns method, train_class, evaluation_class, effect and normalised.

        ``effect`` is the mean over the pairs of examples, ``normalised`` the effect divided by the square root of its
        row sum times its column sum (HYDRA, figure 2).
        """
        return CLASS_EFFECTS.read(self.path)

    @cached_property
    def class_pairs(self) -> pd.DataFrame:
        """The strongest single effects of both signs behind :attr:`class_effects`, strongest first within each cell.

        The columns are method, train_class, evaluation_class, train_row and evaluation_row (positions in
        :attr:`examples` and :attr:`evaluation`) and effect.
        """
        return CLASS_PAIRS.read(self.path)

    @property
    def effect_methods(self) -> list[str]:
        """Methods that the run has effects by: those of the registry, then imported ones, then others by name."""
        found = {entry.stem for entry in (self.path / EFFECTS_FOLDER).glob(f"*{MATRIX_SUFFIX}")}
        known = self.known_measures
        return [*(name for name in known if name in found), *sorted(found - known.keys())]

    @property
    def evolutions(self) -> list[str]:
        """Measures that the run has over training, in the order of the registry."""
        found = {entry.stem for entry in (self.path / EVOLUTION_FOLDER).glob(f"*{MATRIX_SUFFIX}")}
        return [name for name in MEASURES if name in found]

    @property
    def has_predictions(self) -> bool:
        """Whether the model has predicted the examples; a run has scores before that while it is being made."""
        return "predicted" in self.examples.columns

    @property
    def has_map(self) -> bool:
        """Whether the examples have map coordinates, ``umap_x`` and ``umap_y``."""
        return "umap_x" in self.examples.columns

    def embeddings(self, split: SplitName) -> np.ndarray:
        """Map the embeddings, the inputs of the trained network's last layer, into memory: ``[rows, d]``, float32.

        Raises:
            InputError: If the run has no embeddings.
        """
        return read_embeddings(self.path, split)

    @cached_property
    def near_duplicates(self) -> pd.DataFrame:
        """Pairs of near-duplicates, most similar first: columns id, other, similarity (cosine) and same_label.

        Raises:
            InputError: If the run did not search for near-duplicates, or the table is damaged.
        """
        return read_table(self.path, "near_duplicates")

    @cached_property
    def retraining(self) -> pd.DataFrame:
        """Every retraining by ``verify``, with the columns of :class:`~attribution_core.runs.retraining.Retraining`."""
        return read_retraining(self.path)

    def influential(self, score: str = "contribution", count: int = 10) -> pd.DataFrame:
        """Return the training examples with the largest absolute scores.

        Args:
            score: A column of scores.
            count: Number of examples.

        Returns:
            Columns id, label_name, predicted_name, confidence (residual for a regression) and the score, without
            those of a prediction if the model has not predicted the examples.

        Raises:
            InputError: If the run does not have the score.
        """
        if score not in self.scores:
            raise InputError(f"The run {self.id} has no score {score}: choose one of {', '.join(self.scores)}.")
        order = self.examples[score].abs().sort_values(ascending=False, kind="stable").index[:count]
        predicted = ["predicted_name", "confidence" if self.values is None else "residual"]
        columns = ["id", "label_name", *(predicted if self.has_predictions else []), score]
        return self.examples.loc[order, list(dict.fromkeys(columns))].reset_index(drop=True)

    def thumbnail(self, split: SplitName, row: int) -> tuple[bytes, str]:
        """Return the encoded thumbnail of a table's row, and its media type.

        Raises:
            IndexError: If there is no such row.
            InputError: If the thumbnails are missing or damaged.
        """
        return self._packs[split][row]


def read_manifest(path: Path) -> RunManifest:
    """Read the run.json of the run at ``path``.

    Raises:
        InputError: If it is damaged or cannot be read, or a newer SampleScope wrote it.
    """
    file = path / MANIFEST_FILE
    try:
        text = file.read_text(encoding="utf-8")
        version = SchemaVersion.model_validate_json(text).schema_version
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{path} was written by a newer SampleScope (its schema is {version}, this version reads up to "
                f"{SCHEMA_VERSION}): upgrade with pip install -U samplescope."
            )
        return RunManifest.model_validate_json(text)
    except ValidationError as error:
        where, why = first_problem(error)
        raise InputError(f"{file} is damaged ({where or 'the file'}: {why}): score the data again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}): score the data again.") from error


def read_table(path: Path, name: TableName, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table of the run at ``path``, or some of its columns.

    Raises:
        InputError: If the table is missing or damaged.
    """
    file = path / table_file(name)
    if not file.is_file():
        raise InputError(f"The run {path.name} has no {file.name} yet: run the same score command again to finish.")
    try:
        return pd.read_parquet(file, columns=columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): score the data again.") from error
