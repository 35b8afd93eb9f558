"""Read sentences of film reviews (rt-polarity, Pang and Lee 2005) and encode them as vectors."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attribution_core.errors import InputError

FILES = ("rt-polarity-negative.txt", "rt-polarity-positive.txt")
DIMENSIONS = 300


def sentences(folder: Path) -> tuple[list[str], Tensor]:
    """Return all sentences and their labels, 1 for positive ones.

    Raises:
        InputError: A file is missing.
    """
    found: list[list[str]] = []
    for name in FILES:
        if not (folder / name).is_file():
            raise InputError(f"{folder} must contain {' and '.join(FILES)}, but {name} is not there.")
        lines = (folder / name).read_text(encoding="utf-8").split("\n")
        found.append([line.strip() for line in lines if line.strip()])
    return found[0] + found[1], torch.tensor([0] * len(found[0]) + [1] * len(found[1]))


def vectors(texts: list[str], encoder: str) -> Tensor:
    """Return a vector for each sentence, ``[sentences, dimensions]``.

    Args:
        texts: The sentences.
        encoder: ``"tfidf"``, or the path of a NumPy file with a row for each sentence.

    Raises:
        InputError: The file cannot be read, or does not have a row for each sentence.
    """
    if encoder == "tfidf":
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        counts = TfidfVectorizer(min_df=2, sublinear_tf=True).fit_transform(texts)
        reduced = TruncatedSVD(min(DIMENSIONS, counts.shape[1] - 1), random_state=0).fit_transform(counts)
        return F.normalize(torch.from_numpy(reduced).float(), dim=1)
    try:
        values = np.load(encoder, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f'--encoder must be "tfidf" or a NumPy file of vectors, not {encoder}: {error}.') from error
    if values.ndim != 2 or len(values) != len(texts):
        raise InputError(
            f"{encoder} must have a row for each of {len(texts):,} sentences; its shape is {values.shape}."
        )
    return torch.from_numpy(values).float()
