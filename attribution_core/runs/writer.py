"""A run on disk, open for writing: one writer, any number of readers."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.credibility import BEYOND_CREDIBLE, CredibleEffects
from attribution_core.runs.curves import CURVES
from attribution_core.runs.embeddings import write_embeddings
from attribution_core.runs.files import Lock, now, remove_partial_files, written_atomically
from attribution_core.runs.matrices import write_matrix
from attribution_core.runs.names import (
    LOCK_FILE,
    MANIFEST_FILE,
    PARTIAL_SUFFIX,
    effects_file,
    evolution_file,
    table_file,
)
from attribution_core.runs.schema import RunManifest, StageRecord
from attribution_core.runs.store import SplitName, TableName, read_manifest, read_table
from attribution_core.runs.tables import CLASS_EFFECTS, CLASS_PAIRS, CURVE_POINTS, IMAGE_STATISTICS
from attribution_core.runs.thumbnails import Images, write_pack

_SECONDS_FOR_READERS = 1.0  # a reader who tests the lock holds it for a moment
_VERSIONED_PACKAGES = ("samplescope", "torch", "torchvision", "numpy", "pandas", "pillow")


class RunWriter:
    """The writer of a run; it works stage by stage, so that a killed run resumes where it stopped.

    Every file is written under a temporary name and renamed, and run.json is written last. Use the writer as a context
    manager, or call :meth:`close`.
    """

    def __init__(self, path: Path, manifest: RunManifest, lock: Lock) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock

    @classmethod
    def start(cls, path: str | os.PathLike[str], config: dict[str, Any], fingerprint: str, title: str) -> RunWriter:
        """Begin a run in a new directory, or resume one of the same configuration.

        Args:
            path: The run's directory; it is made if it does not exist.
            config: The configuration, as plain data.
            fingerprint: Fingerprint of the configuration; an existing run is resumed only if it has the same one.
            title: Name shown to people.

        Returns:
            The writer, which holds the run's lock.

        Raises:
            InputError: If the directory holds something else, or a run that has another configuration, that a newer
                SampleScope wrote, or that another process is writing.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise InputError(f"A run is a folder, and {path} is a file: pass another --out.")
        if path.exists() and not (path / MANIFEST_FILE).exists() and _foreign_content(path):
            raise InputError(f"{path} is not empty and is not a run: pass an empty or new folder as --out.")
        path.mkdir(parents=True, exist_ok=True)
        lock = Lock(path, _SECONDS_FOR_READERS)
        try:
            remove_partial_files(path)
            if (path / MANIFEST_FILE).exists():
                manifest = read_manifest(path)
                _require_same_configuration(path, manifest, config, fingerprint)
                return cls(path, manifest, lock)
            manifest = RunManifest(title=title, created=now(), fingerprint=fingerprint, config=config)
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
        """Release the lock, so that another process can write the run."""
        self._lock.release()

    def plan(self, titles: dict[str, str]) -> None:
        """Note the stages that the run will have, by name, so that readers know what is still to come."""
        before = self.manifest.stages
        planned = {name: before.get(name, StageRecord()).model_copy(update={"title": titles[name]}) for name in titles}
        if (stages := {**planned, **{name: before[name] for name in before if name not in planned}}) != before:
            self.update(stages=stages)

    @contextmanager
    def stage(self, name: str, fingerprint: str = "") -> Iterator[None]:
        """Mark a stage as running, then as done with its duration, or as failed with the exception's message."""
        title = self.manifest.stages.get(name, StageRecord()).title
        stage = StageRecord(title=title, status="running", started=now(), fingerprint=fingerprint)
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
        """Return whether a stage was finished with this fingerprint and need not be repeated."""
        stage = self.manifest.stages.get(name)
        return stage is not None and stage.status == "done" and stage.fingerprint == fingerprint

    def update(self, **fields: Any) -> None:
        """Set fields of the manifest and write run.json."""
        current = {name: getattr(self.manifest, name) for name in RunManifest.model_fields}
        self.manifest = RunManifest.model_validate(current | fields)
        text = self.manifest.model_dump_json(indent=2)
        with written_atomically(self.path / MANIFEST_FILE) as partial:
            partial.write_text(text + "\n", encoding="utf-8")

    def write_table(self, name: TableName, frame: pd.DataFrame) -> None:
        """Write a table, such as examples.parquet."""
        with written_atomically(self.path / table_file(name)) as partial:
            frame.to_parquet(partial, index=False)

    def add_column(self, name: TableName, column: str, values: np.ndarray) -> None:
        """Add one column to a table, as :meth:`add_columns` does."""
        self.add_columns(name, {column: values})

    def add_columns(self, name: TableName, columns: Mapping[str, np.ndarray]) -> None:
        """Add columns to a table, or replace them, in a single write.

        Raises:
            InputError: If a column does not have a value for each row.
        """
        frame = read_table(self.path, name)
        for column, values in columns.items():
            if len(values) != len(frame):
                raise InputError(f"The table {name} has {len(frame)} rows, but {column} has {len(values)} values.")
        self.write_table(name, frame.assign(**{column: np.asarray(values) for column, values in columns.items()}))

    def remove_column(self, name: TableName, column: str) -> None:
        """Remove a column from a table if it has it."""
        frame = read_table(self.path, name)
        if column in frame:
            self.write_table(name, frame.drop(columns=column))

    def describe(self, name: str, details: dict[str, Any], measures: Iterable[str] = ()) -> None:
        """Store facts about scores in the manifest, and add measures to those that the run has.

        Args:
            name: Key of the facts in the manifest's details.
            details: How the scores were computed, as plain data.
            measures: Columns of examples.parquet that are now scores of the run.
        """
        listed = dict.fromkeys([*self.manifest.measures, *measures])
        self.update(measures=list(listed), details={**self.manifest.details, name: details})

    def write_thumbnails(self, split: SplitName, images: Images) -> None:
        """Write the thumbnails of a table's rows and the statistics of the images, in the order of the table."""
        IMAGE_STATISTICS.replace(self.path, split, write_pack(self.path, split, images))

    def write_effects(
        self,
        method: str,
        columns: int,
        blocks: Iterable[tuple[slice, np.ndarray]],
        credible: CredibleEffects | None = None,
    ) -> None:
        """Write ``effects/METHOD.zarr``: training examples by ``columns`` evaluated examples, from blocks of rows.

        Args:
            method: Name of the method.
            columns: Number of evaluated examples.
            blocks: Pairs of (rows, effects ``[rows, columns]``), in order and with each row once.
            credible: Which effects are credible, to keep with them and to count the others; None if that is unknown.
        """
        rows, beyond = len(read_table(self.path, "examples", columns=["id"])), 0

        def counted() -> Iterator[tuple[slice, np.ndarray]]:
            nonlocal beyond
            for part, values in blocks:
                beyond += 0 if credible is None else int(credible.excludes(values).sum())
                yield part, values

        attributes = {} if credible is None else credible.attributes
        write_matrix(self.path / effects_file(method), (rows, columns), counted(), attributes)
        if credible is not None:
            counts = {"count": beyond, "of": rows * columns, "largest_credible_rise": credible.highest}
            known = self.manifest.details.get(BEYOND_CREDIBLE, {})
            self.describe(BEYOND_CREDIBLE, {**known, method: counts})

    def remove_effects(self, method: str) -> None:
        """Remove the effects of a method, with its class effects and class pairs, if the run has them."""
        path = self.path / effects_file(method)
        if path.is_dir():
            partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
            path.rename(partial)  # removes it at once: if the process is killed now, the next writer deletes the rest
            shutil.rmtree(partial)
        for table in (CLASS_EFFECTS, CLASS_PAIRS):
            rows = table.read(self.path)
            if rows[table.key].eq(method).any():
                table.replace(self.path, method, rows.iloc[:0])

    def write_evolution(self, measure: str, times: Sequence[float], values: np.ndarray) -> None:
        """Write ``evolution/MEASURE.zarr``: the measure at some training times, ``[times, train]``."""
        path = self.path / evolution_file(measure)
        write_matrix(path, values.shape, [(slice(0, len(values)), values)], {"times": [float(t) for t in times]})

    def write_curve(self, name: str, points: pd.DataFrame) -> None:
        """Write a curve, or replace it.

        Args:
            name: A key of :data:`attribution_core.runs.CURVES`.
            points: Columns series, x and y.

        Raises:
            InputError: If the registry has no such curve.
        """
        if name not in CURVES:
            raise InputError(
                f"The registry in attribution_core.runs.curves has no curve {name!r}: add it, or choose one of "
                f"{', '.join(CURVES)}."
            )
        CURVE_POINTS.replace(self.path, name, points)

    def write_class_effects(self, method: str, rows: pd.DataFrame) -> None:
        """Write the effects of classes on classes by a method, or replace them.

        Args:
            method: Name of the method.
            rows: Columns train_class, evaluation_class, effect and normalised.
        """
        CLASS_EFFECTS.replace(self.path, method, rows)

    def write_class_pairs(self, method: str, rows: pd.DataFrame) -> None:
        """Write the strongest single effects of a method, or replace them.

        Args:
            method: Name of the method.
            rows: Columns train_class, evaluation_class, train_row, evaluation_row and effect.
        """
        CLASS_PAIRS.replace(self.path, method, rows)

    def write_embeddings(self, split: SplitName, values: np.ndarray) -> None:
        """Write the embeddings of a table's rows, ``[rows, d]``."""
        write_embeddings(self.path, split, values)

    def path_for(self, name: str) -> AbstractContextManager[Path]:
        """Return a context manager that yields a temporary path for the file ``name``, and renames it at the end."""
        return written_atomically(self.path / name)

    def _set_stage(self, name: str, stage: StageRecord) -> None:
        self.update(stages={**self.manifest.stages, name: stage})


def _foreign_content(path: Path) -> bool:
    """Return whether a directory holds more than what a run killed before its first run.json leaves."""
    left = (LOCK_FILE, f"{LOCK_FILE}-journal")
    return any(entry.name not in left and not entry.name.endswith(PARTIAL_SUFFIX) for entry in path.iterdir())


def _require_same_configuration(path: Path, manifest: RunManifest, config: dict[str, Any], fingerprint: str) -> None:
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
        f"fingerprint {manifest.fingerprint[:12]} there, {fingerprint[:12]} here): pass another --out, or delete it."
    )


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
