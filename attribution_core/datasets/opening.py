"""Sentences that say what an opened dataset was taken as, and which files and rows were left out."""

from collections.abc import Sequence

from attribution_core.datasets.dataset import Dataset, Splits
from attribution_core.datasets.listing import Kind, Listing, Unreadable

_SHOWN = 4  # files named in the line about those that were left out
_LONGEST_REASON = 120  # characters
_TAKEN_AS: dict[Kind, str] = {"image": "images", "text": "texts", "table": "rows of a table"}
_NOUNS: dict[Kind, str] = {"image": "file", "text": "text", "table": "row"}


def sentences_about(splits: Splits) -> list[str]:
    """Return what a user should read once a dataset is open: what it was taken as, notes, and what was left out."""
    left_out = left_out_line(splits.unreadable, splits.train.kind)
    return [line for line in (splits.opened, *splits.notes, left_out) if line]


def opening_line(name: str, listing: Listing, splits: dict[str, Dataset], aside: Sequence[str]) -> str:
    """Return a line that says what was taken as what.

    Args:
        name: Name of the dataset.
        listing: What the format's reader found.
        splits: The examples that are used.
        aside: Splits that were set aside from the training examples.
    """
    train = splits["train"]
    what = listing.what or _TAKEN_AS[listing.kind]
    target = f"values of {train.values.name}" if train.values is not None else f"{len(train.class_names):,} classes"
    named = ", ".join(
        f"{_split_name(split, listing)} ({len(part):,}{' set aside' if split in aside else ''})"
        for split, part in ((split, splits[split]) for split in ("train", "validation", "test"))
    )
    return f"Opened {name}: {what}; splits {named}; {target}."


def left_out_line(unreadable: Sequence[Unreadable], kind: Kind) -> str:
    """Return a line with the number of files or rows left out and some of them, at first one for each reason."""
    if not unreadable:
        return ""
    first_of_reason = {each.why: each for each in reversed(unreadable)}
    ordered = sorted(unreadable, key=lambda each: first_of_reason[each.why] is not each)
    shown = ", ".join(f"{each.where} ({_short(each.why)})" for each in ordered[:_SHOWN])
    count, more = len(unreadable), len(unreadable) - _SHOWN
    verb = f"{_NOUNS[kind]} was" if count == 1 else f"{_NOUNS[kind]}s were"
    return f"{count:,} {verb} left out: {shown}{f' and {more:,} more' if more > 0 else ''}."


def _split_name(split: str, listing: Listing) -> str:
    name = listing.split_names.get(split, split)
    return split if name == split else f"{name} -> {split}"


def _short(why: str) -> str:
    line = " ".join(why.split()).rstrip(".")
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 3] + "..."
