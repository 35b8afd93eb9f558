"""The stage that writes the dataset: tables of examples, thumbnails, and what is known of the data."""

import shutil
from collections.abc import Sequence

from PIL import Image
from typing_extensions import override

from attribution_core.datasets import Dataset
from attribution_core.preparation.encodings import write_vectors
from attribution_core.preparation.prepare import vectors_made_of
from attribution_core.runs.names import APPLIED_DECISIONS_FILE
from attribution_core.runs.schema import DatasetSummary, Unreadable, ValuesSummary
from attribution_core.scoring.predictions import example_table, write_tables
from attribution_core.scoring.probe import Probe
from attribution_core.scoring.stages.base import ScoringRun, Stage


class DatasetStage(Stage):
    """Write the examples as they were opened."""

    name = "dataset"
    title = "dataset"
    order = 0
    essential = True
    reads_tensors = False

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time opening, reading and thumbnails."""
        return probe.seconds_to_open + probe.sizes.total * (probe.seconds_to_read + probe.seconds_for_thumbnail)

    @override
    def write(self, scoring: ScoringRun) -> None:
        writer, prepared = scoring.writer, scoring.prepared
        splits, named = prepared.splits, prepared.named_splits
        if scoring.config.decisions is not None:
            with writer.path_for(APPLIED_DECISIONS_FILE) as path:
                shutil.copyfile(scoring.config.decisions, path)
        writer.update(
            dataset=DatasetSummary(
                name=splits.name,
                location=splits.location,
                class_names=splits.train.class_names,
                sizes={name: len(split) for name, split in named.items()},
                mode=splits.train.mode,
                values=_values(splits.train),
                unreadable=[Unreadable(where=each.where, why=each.why) for each in splits.unreadable],
                notes=splits.notes,
                fingerprint=splits.fingerprint(),
            )
        )
        write_tables(writer, {name: example_table(split) for name, split in named.items()})
        if prepared.vectors is None:
            _write_thumbnails(scoring)
        elif splits.train.kind == "text" and scoring.config.names_encoder:  # the table holds the texts themselves
            write_vectors(writer, prepared.vectors, vectors_made_of(scoring.config, splits))


def _write_thumbnails(scoring: ScoringRun) -> None:
    splits = scoring.prepared.splits
    scoring.writer.write_thumbnails("train", _Pictures([splits.train]))
    scoring.writer.write_thumbnails("evaluation", _Pictures([splits.validation, splits.test]))


class _Pictures:
    """The images of several splits, one after the other, decoded when they are asked for."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self._places = [(part, row) for part in parts for row in range(len(part))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> Image.Image:
        part, index = self._places[row]
        picture: Image.Image = part[index][0]
        return picture


def _values(dataset: Dataset) -> ValuesSummary | None:
    known = dataset.values
    if known is None:
        return None
    return ValuesSummary(name=known.name, mean=known.mean, scale=known.scale, ranges=known.range_names)
