"""A run on disk: one writer, any number of readers."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import zarr
from PIL import Image
from pydantic import ValidationError

from attribution_core.errors import InputError
from attribution_core.progress import Progress
from attribution_core.runs.class_effects import read_class_effects, write_class_effects
from attribution_core.runs.curves import read_curves, write_curve
from attribution_core.runs.decisions import DecisionLog
from attribution_core.runs.files import (
    LOCK_NAME,
    PARTIAL_SUFFIX,
    Lock,
    is_locked,
    now,
    remove_partial_files,
    written_atomically,
)
from attribution_core.runs.matrices import open_matrix, write_matrix
from attribution_core.runs.measures import MEASURES
from attribution_core.runs.schema import BASE_COLUMNS, SCHEMA_VERSION, Manifest, SchemaVersion, Stage
from attribution_core.runs.thumbnails import Pack, write_pack

TableName = Literal["examples", "evaluation"]
SplitName = Literal["train", "evaluation"]
Status = Literal["complete", "running", "failed", "incomplete"]

MANIFEST_NAME = "run.json"
_VERSIONED_PACKAGES = ("samplescope", "torch", "torchvision", "numpy", "pandas", "pillow")


class RunWriter:
    """Writes a run stage by stage, so that a killed run goes on where it stopped.

    Every file is written under a temporary name and renamed; run.json comes last. Use as a context manager, or call
    :meth:`close`.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: Lock) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock

    @classmethod
    def start(cls, path: str | os.PathLike[str], config: dict[str, Any], fingerprint: str, title: str) -> RunWriter:
        """Begins a run in a new directory, or goes on with one of the same configuration.

        Args:
            path: The run's directory; made when absent.
            config: The configuration, as plain data.
            fingerprint: The configuration's fingerprint; decides whether an existing run may go on.
            title: Name for people.

        Returns:
            The writer, which holds the run's lock.

        Raises:
            InputError: If the directory holds something else, a run of another configuration or of a newer SampleScope,
                or a run that another process is writing.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise InputError(f"A run is a directory, but {path} is a file: give another --out.")
        if path.exists() and not (path / MANIFEST_NAME).exists() and _foreign_content(path):
            raise InputError(f"{path} is not empty and is not a run: give an empty or new directory as --out.")
        path.mkdir(parents=True, exist_ok=True)
        lock = Lock(path)
        try:
            remove_partial_files(path)
            if (path / MANIFEST_NAME).exists():
                manifest = _read_manifest(path)
                _require_same_configuration(path, manifest, config, fingerprint)
                return cls(path, manifest, lock)
            manifest = Manifest(title=title, created=now(), fingerprint=fingerprint, config=config)
            writer = cls(path, manifest, lock)
            writer.update(versions=_versions(), hardware=_hardware())
        except BaseException:
            lock.release()
            raise
        return writer

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another process write the run."""
        self._lock.release()

    @contextmanager
    def stage(self, name: str, fingerprint: str = "") -> Iterator[None]:
        """Marks a stage as running, then as done with its seconds, or as failed with the exception's message."""
        stage = Stage(status="running", started=now(), fingerprint=fingerprint)
        self._set_stage(name, stage)
        start = time.perf_counter()
        try:
            yield
        except BaseException as error:
            message = str(error) or type(error).__name__
            self._set_stage(name, stage.model_copy(update={"status": "failed", "message": message}))
            raise
        seconds = round(time.perf_counter() - start, 3)
        self._set_stage(name, stage.model_copy(update={"status": "done", "seconds": seconds}))

    def is_done(self, name: str, fingerprint: str = "") -> bool:
        """Whether a stage was finished with this fingerprint, so that it need not be done again."""
        stage = self.manifest.stages.get(name)
        return stage is not None and stage.status == "done" and stage.fingerprint == fingerprint

    def update(self, **fields: Any) -> None:
        """Sets fields of the manifest and writes run.json."""
        current = {name: getattr(self.manifest, name) for name in Manifest.model_fields}
        self.manifest = Manifest.model_validate(current | fields)
        text = self.manifest.model_dump_json(indent=2)
        with written_atomically(self.path / MANIFEST_NAME) as partial:
            partial.write_text(text + "\n", encoding="utf-8")

    def write_table(self, name: TableName, frame: pd.DataFrame) -> None:
        """Writes examples.parquet or evaluation.parquet."""
        with written_atomically(_table_path(self.path, name)) as partial:
            frame.to_parquet(partial, index=False)

    def add_column(self, name: TableName, column: str, values: np.ndarray) -> None:
        """Adds a column to a table, or replaces it.

        Raises:
            InputError: If the number of values is not the number of rows.
        """
        frame = _read_table(self.path, name)
        if len(values) != len(frame):
            raise InputError(f"{name} has {len(frame)} rows, but {column} has {len(values)} values.")
        self.write_table(name, frame.assign(**{column: np.asarray(values)}))

    def write_thumbnails(
        self, split: SplitName, images: Iterable[Image.Image], progress: Progress | None = None
    ) -> None:
        """Writes the thumbnails of a table's rows, in its order."""
        total = len(_read_table(self.path, "examples" if split == "train" else "evaluation", columns=["id"]))
        write_pack(self.path / "thumbnails", split, images, total, progress)

    def write_effects(self, method: str, columns: int, blocks: Iterable[tuple[slice, np.ndarray]]) -> None:
        """Writes ``effects/METHOD.zarr`` from blocks of rows: training examples against the ``columns`` evaluated."""
        rows = len(_read_table(self.path, "examples", columns=["id"]))
        write_matrix(self.path / "effects" / f"{method}.zarr", (rows, columns), blocks, {})

    def write_evolution(self, measure: str, times: Sequence[float], values: np.ndarray) -> None:
        """Writes ``evolution/MEASURE.zarr``: the measure at some training times, ``[times, train]``."""
        path = self.path / "evolution" / f"{measure}.zarr"
        write_matrix(path, values.shape, [(slice(0, len(values)), values)], {"times": [float(t) for t in times]})

    def write_curve(self, name: str, points: pd.DataFrame) -> None:
        """Puts a curve into curves.parquet, in place of one of that name: columns series, x and y.

        Raises:
            InputError: If the registry has no such curve.
        """
        write_curve(self.path, name, points)

    def write_class_effects(self, method: str, rows: pd.DataFrame) -> None:
        """Puts a method's effects of classes on classes into class_effects.parquet.

        Args:
            method: Whose they are.
            rows: Columns train_class, evaluation_class, effect and normalised.
        """
        write_class_effects(self.path, method, rows)

    def path_for(self, name: str) -> AbstractContextManager[Path]:
        """A temporary path for another file of the run, such as ``model/weights.safetensors``, renamed at the end."""
        return written_atomically(self.path / name)

    def _set_stage(self, name: str, stage: Stage) -> None:
        self.update(stages={**self.manifest.stages, name: stage})


class Run:
    """A run, opened for reading. Nothing is read before it is asked for."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.decisions = DecisionLog(path / "decisions.sqlite")
        self._packs = {split: Pack(path / "thumbnails", split) for split in ("train", "evaluation")}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Opens a run, whole or cut off; a part that is missing is refused when it is asked for.

        Raises:
            InputError: If there is no run, or it is damaged or was written by a newer SampleScope.
        """
        path = Path(path).resolve()
        if not (path / MANIFEST_NAME).is_file():
            raise InputError(f"{path} is not a run (it has no {MANIFEST_NAME}): give a directory that score wrote.")
        return cls(path, _read_manifest(path))

    @property
    def id(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def title(self) -> str:
        """Name for people."""
        return self.manifest.title

    @property
    def status(self) -> Status:
        """Whether all is there; incomplete is a run that nobody writes now and that misses a score or a stage's end."""
        if is_locked(self.path):
            return "running"
        states = {stage.status for stage in self.manifest.stages.values()}
        if "failed" in states:
            return "failed"
        return "complete" if states == {"done"} and self.manifest.measures else "incomplete"

    @property
    def version(self) -> str:
        """Changes whenever the run is written: a key for what was computed from it."""
        files = [self.path / MANIFEST_NAME, *(_table_path(self.path, name) for name in ("examples", "evaluation"))]
        return ":".join([str(self.path), *(str(file.stat().st_mtime_ns) for file in files if file.exists())])

    @property
    def has_examples(self) -> bool:
        """Whether the run came as far as the table of training examples."""
        return _table_path(self.path, "examples").is_file()

    @cached_property
    def examples(self) -> pd.DataFrame:
        """A row for each training example: labels, predictions, groups, scores."""
        return _read_table(self.path, "examples")

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """The same for validation and test, with a ``split`` column and without scores."""
        return _read_table(self.path, "evaluation")

    @property
    def scores(self) -> list[str]:
        """The columns that rank examples: the run's measures first, then the diagnostics that every run has."""
        diagnostics = [name for name, measure in MEASURES.items() if measure.kind == "diagnostic"]
        listed = dict.fromkeys([*self.manifest.measures, *diagnostics])
        return [name for name in listed if name in self.examples.columns and name in MEASURES]

    @property
    def groups(self) -> list[str]:
        """The columns that the dataset itself brought along, such as ``original_label``."""
        known = {*BASE_COLUMNS, *self.manifest.measures}
        return [name for name in self.examples.columns if name not in known]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the labels."""
        return self.manifest.dataset.class_names if self.manifest.dataset is not None else []

    def cleaned_labels(self) -> pd.DataFrame:
        """The training examples with the decisions applied.

        Returns:
            Columns id, label (final), label_in_data, action ("" where nothing was decided) and time ("" likewise), in
            the order of :attr:`examples`.
        """
        decisions = self.decisions.current().set_index("id").reindex(self.examples["id"])
        in_data = self.examples["label"].to_numpy(dtype="int64")
        new_label = decisions["new_label"].to_numpy(dtype="float64", na_value=np.nan)
        return pd.DataFrame(
            {
                "id": self.examples["id"],
                "label": np.where(np.isnan(new_label), in_data, new_label).astype("int64"),
                "label_in_data": in_data,
                "action": decisions["action"].fillna("").to_numpy(),
                "time": decisions["time"].fillna("").to_numpy(),
            }
        )

    def effects(self, method: str) -> zarr.Array:
        """``effect[i, j]``: the loss on evaluation example j after removing training example i minus before.

        Returns:
            ``[train, evaluated]``; a slice of it is a float32 array. The columns are the first rows of
            :attr:`evaluation`: validation.

        Raises:
            InputError: If the run has no effects by this method.
        """
        return open_matrix(self.path / "effects" / f"{method}.zarr")

    def evolution(self, measure: str) -> tuple[np.ndarray, zarr.Array]:
        """A measure over training: times ``[times]`` and values ``[times, train]``.

        Raises:
            InputError: If the run has no evolution of this measure.
        """
        matrix = open_matrix(self.path / "evolution" / f"{measure}.zarr")
        return np.asarray(matrix.attrs["times"], dtype=np.float64), matrix

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Columns curve, series, x, y: what :data:`attribution_core.runs.CURVES` describes; no rows where none are."""
        return read_curves(self.path)

    @cached_property
    def class_effects(self) -> pd.DataFrame:
        """Columns method, train_class, evaluation_class, effect (mean over the pairs), normalised; no rows without any.

        ``normalised`` is the effect over the square root of its row sum times its column sum (HYDRA, figure 2).
        """
        return read_class_effects(self.path)

    def influential(self, score: str = "contribution", count: int = 10) -> pd.DataFrame:
        """The examples that do most, for better or worse: columns id, label, prediction, confidence and the score.

        Args:
            score: A column of scores.
            count: How many, by the size of the score.

        Raises:
            InputError: If the run has no such score.
        """
        if score not in self.scores:
            raise InputError(f"The run {self.id} has no {score}: it has {', '.join(self.scores)}.")
        order = self.examples[score].abs().sort_values(ascending=False, kind="stable").index[:count]
        columns = ["id", "label_name", "predicted_name", "confidence", score]
        return self.examples.loc[order, columns].reset_index(drop=True)

    def thumbnail(self, split: SplitName, row: int) -> tuple[bytes, str]:
        """The encoded thumbnail of a row of a table, and its media type.

        Raises:
            IndexError: If the table has no such row.
            InputError: If the thumbnails are missing or damaged.
        """
        return self._packs[split][row]


def _foreign_content(path: Path) -> bool:
    """Whether a directory holds anything but what a run leaves that was killed before its first run.json."""
    return any(entry.name != LOCK_NAME and not entry.name.endswith(PARTIAL_SUFFIX) for entry in path.iterdir())


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST_NAME
    try:
        text = file.read_text(encoding="utf-8")
        version = SchemaVersion.model_validate_json(text).schema_version
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{path} was written by a newer SampleScope (schema {version}, this one reads up to {SCHEMA_VERSION}): "
                "upgrade with pip install -U samplescope."
            )
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{file} is damaged ({where}: {first['msg']}): score the data again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} can't be read ({error}): score the data again.") from error


def _require_same_configuration(path: Path, manifest: Manifest, config: dict[str, Any], fingerprint: str) -> None:
    if manifest.fingerprint == fingerprint:
        return
    names = sorted(manifest.config.keys() | config.keys())
    differing = [
        f"{name} is {manifest.config.get(name)!r} there and {config.get(name)!r} here"
        for name in names
        if manifest.config.get(name) != config.get(name)
    ]
    raise InputError(
        f"{path} holds a run of another configuration ({'; '.join(differing) or 'same options, other data or code'}; "
        f"fingerprint {manifest.fingerprint[:12]} there, {fingerprint[:12]} here): give another --out, or delete it."
    )


def _table_path(path: Path, name: TableName) -> Path:
    return path / f"{name}.parquet"


def _read_table(path: Path, name: TableName, columns: list[str] | None = None) -> pd.DataFrame:
    file = _table_path(path, name)
    if not file.is_file():
        raise InputError(f"The run {path.name} has no {file.name} yet: run the same score command again to finish it.")
    try:
        return pd.read_parquet(file, columns=columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): score the data again.") from error


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _VERSIONED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _hardware() -> dict[str, Any]:
    return {"system": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count()}
