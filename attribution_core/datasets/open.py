"""Open any labeled dataset with one call: by name, from files in one of many formats, or from torch objects."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from attribution_core.datasets.dataset import Dataset, Splits
from attribution_core.datasets.finding import find_dataset, require_classes, require_examples
from attribution_core.datasets.formats.torch_objects import TorchData
from attribution_core.datasets.inspection import ImageFacts, facts_of_row, inspect, with_levels
from attribution_core.datasets.listing import Examples, Kind, Listing, Unreadable
from attribution_core.datasets.opening import opening_line
from attribution_core.datasets.partition import hold_out, stratified_subset
from attribution_core.datasets.targets import Task, ValueScale
from attribution_core.errors import InputError


def open_dataset(
    data: str | Path | TorchData,
    *,
    seed: int = 0,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    max_train: int | None = None,
    target: str | None = None,
    task: Task = "auto",
) -> Splits:
    """Open a dataset, set aside the splits that it lacks, and decode every image once.

    Args:
        data: A name in ``BUILTIN_DATASETS``, ``hf:NAME`` for a dataset of the Hugging Face hub, or the path of a
            dataset in one of the ``FORMATS``. A name comes first: write ``./digits`` for a folder of that name. It
            may also be a torch ``Dataset`` of images with numbers as labels, a dict of them by train, validation and
            test, or these three in a tuple; without random transforms, since a run resumes only with the same images.
        seed: Seed of the splits and of the subset.
        validation_fraction: Share of the training examples to set aside if there is no validation split.
        test_fraction: The same for the test split.
        target: Target column of a table; by default the one called label, target, class or y.
        task: Whether labels are classes or values; ``"auto"`` decides from the labels.
        max_train: Largest number of training examples; if there are more, a stratified subset is drawn. None takes
            all.

    Returns:
        The three splits. Images that cannot be read are skipped and listed.

    Raises:
        InputError: There is no such dataset, or it cannot be understood.
    """
    if not (validation_fraction > 0 and test_fraction > 0 and validation_fraction + test_fraction < 1):
        raise InputError(
            "The validation and test fractions must be above 0 and add up to less than 1, but they are "
            f"{validation_fraction} and {test_fraction}: choose others."
        )
    name, location, listing = find_dataset(data, target, task)
    require_examples(listing)
    listed = _set_aside(listing, {"test": test_fraction, "validation": validation_fraction}, seed)
    aside = [split for split in listed if split not in listing.parts]
    drawn = dict(listed)
    if max_train is not None and max_train < len(listed["train"].ids):
        drawn["train"] = listed["train"].take(stratified_subset(listed["train"].labels, max_train, seed))
    facts, parts, unreadable = _inspect(drawn, listing.kind)
    notes = _notes_on_splits(listing, listed, drawn, parts, seed)
    parts, ranges = with_levels(parts, facts)
    notes += ranges
    values, class_names = None, listing.class_names
    if np.issubdtype(parts["train"].labels.dtype, np.floating):
        values = ValueScale.of(listing.target, parts["train"].labels)
    else:
        class_names, parts, empty = _without_empty_classes(class_names, parts)
        notes += empty
    colors = "L" if all(fact.gray for split in facts.values() for fact in split) else "RGB"
    mode = colors if listing.kind == "image" else listing.kind
    splits = {split: Dataset(parts[split], facts[split], class_names, mode, values) for split in parts}
    return Splits(
        **splits,
        name=name,
        location=location,
        unreadable=listing.unreadable + unreadable,
        notes=listing.notes + notes,
        target=target,
        task=task,
        opened=opening_line(name, listing, splits, aside),
    )


def _set_aside(listing: Listing, fractions: dict[str, float], seed: int) -> dict[str, Examples]:
    """Set aside the missing splits from the training examples; return the splits."""
    parts = dict(listing.parts)
    if not parts:
        raise InputError("The dataset has no examples: add some.")
    if "train" not in parts:
        raise InputError(
            f"A dataset needs a train split, but this one has only {', '.join(parts)}: rename one to train."
        )
    total = len(parts["train"].ids)
    for stream, (split, fraction) in enumerate(fractions.items()):
        if split in parts:
            continue
        train = parts["train"]
        chosen = hold_out(train.labels, max(1, round(fraction * total)), [seed, stream])
        if not len(chosen):
            of = f" in {len(listing.class_names)} classes" if listing.class_names else ""
            raise InputError(
                f"A dataset needs a {split} split or enough examples to set one aside, but this one has {total} "
                f"training examples{of}: add more, or a folder or file called {split}."
            )
        parts[split] = train.take(chosen)
        parts["train"] = train.take(np.setdiff1d(np.arange(len(train.ids)), chosen))
    return parts


def _notes_on_splits(
    listing: Listing,
    listed: dict[str, Examples],
    drawn: dict[str, Examples],
    used: dict[str, Examples],
    seed: int,
) -> list[str]:
    """Return notes on the splits that were set aside and on the subset drawn, with the numbers of readable examples."""
    aside = [split for split in listed if split not in listing.parts]
    lost = {split: len(drawn[split].ids) - len(used[split].ids) for split in drawn}
    by = "class" if listing.class_names else "value"
    total = len(listing.parts["train"].ids) - sum(lost[split] for split in ("train", *aside))
    notes = []
    for split in aside:
        count = len(used[split].ids)
        notes.append(
            f"No {split} split was found: {count:,} of the {total:,} training examples ({count / total:.0%}) were set "
            f"aside for it, stratified by {by}, seed {seed}."
        )
    if len(drawn["train"].ids) < len(listed["train"].ids):
        rest = len(listed["train"].ids) - lost["train"]
        notes.append(f"{len(used['train'].ids):,} of the {rest:,} training examples were drawn, seed {seed}.")
    return notes


def _inspect(
    parts: dict[str, Examples],
    kind: Kind,
) -> tuple[dict[str, list[ImageFacts]], dict[str, Examples], list[Unreadable]]:
    """Decode every image once; return the facts and examples of the readable ones, and the unreadable ones."""
    images = [image for split in parts.values() for image in split.images]
    results = iter(inspect(images) if kind == "image" else map(facts_of_row, images))
    facts, readable, unreadable = {}, {}, []
    for split, examples in parts.items():
        found = list(itertools.islice(results, len(examples.ids)))
        facts[split] = [fact for fact in found if isinstance(fact, ImageFacts)]
        lost = [Unreadable(where, why) for where, why in zip(examples.ids, found, strict=True) if isinstance(why, str)]
        if not facts[split]:
            first = f"; the first is {lost[0].where}: {lost[0].why}" if lost else ""
            raise InputError(f"The {split} split needs images, but none can be read{first}.")
        readable[split] = examples.take(np.flatnonzero([isinstance(fact, ImageFacts) for fact in found]))
        unreadable += lost
    return facts, readable, unreadable


def _without_empty_classes(
    class_names: list[str], parts: dict[str, Examples]
) -> tuple[list[str], dict[str, Examples], list[str]]:
    """Drop the classes without examples, which no model can learn and no plot should show; add notes that say so."""
    counts = {split: np.bincount(part.labels, minlength=len(class_names)) for split, part in parts.items()}
    kept = np.sum(list(counts.values()), axis=0) > 0
    require_classes(class_names, counts["train"])
    notes = [
        f"The class {name} has no {'training ' if kept[c] else ''}image{'' if kept[c] else ' and was skipped'}."
        for c, name in enumerate(class_names)
        if not counts["train"][c]
    ]
    position = np.cumsum(kept) - 1
    parts = {split: dataclasses.replace(part, labels=position[part.labels]) for split, part in parts.items()}
    return [name for name, keep in zip(class_names, kept, strict=True) if keep], parts, notes
