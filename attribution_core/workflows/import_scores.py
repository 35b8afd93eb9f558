"""Scores from elsewhere: columns and matrices of effects that another library made, taken into a run."""

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

_ROWS = 4096  # of effects, looked at and written at once
_FILES = (
    table_file("examples"),
    *(table.file_name for table in (CLASS_EFFECTS, CLASS_PAIRS, CURVE_POINTS)),
    MANIFEST_FILE,
)


@dataclass(frozen=True)
class About:
    """What a person says about scores.

    Attributes:
        title: Name for people; by default made from the name.
        unit: Their unit; none is invented.
        definition: What they mean; by default, where they came from and when.
        suspicious: Which end hints at a wrong label, ``"none"`` by default; for scores of single examples only.
        positive: What a positive effect says of the training example, ``"helpful"`` by default, which is the convention
            of kronfluence, TRAK, dattri and TracIn; for effects only. They are turned so that it is helpful.
    """

    title: str = ""
    unit: str = ""
    definition: str = ""
    suspicious: Suspicious | None = None
    positive: Positive | None = None


@dataclass(frozen=True)
class _Incoming:
    """Something to import, checked: its record, and the values ``[n]`` or ``[n, validation]``, by ``sign``."""

    record: ImportedScore
    values: np.ndarray
    sign: int = 1

    @property
    def is_matrix(self) -> bool:
        return self.values.ndim == 2

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows of effects in our sign, float32."""
        for start in range(0, len(self.values), _ROWS):
            rows = slice(start, start + _ROWS)
            with np.errstate(over="ignore"):  # the caller looks for infinities
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
    """Take scores that were made elsewhere into a run, so that the app shows and compares them.

    Args:
        run: A finished run, or its directory.
        name: Lower-case letters, digits and underscores; not one of ours.
        values: Scores ``[n]`` in the order of ``run.examples``, NaN where there is none, or a Series by id; or effects
            ``[n, m]`` of training examples on the validation examples, or on all the evaluation examples in the order
            of ``run.evaluation``, of which the validation examples' are kept.
        title: Name for people; by default made from the name.
        unit: Of the values; none is invented.
        definition: What they mean; by default that they were imported, and when.
        suspicious: Which end of scores hints at a wrong label: ``"high"``, ``"low"`` or, by default, ``"none"``.
        positive: What a positive effect says of the training example, ``"helpful"`` (default: as kronfluence, TRAK,
            dattri and TracIn have it) or ``"harmful"``. In the run, positive is helpful.
        replace: Whether an earlier import of that name goes.

    Returns:
        The run, opened anew.

    Raises:
        InputError: No finished run, a name that is taken, or values that do not fit; the run is then as it was.
    """
    about = About(title, unit, definition, suspicious, positive)
    run = Run.open(run.path if isinstance(run, Run) else run)
    if isinstance(values, pd.DataFrame):
        raise InputError("Import scores as a Series by id and effects as an array, not as a DataFrame.")
    if isinstance(values, pd.Series) and not isinstance(values.index, pd.RangeIndex):
        values = by_id(values.to_frame(), values.index, run.examples["id"], "The Series").iloc[:, 0]
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values if values.dtype == torch.float64 or not values.is_floating_point() else values.float()
    _import(run, {name: np.asarray(values)}, about, "Python", replace)
    return Run.open(run.path)


def import_file(
    path: str | os.PathLike[str],
    file: Path,
    name: str | None = None,
    about: About | None = None,
    replace: bool = False,
) -> dict[str, ImportedScore]:
    """Take the scores of a file into a run; every column of a table becomes one.

    Args:
        path: A finished run's directory.
        file: As :func:`~attribution_core.workflows.score_files.read_scores` reads it.
        name: In place of the column's or the file's, where there is only one.
        about: What is known of them.
        replace: Whether earlier imports of those names go.

    Returns:
        What was imported, by name.

    Raises:
        InputError: As :func:`import_scores`.
    """
    run, about = Run.open(path), about or About()
    found = read_scores(Path(file), run.examples["id"])
    if len(found) > 1 and (name or about.title or about.definition):
        raise InputError(
            f"{file} has {len(found)} columns of scores, so that one name, title or definition does not fit: give a "
            "file for each."
        )
    named = {name: next(iter(found.values()))} if name else found
    return _import(run, named, about, Path(file).name, replace)


def remove_scores(path: str | os.PathLike[str], name: str) -> None:
    """Take imported scores or effects out of a run again.

    Raises:
        InputError: No such run, or nothing of that name was imported into it.
    """
    run = Run.open(path)
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        imported = imported_scores(writer.manifest)
        if name not in imported:
            raise InputError(
                f"Nothing called {name[:80]!r} was imported into {run.id}: "
                f"{', '.join(imported) if imported else 'nothing was imported at all'}."
            )
        with _as_it_was_on_failure(writer, [name]):
            _take_out(writer, name)
            _tell_detection(writer, [imported[name]])


# -- checks ------------------------------------------------------------------------------------------------------------


def _checked(run: Run, name: str, values: np.ndarray, about: About, source: str, replace: bool) -> _Incoming:
    """Everything that can be wrong with one score or matrix is told here, before anything is written."""
    check_name(name)
    there = name in run.examples.columns or name in run.effect_methods
    if there and name not in run.imported:
        raise InputError(f"The run {run.id} has a column or group called {name} already: give another --name.")
    if there and not replace:
        raise InputError(f"{name} was imported into {run.id} before: give --replace, or another --name.")
    if values.dtype.kind not in "fiu":
        raise InputError(f"{name} is to hold real numbers, but their type is {values.dtype}.")
    validation = int(run.evaluation["split"].eq("validation").sum())
    _check_shape(name, values.shape, len(run.examples), validation, len(run.evaluation))
    if values.ndim == 1:
        return _scores(run, name, values.astype(np.float64), about, source)
    return _effects(run, name, values, validation, about, source)


def _check_shape(name: str, shape: tuple[int, ...], n: int, validation: int, evaluation: int) -> None:
    if shape in ((n,), (n, validation), (n, evaluation)):
        return
    turned = (
        " It looks transposed: give [train, evaluation]." if shape[::-1] in ((n, validation), (n, evaluation)) else ""
    )
    raise InputError(
        f"{name} has the shape {list(shape)}, where this run takes scores [{n}], or effects [{n}, {validation}] on "
        f"its validation or [{n}, {evaluation}] on all its evaluation examples.{turned}"
    )


def _scores(run: Run, name: str, values: np.ndarray, about: About, source: str) -> _Incoming:
    if about.positive is not None:
        raise InputError(f"--positive is about effects, but {name} holds one score an example: use --suspicious.")
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise InputError(f"{name} is {values[row]} for example {run.examples['id'].iloc[row]!r}: scores are finite.")
    if np.isnan(values).all():
        raise InputError(f"{name} holds no score at all, only empty cells.")
    measure = _measure(run, name, about, source, "imported", bool((values < 0).any() and (values > 0).any()))
    return _Incoming(ImportedScore(measure, source, now()), values)


def _effects(run: Run, name: str, values: np.ndarray, validation: int, about: About, source: str) -> _Incoming:
    if about.suspicious is not None:
        raise InputError(f"--suspicious is about scores of single examples, but {name} holds effects: use --positive.")
    left_out = values.shape[1] - validation
    notes = [
        "turned, so that positive is helpful" if about.positive == "harmful" else "",
        f"without the {left_out:,} test examples, which stay untouched for the final check" if left_out else "",
    ]
    note = "; ".join(note for note in notes if note)
    record = ImportedScore(_measure(run, name, about, source, "effect", True), source, now(), note)
    found = _Incoming(record, values[:, :validation], -1 if about.positive == "harmful" else 1)
    for rows, block in found.blocks():
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            row, column = rows.start + int(bad[0][0]), int(bad[0][1])
            raise InputError(
                f"{name} is {values[row, column]} in row {row:,} and column {column:,}, counted from 0: effects are "
                "finite in float32."
            )
    return found


def _measure(
    run: Run, name: str, about: About, source: str, kind: Literal["imported", "effect"], signed: bool
) -> Measure:
    title = checked_text("title", about.title) or name.replace("_", " ").capitalize()
    check_title(title, [other.measure for other in run.imported.values() if other.measure.name != name])
    where = f"Imported from {source} on {datetime.now():%d %B %Y}; SampleScope does not know how it was made."
    sign = " Positive: the training example is helpful to the evaluation example." if kind == "effect" else ""
    return Measure(
        name=name,
        title=title,
        kind=kind,
        unit=checked_text("unit", about.unit),
        definition=checked_text("definition", about.definition) or where + sign,
        equation="",
        paper="",
        suspicious=about.suspicious if about.suspicious in ("high", "low") else None,
        signed=signed,
    )


# -- writing -----------------------------------------------------------------------------------------------------------


def _import(
    run: Run,
    given: Mapping[str, np.ndarray],
    about: About,
    source: str,
    replace: bool,
) -> dict[str, ImportedScore]:
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        run = Run.open(writer.path)
        if not run.manifest.measures:
            raise InputError(f"The run {run.id} is not finished: run the same score command again first.")
        incoming = [_checked(run, name, values, about, source, replace) for name, values in given.items()]
        records = {each.record.measure.name: each.record for each in incoming}
        if len({record.measure.title.casefold() for record in records.values()}) < len(given):
            raise InputError(f"Two columns of {source} would have the same title: rename one.")
        before = [run.imported[name] for name in records if name in run.imported]
        with _as_it_was_on_failure(writer, list(records)):
            for old in before:
                _take_out(writer, old.measure.name)
            # First, for a column that nothing is known of looks like a group of the dataset; unseen until it is there.
            _record(writer, {**imported_scores(writer.manifest), **records})
            _write(writer, incoming, run.strata_names)
            _tell_detection(writer, [*before, *records.values()])
            writer.update()  # readers look at run.json for whether the run has changed
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


def _tell_detection(writer: RunWriter, changed: list[ImportedScore]) -> None:
    """How soon scores find wrong labels is told anew, where the run tells it and a score came or went that says so."""
    if "scores" in writer.manifest.details.get("detection", {}) and any(each.measure.suspicious for each in changed):
        write_detection(writer, known_wrong(Run.open(writer.path).examples))


@contextmanager
def _as_it_was_on_failure(writer: RunWriter, names: list[str]) -> Iterator[None]:
    """Undoes what the block wrote into the run where it raises, be it only that somebody interrupts it.

    Effects of those names are put aside meanwhile; the other files are small and held in memory. A kill leaves what is
    new unseen, and of what was to be replaced nothing.
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
