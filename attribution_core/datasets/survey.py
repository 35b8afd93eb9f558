"""What a dataset holds, told while its images are still being looked at. Loads without torch, to answer at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from attribution_core.datasets.finding import find_dataset, require_classes, require_examples
from attribution_core.datasets.images import ImageSource
from attribution_core.datasets.inspection import ImageFacts, inspected
from attribution_core.datasets.listing import Kind, Listing, Unreadable
from attribution_core.datasets.targets import Task, ValueScale


@dataclass
class Survey:
    """What is known of a dataset so far: all counts from the start, the rest of the images that were looked at.

    Attributes:
        name: Its name.
        location: Its path; empty for one that opens by name.
        kind: Kind of example.
        what: What was taken as what, in a few words; may be empty.
        values: Name of the target column of a regression; None for a classification.
        class_names: Names of the ``k`` classes, or of the ranges of the values.
        counts: Examples of each, by split, ``[k]``; only the splits that the data have.
        notes: Sentences that a user should read.
        unreadable: Files, texts or rows that will be left out.
        total: Number of images to look at; 0 for texts and rows.
        looked: Number of images looked at.
        colored: Number of those in color.
        heights: Smallest and largest height of those, in pixels; None before the first.
        widths: Smallest and largest width.
        repeated: Number of those whose file equals that of another one that was looked at before.
        across: Number of those that equal one of another split.
        disputed: Number of those that equal one with another label.
    """

    name: str
    location: str
    kind: Kind
    what: str
    values: str | None
    class_names: list[str]
    counts: dict[str, list[int]]
    notes: list[str]
    unreadable: list[Unreadable] = field(default_factory=list)
    total: int = 0
    looked: int = 0
    colored: int = 0
    heights: tuple[int, int] | None = None
    widths: tuple[int, int] | None = None
    repeated: int = 0
    across: int = 0
    disputed: int = 0

    def add(self, image: ImageFacts) -> None:
        """Count an image that can be read."""
        self.colored += not image.gray
        self.heights = _widened(self.heights, image.height)
        self.widths = _widened(self.widths, image.width)


def survey(data: str, target: str | None = None, task: Task = "auto") -> Iterator[Survey]:
    """List the examples of a dataset, then decode every image once, in random order so that early facts are fair.

    Args:
        data: Name or path, as in :func:`attribution_core.open_dataset`.
        target: As there.
        task: As there.

    Yields:
        The same object, first with all that the listing says, then after each image.

    Raises:
        InputError: There is no such dataset, or it cannot be understood.
    """
    name, location, listing = find_dataset(data, target, task)
    require_examples(listing)
    found = _of_listing(name, location, listing)
    images = [
        _Image(each, source, split, float(label))
        for split, part in listing.parts.items()
        for each, source, label in zip(part.ids, part.images, part.labels, strict=True)
        if listing.kind == "image"
    ]
    found.total = len(images)
    yield found
    order = [images[i] for i in np.random.default_rng(0).permutation(len(images))]
    first: dict[bytes, _Image] = {}  # image of each content
    for image, fact in zip(order, inspected([each.source for each in order]), strict=True):
        found.looked += 1
        if isinstance(fact, str):
            found.unreadable.append(Unreadable(image.id, fact))
        else:
            found.add(fact)
            other = first.setdefault(fact.digest, image)
            found.repeated += other is not image
            found.across += other.split != image.split
            found.disputed += other.label != image.label
        yield found


@dataclass(frozen=True, eq=False)
class _Image:
    """An image with what it is compared by."""

    id: str
    source: ImageSource
    split: str
    label: float


def _of_listing(name: str, location: str, listing: Listing) -> Survey:
    """Return what a listing says without any image."""
    parts, names, values = listing.parts, listing.class_names, None
    train = parts.get("train", next(iter(parts.values())))
    if np.issubdtype(train.labels.dtype, np.floating):
        scale = ValueScale.of(listing.target, train.labels)
        values, names = scale.name, scale.range_names
        strata = {split: scale.ranges(part.labels) for split, part in parts.items()}
    else:
        strata = {split: part.labels for split, part in parts.items()}
    counts = {split: np.bincount(each, minlength=len(names)) for split, each in strata.items()}
    if values is None:
        require_classes(names, counts.get("train", np.zeros(0)))
    return Survey(
        name,
        location,
        listing.kind,
        listing.what,
        values,
        names,
        {split: each.tolist() for split, each in counts.items()},
        [*listing.notes, *_missing(parts)],
        list(listing.unreadable),
    )


def _missing(parts: Collection[str]) -> list[str]:
    """Return a note on the splits that a run sets aside."""
    missing = [split for split in ("validation", "test") if split not in parts]
    if not missing:
        return []
    return [f"No {' and no '.join(missing)} split was found: a run sets part of the training examples aside for it."]


def _widened(span: tuple[int, int] | None, value: int) -> tuple[int, int]:
    return (value, value) if span is None else (min(span[0], value), max(span[1], value))
