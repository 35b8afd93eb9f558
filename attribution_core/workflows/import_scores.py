"""Import scores and matrices of effects that another library made into a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from attribution_core.errors import InputError
from attribution_core.evaluation.detection import known_wrong
from attribution_core.runs import Measure, Run, RunWriter
from attribution_core.runs.files import now, written_atomically
from attribution_core.runs.imported import (
    DETAILS,
    ImportedScore,
    as_details,
    check_name,
    check_title,
    checked_text,
    imported_scores,
)
from attribution_core.runs.names import MANIFEST_FILE, PARTIAL_SUFFIX, effects_file, table_file
from attribution_core.runs.tables import CLASS_EFFECTS, CLASS_PAIRS, CURVE_POINTS
from attribution_core.scoring.stages.classes import write_classes
from attribution_core.scoring.stages.detection import write_detection
from attribution_core.workflows.score_files import by_id, read_scores

Suspicious = Literal["high", "low", "none"]
Positive = Literal["helpful", "harmful"]

_ROWS = 4096  # rows of effects that are checked and written at a time
_FILES = (
    table_file("examples"),
    *(table.file_name for table in (CLASS_EFFECTS, CLASS_PAIRS, CURVE_POINTS)),
    MANIFEST_FILE,
)


@dataclass(frozen=True)
class ScoreDescription:
    """Hold what the user says about imported scores.

    Attributes:
        title: Title to display; by default made from the name.
        unit: Unit of the scores; empty by default.
        definition: What the scores mean; by default, where they came from and when.
        suspicious: Which end of the scores suggests a wrong label, ``"none"`` by default; only for scores of single
            examples.
        positive: What a positive effect says of the training example, ``"helpful"`` by default, which is the convention
            of kronfluence, TRAK, dattri and TracIn; only for effects. The sign of ``"harmful"`` ones is flipped.
    """

    title: str = ""
    unit: str = ""
    definition: str = ""
    suspicious: Suspicious | None = None
    positive: Positive | None = None


@dataclass(frozen=True)
class _Incoming:
    """Hold a checked import: its record, and its values ``[n]`` or ``[n, validation]``, to multiply by ``sign``."""

    record: ImportedScore
    values: np.ndarray
    sign: int = 1

    @property
    def is_matrix(self) -> bool:
        return self.values.ndim == 2

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of rows of effects in our sign, float32."""
        for start in range(0, len(self.values), _ROWS):
            rows = slice(start, start + _ROWS)
            with np.errstate(over="ignore"):  # the caller checks for infinities
                yield rows, self.sign * np.asarray(self.values[rows], dtype=np.float32)


def import_scores(
    run: Run | str | os.PathLike[str],
    name: str,
    values: np.ndarray | torch.Tensor | pd.Series,
    *,
    title: str = "",
    unit: str = "",
    definition: str = "",
    suspicious: Suspicious | None = None,
    positive: Positive | None = None,
    replace: bool = False,
) -> Run:
    """Import scores that were made elsewhere into a run, so that the app shows and compares them.

    Args:
        run: A finished run, or its directory.
        name: Name of the scores, in lower-case letters, digits and underscores; not the name of a built-in measure.
        values: Scores ``[n]`` in the order of ``run.examples``, NaN where an example has none, or a Series by id; or
            effects ``[n, m]`` of training examples on the first ``m`` rows of ``run.evaluation``: those that effects
            are measured on (``run.manifest.evaluated``), all validation examples, or all of them. Only effects on
            the first kind are kept.
        title: Title to display; by default made from the name.
        unit: Unit of the values; empty by default.
        definition: What the values mean; by default that they were imported, and when.
        suspicious: Which end of the scores suggests a wrong label: ``"high"``, ``"low"`` or, by default, ``"none"``.
        positive: What a positive effect says of the training example, ``"helpful"`` (the default, and the convention of
            kronfluence, TRAK, dattri and TracIn) or ``"harmful"``. In the run, positive is helpful.
        replace: Whether to replace an earlier import of that name.

    Returns:
        The run, reopened.

    Raises:
        InputError: The run is not finished, the name is taken, or the values do not fit. The run is then unchanged.
    """
    description = ScoreDescription(title, unit, definition, suspicious, positive)
    run = Run.open(run.path if isinstance(run, Run) else run)
    if isinstance(values, pd.DataFrame):
        raise InputError("Expected scores as a Series by id or effects as an array, not as a DataFrame.")
    if isinstance(values, pd.Series) and not isinstance(values.index, pd.RangeIndex):
        ids, others = run.examples["id"], run.evaluation["id"]
        values = by_id(values.to_frame(), values.index, ids, others, "The Series").iloc[:, 0]
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values if values.dtype == torch.float64 or not values.is_floating_point() else values.float()
    _import(run, {name: np.asarray(values)}, description, "Python", replace)
    return Run.open(run.path)


def import_file(
    path: str | os.PathLike[str],
    file: Path,
    name: str | None = None,
    description: ScoreDescription | None = None,
    replace: bool = False,
) -> dict[str, ImportedScore]:
    """Import the scores of a file into a run; every column of a table becomes one score.

    Args:
        path: Directory of a finished run.
        file: A file that :func:`~attribution_core.workflows.score_files.read_scores` reads.
        name: Name to use instead of the column's or the file's; only for a single score.
        description: Title, unit and meaning of the scores.
        replace: Whether to replace earlier imports of the same names.

    Returns:
        What was imported, by name.

    Raises:
        InputError: The file cannot be read, or for the reasons of :func:`import_scores`.
    """
    run, description = Run.open(path), description or ScoreDescription()
    found = read_scores(Path(file), run.examples["id"], run.evaluation["id"])
    if len(found) > 1 and (name or description.title or description.definition):
        raise InputError(
            f"{file} has {len(found)} columns of scores, so a single name, title or definition does not fit them all. "
            "Import a file for each."
        )
    named = {name: next(iter(found.values()))} if name else found
    return _import(run, named, description, Path(file).name, replace)


def remove_scores(path: str | os.PathLike[str], name: str) -> None:
    """Remove imported scores or effects from a run.

    Raises:
        InputError: There is no such run, or nothing of that name was imported into it.
    """
    run = Run.open(path)
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        imported = imported_scores(writer.manifest)
        if name not in imported:
            raise InputError(
                f"Nothing called {name[:80]!r} was imported into {run.id}. Imported are: "
                f"{', '.join(imported) if imported else 'no scores at all'}."
            )
        with _restored_on_failure(writer, [name]):
            _take_out(writer, name)
            _update_detection(writer, [imported[name]])


# -- checks ------------------------------------------------------------------------------------------------------------


def _checked(
    run: Run, name: str, values: np.ndarray, description: ScoreDescription, source: str, replace: bool
) -> _Incoming:
    """Check one score or matrix for everything that can be wrong with it, before anything is written."""
    check_name(name)
    there = name in run.examples.columns or name in run.effect_methods
    if there and name not in run.imported:
        raise InputError(f"The run {run.id} already has a column or group called {name}. Give another --name.")
    if there and not replace:
        raise InputError(f"{name} was imported into {run.id} before. Give --replace, or another --name.")
    if values.dtype.kind not in "fiu":
        raise InputError(f"{name} must hold real numbers, but their type is {values.dtype}.")
    validation = int(run.evaluation["split"].eq("validation").sum())
    accepted = dict.fromkeys((run.manifest.evaluated, validation, len(run.evaluation)))
    _check_shape(name, values.shape, len(run.examples), list(accepted))
    if values.ndim == 1:
        return _scores(run, name, values.astype(np.float64), description, source)
    return _effects(run, name, values, validation, description, source)


def _check_shape(name: str, shape: tuple[int, ...], n: int, columns: list[int]) -> None:
    """Check a shape; ``columns`` are the numbers of evaluation examples that effects may be on."""
    if shape in ((n,), *((n, each) for each in columns)):
        return
    hint = " It looks transposed: give [train, evaluation]." if shape[::-1] in [(n, each) for each in columns] else ""
    *some, every = [f"[{n}, {each}]" for each in columns]
    raise InputError(
        f"{name} has the shape {list(shape)}, but this run takes scores [{n}], or effects {' or '.join(some)} on its "
        f"validation examples or {every} on all its evaluation examples.{hint}"
    )


def _scores(run: Run, name: str, values: np.ndarray, description: ScoreDescription, source: str) -> _Incoming:
    if description.positive is not None:
        raise InputError(f"--positive is for effects, but {name} holds one score for each example. Use --suspicious.")
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise InputError(
            f"{name} is {values[row]} for example {run.examples['id'].iloc[row]!r}, but scores must be finite."
        )
    if np.isnan(values).all():
        raise InputError(f"{name} needs at least one score, but all its cells are empty.")
    measure = _measure(run, name, description, source, "imported", bool((values < 0).any() and (values > 0).any()))
    return _Incoming(ImportedScore(measure, source, now()), values)


def _effects(
    run: Run, name: str, values: np.ndarray, validation: int, description: ScoreDescription, source: str
) -> _Incoming:
    if description.suspicious is not None:
        raise InputError(f"--suspicious is for scores of single examples, but {name} holds effects. Use --positive.")
    evaluated = run.manifest.evaluated
    tested, others = max(0, values.shape[1] - validation), min(values.shape[1], validation) - evaluated
    notes = [
        "sign flipped, so that positive is helpful" if description.positive == "harmful" else "",
        f"without the {others:,} validation examples that no effects are measured on" if others else "",
        f"without the {tested:,} test examples, which are reserved for the final check" if tested else "",
    ]
    note = "; ".join(note for note in notes if note)
    record = ImportedScore(_measure(run, name, description, source, "effect", True), source, now(), note)
    found = _Incoming(record, values[:, :evaluated], -1 if description.positive == "harmful" else 1)
    for rows, block in found.blocks():
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            row, column = rows.start + int(bad[0][0]), int(bad[0][1])
            raise InputError(
                f"{name} is {values[row, column]} in row {row:,} and column {column:,} (from 0), but effects must be "
                "finite in float32."
            )
    return found


def _measure(
    run: Run, name: str, description: ScoreDescription, source: str, kind: Literal["imported", "effect"], signed: bool
) -> Measure:
    title = checked_text("title", description.title) or name.replace("_", " ").capitalize()
    check_title(title, [other.measure for other in run.imported.values() if other.measure.name != name])
    where = f"Imported from {source} on {datetime.now():%d %B %Y}; SampleScope does not know how it was made."
    sign = " Positive: the training example is helpful to the evaluation example." if kind == "effect" else ""
    return Measure(
        name=name,
        title=title,
        kind=kind,
        unit=checked_text("unit", description.unit),
        definition=checked_text("definition", description.definition) or where + sign,
        equation="",
        paper="",
        suspicious=description.suspicious if description.suspicious in ("high", "low") else None,
        signed=signed,
    )


# -- writing -----------------------------------------------------------------------------------------------------------


def _import(
    run: Run,
    given: Mapping[str, np.ndarray],
    description: ScoreDescription,
    source: str,
    replace: bool,
) -> dict[str, ImportedScore]:
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        run = Run.open(writer.path)
        if not run.manifest.measures:
            raise InputError(f"The run {run.id} is not finished. Run the same score command again first.")
        incoming = [_checked(run, name, values, description, source, replace) for name, values in given.items()]
        records = {each.record.measure.name: each.record for each in incoming}
        if len({record.measure.title.casefold() for record in records.values()}) < len(given):
            raise InputError(f"Two columns of {source} would have the same title. Rename one of them.")
        before = [run.imported[name] for name in records if name in run.imported]
        with _restored_on_failure(writer, list(records)):
            for old in before:
                _take_out(writer, old.measure.name)
            # First, since a column without a record would look like a group of the dataset; it is hidden until written.
            _record(writer, {**imported_scores(writer.manifest), **records})
            _write(writer, incoming, run.strata_names)
            _update_detection(writer, [*before, *records.values()])
            writer.update()  # readers check run.json to see whether the run has changed
    return records


def _write(
    writer: RunWriter,
    incoming: list[_Incoming],
    strata_names: list[str],
) -> None:
    columns = {each.record.measure.name: each.values for each in incoming if not each.is_matrix}
    if columns:
        writer.add_columns("examples", columns)
    for each in incoming:
        if each.is_matrix:
            name = each.record.measure.name
            writer.write_effects(name, each.values.shape[1], each.blocks())
            write_classes(writer, strata_names, [name])


def _take_out(writer: RunWriter, name: str) -> None:
    writer.remove_column("examples", name)
    writer.remove_effects(name)
    _record(writer, {other: score for other, score in imported_scores(writer.manifest).items() if other != name})


def _record(writer: RunWriter, scores: dict[str, ImportedScore]) -> None:
    others = {name: facts for name, facts in writer.manifest.details.items() if name != DETAILS}
    writer.update(details={**others, **({DETAILS: as_details(scores)} if scores else {})})


def _update_detection(writer: RunWriter, changed: list[ImportedScore]) -> None:
    """Recompute how soon scores find wrong labels, if the run reports it and a score with a suspicious end changed."""
    if "scores" in writer.manifest.details.get("detection", {}) and any(each.measure.suspicious for each in changed):
        write_detection(writer, known_wrong(Run.open(writer.path).examples))


@contextmanager
def _restored_on_failure(writer: RunWriter, names: list[str]) -> Iterator[None]:
    """Undo what the block wrote into the run if it raises, including an interruption.

    Meanwhile, earlier effects of those names are moved aside, and the other files, which are small, are held in memory.
    If the process is killed, readers do not see the new scores, and the scores to be replaced are lost.
    """
    files = [writer.path / name for name in _FILES]
    before = {file: file.read_bytes() if file.is_file() else None for file in files}
    manifest, effects = writer.manifest, [writer.path / effects_file(name) for name in names]
    aside = {path: path.with_name(f".{path.name}.aside{PARTIAL_SUFFIX}") for path in effects if path.is_dir()}
    for path, place in aside.items():
        path.rename(place)
    try:
        yield
    except BaseException:
        for path in effects:
            shutil.rmtree(path, ignore_errors=True)
        for path, place in aside.items():
            place.rename(path)
        for file, content in before.items():
            _restore(file, content)
        writer.manifest = manifest
        raise
    for place in aside.values():
        shutil.rmtree(place)


def _restore(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink(missing_ok=True)
    elif not file.is_file() or file.read_bytes() != content:
        with written_atomically(file) as partial:
            partial.write_bytes(content)
