"""Names of splits: the one place that knows which folder, file or cell means train, validation or test.

    splits_of_folders(["Training", "Testing"], "data")  # {"Training": "train", "Testing": "test"}
    splits_of_files(["my_train", "train-00000-of-00001", "readme"], "data")  # the last is missing
    splits_of_cells(["Train", "dev"], "the column split of a.csv")

Case, underscores, digits and words such as set, data or images do not matter. ``eval`` means validation, unless another
name already does and none means test: Kaldi's ``train``, ``dev`` and ``eval``. Two words for one split (``val`` beside
``valid``) are refused, since nothing says that they are one.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from attribution_core.errors import InputError

Name = TypeVar("Name")

# What each word means, in lower case.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
SPLITS = "train, validation (or val, valid, dev, eval) or test"  # for messages

_EVALUATION = ("eval", "evaluation")
_FILLERS = ("set", "data", "dataset", "split", "part", "images", "image", "imgs", "img", "samples", "folder")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+")
_FILLER_AT_END = re.compile(rf"(?:{'|'.join(_FILLERS)})$")


def split_of(name: str) -> str | None:
    """Return the split that a whole name means (``Training``, ``test_set``, ``val2017``); None for any other name."""
    word = _whole_word(name)
    return None if word is None else SPLIT_NAMES[word]


def named_after_splits(names: Iterable[str]) -> set[str]:
    """Return those of the folders beside each other that :func:`splits_of_folders` takes as splits."""
    return set(_words_of_folders(names))


def splits_of_folders(names: Iterable[str], where: str) -> dict[str, str]:
    """Map the folders whose name means a split to that split; other names are missing.

    The whole name must mean a split; or the rest must be the same for two splits, as in ``seg_train`` and ``seg_test``.

    Args:
        names: Names of folders.
        where: What holds them, for messages.

    Raises:
        InputError: Two folders mean the same split.
    """
    found = splits_of_words(_words_of_folders(names), where)
    by_split: dict[str, str] = {}
    for name, split in found.items():
        other = by_split.setdefault(split, name)
        if other != name:
            raise _two_names(where, split, other, name)
    return found


def splits_of_files(names: Iterable[str], where: str) -> dict[str, str]:
    """Map the files whose names contain the name of a split to that split; other names are missing.

    Several files may share a split if they call it by the same word: ``train-00000-of-00002`` and
    ``train-00001-of-00002``.

    Args:
        names: Names of files, without their suffixes.
        where: What holds them, for messages.

    Raises:
        InputError: Files call the same split by different words.
    """
    return splits_of_words({name: word for name in names if (word := _word_within(name))}, where)


def splits_of_cells(values: Iterable[object], where: str) -> dict[object, str]:
    """Map the distinct values of a column of splits to their splits.

    Args:
        values: Cells; repeated ones are fine.
        where: The column and its file, for messages.

    Raises:
        InputError: A value means no split, or different words mean the same one.
    """
    words = {}
    for value in dict.fromkeys(values):
        word = _whole_word(str(value))
        if word is None:
            raise InputError(
                f"{_sentence(where)} must hold {SPLITS}, but it holds {value!r}: rename that split or remove its rows."
            )
        words[value] = word
    return splits_of_words(words, where)


def splits_of_words(words: Mapping[Name, str], where: str) -> dict[Name, str]:
    """Map names to their splits by the word in each, a key of ``SPLIT_NAMES``.

    Args:
        words: Words by name.
        where: What holds the names, for messages.

    Raises:
        InputError: Different words mean the same split.
    """
    meaning = {word: SPLIT_NAMES[word] for word in words.values()}
    others = {split for word, split in meaning.items() if word not in _EVALUATION}
    if "validation" in others and "test" not in others:
        meaning.update({word: "test" for word in meaning if word in _EVALUATION})
    first: dict[str, str] = {}
    for word, split in meaning.items():
        other = first.setdefault(split, word)
        if other != word:
            names = {each: next(name for name in words if words[name] == each) for each in (other, word)}
            raise _two_names(where, split, names[other], names[word])
    return {name: meaning[word] for name, word in words.items()}


def _words_of_folders(names: Iterable[str]) -> dict[str, str]:
    """Return the word for a split in each folder's name that has one."""
    listed = list(names)
    whole = {name: word for name in listed if (word := _whole_word(name))}
    if whole:
        return whole
    within = {name: word for name in listed if (word := _word_within(name))}
    rests = {name: name.lower().replace(word, "", 1) for name, word in within.items()}
    meant: dict[str, set[str]] = {}
    for name, rest in rests.items():
        meant.setdefault(rest, set()).add(SPLIT_NAMES[within[name]])
    return {name: word for name, word in within.items() if len(meant[rests[name]]) > 1}


def _whole_word(name: str) -> str | None:
    """Return the only word of a name that is not a filler, if it means a split."""
    words = [word for part in _WORDS.findall(name) if (word := _without_filler(part.lower()))]
    return words[0] if len(words) == 1 and words[0] in SPLIT_NAMES else None


def _word_within(name: str) -> str | None:
    """Return the word in a name that means a split; None if there is none, or several splits are meant."""
    words = [word for part in _WORDS.findall(name) if (word := _without_filler(part.lower())) in SPLIT_NAMES]
    return words[0] if len({SPLIT_NAMES[word] for word in words}) == 1 else None


def _without_filler(word: str) -> str:
    """Return a word without "set", "data" and the like at its end, if what is left means a split; else the word.

    A word that is nothing but filler becomes empty.
    """
    rest = _FILLER_AT_END.sub("", word)
    return rest if not rest or rest in SPLIT_NAMES else word


def _two_names(where: str, split: str, first: object, second: object) -> InputError:
    return InputError(
        f"{_sentence(where)} must have one name for the {split} split, but it has {first} and {second}: rename or "
        "remove one of them."
    )


def _sentence(where: str) -> str:
    return where[:1].upper() + where[1:] if where.startswith("the ") else where
