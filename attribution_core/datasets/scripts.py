"""Words of texts in any script, also in those that put no spaces between words."""

import re
from collections.abc import Iterable

# Thai, Lao, Tibetan, Burmese, Khmer, kana, and Chinese characters.
_WITHOUT_SPACES = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = re.compile(f"[{_WITHOUT_SPACES}]+")
_CHARACTERS_OF_A_WORD = 2  # about so many characters of such a script are a word
_LONGEST = 3  # characters


def count_words(text: str) -> float:
    """Return about how many words a text has."""
    runs = _RUN.findall(text)
    return len(_RUN.sub(" ", text).split()) + sum(map(len, runs)) / _CHARACTERS_OF_A_WORD


def is_prose(texts: Iterable[str]) -> bool:
    """Return whether most words are not capitalized, unlike names, titles and addresses."""
    words = [word for text in texts for word in text.split()]
    return 2 * sum(word[0].isalpha() and not word[0].isupper() for word in words) > len(words)


def has_runs(texts: Iterable[str]) -> bool:
    """Return whether a text has characters of a script without spaces."""
    return any(_RUN.search(text) for text in texts)


def without_runs(text: str) -> str:
    """Return a text with a space in place of each run of characters of a script without spaces."""
    return _RUN.sub(" ", text)


def character_ngrams(text: str) -> list[str]:
    """Return all sequences of one to three characters in the parts of a text whose script has no spaces."""
    return [
        run[start : start + length]
        for run in _RUN.findall(text)
        for length in range(1, _LONGEST + 1)
        for start in range(len(run) - length + 1)
    ]
