"""Label quality and cleanlab on the same features of the same examples, with the seconds of each.

The features are those that a run without any option judges labels by: cleanlab has each kind of them, and all side by
side. It receives class probabilities of logistic regression by five folds, which are shuffled: unshuffled folds of data
sorted by class are cut along the true classes, so that wrong labels of one kind are held out together and found too
easily (on CIFAR-10N with an average precision of .76 in place of .72). Of values it receives the features themselves,
in its own ``CleanLearning`` with linear regression and boosting. Every regularization and each of cleanlab's scores is
a row, so that its best is among them.
"""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.evaluation.detection import known_wrong
from attribution_core.experiments.label_noise.cleanlab_reference import cleanlab_scores
from attribution_core.experiments.unique_information.film_reviews import sentences
from attribution_core.methods.linearized.kernel_basis import Features, joined
from attribution_core.methods.linearized.label_quality import LabelQuality, label_quality
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import prepare
from attribution_core.preparation.representations import representations
from attribution_core.runs.labels import label_names

FOLDS = 5
REGULARIZATIONS = (0.1, 1.0, 10.0)  # C of logistic regression; 1 is scikit-learn's default
SENTENCES, FLIPPED, PERMUTED = 3000, 0.1, 0.05


@dataclass(frozen=True)
class Problem:
    """Examples of which it is known whose label is wrong.

    Attributes:
        features: Kinds of features by name, as a run without options has them.
        labels: Given labels: classes, int64 ``[n]``, or values, floating-point ``[n]``.
        true_labels: True classes, int64 ``[n]``; None for values.
        wrong: Which labels are wrong, bool ``[n]``.
        seconds: Seconds that the features took.
    """

    features: dict[str, Features]
    labels: Tensor
    true_labels: Tensor | None
    wrong: np.ndarray
    seconds: float


def rows(name: str, data_root: Path | None, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for label quality and one for each judge of cleanlab: AUC, average precision and seconds.

    Args:
        name: One of :data:`PROBLEMS`.
        data_root: Folder with the data; the demo needs none.
        seed: Seed of the planted errors and of the folds.
    """
    with tempfile.TemporaryDirectory() as folder:
        problem = opened(PROBLEMS[name](Path(folder), data_root, seed))
    about = {"data": name, "seed": seed, "examples": len(problem.wrong), "wrong_labels": int(problem.wrong.sum())}
    start = time.perf_counter()
    found = label_quality(problem.features, problem.labels, seed=seed)
    seconds = time.perf_counter() - start
    yield {
        **about,
        "judge": "label quality",
        **_found(-found.quality.numpy(), problem, seconds),
        **_chosen(found, problem),
    }
    theirs = _of_values if problem.labels.is_floating_point() else _of_classes
    kinds = dict(problem.features)
    if len(kinds) > 1:
        kinds["all features"] = _side_by_side(list(kinds.values()))
    for kind, features in kinds.items():
        for judge, scores, taken in theirs(features, problem.labels, seed):
            yield {**about, "judge": f"{judge}, {kind}", **_found(scores, problem, taken)}


def opened(data: str) -> Problem:
    """Open data as a run without options does."""
    start = time.perf_counter()
    prepared = prepare(ScoreConfig(data=data))
    kinds = representations(prepared, prepared.tensors_by_split())
    seconds = time.perf_counter() - start
    splits = prepared.named_splits.values()
    labels = torch.from_numpy(np.concatenate([split.labels for split in splits]))
    names = prepared.splits.train.class_names
    true_labels = np.concatenate([split.groups["original_label"] for split in splits])
    given = {"label": labels.numpy(), "label_name": label_names(labels.numpy(), names), "original_label": true_labels}
    wrong = known_wrong(pd.DataFrame(given))
    assert wrong is not None
    true = None
    if not labels.is_floating_point():
        numbers = {each: number for number, each in enumerate(names)}
        true = torch.tensor([numbers[str(each)] for each in true_labels])
    features = {kind: joined([parts[name] for name in prepared.named_splits]) for kind, parts in kinds.items()}
    return Problem(features, labels, true, wrong.numpy(), seconds)


def _side_by_side(kinds: list[Features]) -> Features:
    """Return all features of each example, sparse if some are."""
    if not any(sparse.issparse(each) for each in kinds):
        return torch.cat([each.flatten(1) for each in kinds], dim=1)
    return sparse.hstack([each if sparse.issparse(each) else sparse.csr_matrix(each.numpy()) for each in kinds]).tocsr()


def _found(suspicious: np.ndarray, problem: Problem, seconds: float) -> dict[str, Any]:
    auc, ap = roc_auc_score(problem.wrong, suspicious), average_precision_score(problem.wrong, suspicious)
    return {"auc": round(float(auc), 4), "ap": round(float(ap), 4), "seconds": round(seconds, 1)}


def _chosen(found: LabelQuality, problem: Problem) -> dict[str, Any]:
    facts: dict[str, Any] = {"shares": {name: round(share, 2) for name, share in found.shares.items()}}
    if problem.true_labels is not None:
        right = (found.suggested == problem.true_labels)[torch.from_numpy(problem.wrong)]
        facts["suggested_right"] = round(float(right.double().mean()), 4)
    return {**facts, "seconds_of_features": round(problem.seconds, 1)}


def _of_classes(features: Features, labels: Tensor, seed: int) -> Iterator[tuple[str, np.ndarray, float]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    given = features if sparse.issparse(features) else features.numpy()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for c in REGULARIZATIONS:
        start = time.perf_counter()
        judge = LogisticRegression(C=c, max_iter=1000)
        found = cross_val_predict(judge, given, labels.numpy(), cv=folds, method="predict_proba")
        seconds = time.perf_counter() - start
        for score, values in cleanlab_scores(torch.from_numpy(found), labels).items():
            yield f"cleanlab {score}, logistic regression, C = {c:g}", values.numpy(), seconds


def _of_values(features: Features, labels: Tensor, seed: int) -> Iterator[tuple[str, np.ndarray, float]]:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    try:
        from cleanlab.regression.learn import CleanLearning
    except ImportError as error:
        raise InputError("The comparison needs cleanlab: pip install 'samplescope[experiments]'.") from error
    judges = {"linear regression": LinearRegression(), "boosting": HistGradientBoostingRegressor(random_state=seed)}
    for name, judge in judges.items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own, about its own calls of pandas
            found = CleanLearning(judge, seed=seed).find_label_issues(features.numpy(), labels.numpy())
        yield f"cleanlab regression, {name}", -found["label_quality"].to_numpy(), time.perf_counter() - start


def _demo(folder: Path, data_root: Path | None, seed: int) -> str:  # noqa: ARG001
    return "fashion-demo"


def _cifar10n(folder: Path, data_root: Path | None, seed: int) -> str:  # noqa: ARG001
    """Write the images that one annotator labeled, with those labels and the true ones."""
    root = _require(data_root)
    labels = pd.read_csv(root / "cifar10n" / "labels.csv")
    images = pd.read_parquet(root / "cifar10" / "train.parquet", columns=["image"])["image"].iloc[labels["row"]]
    table = {"image": images.to_list(), "label": labels["human_label"], "original_label": labels["true_label"]}
    return _written(pd.DataFrame(table), folder / "cifar10n.parquet")


def _text(folder: Path, data_root: Path | None, seed: int) -> str:
    """Write film reviews of which a tenth have the other label."""
    texts, labels = sentences(_require(data_root) / "text")
    order = np.random.default_rng(seed).permutation(len(texts))[:SENTENCES]
    true = labels.numpy()[order]
    wrong = np.random.default_rng(seed + 1).permutation(SENTENCES)[: round(FLIPPED * SENTENCES)]
    given = true.copy()
    given[wrong] = 1 - given[wrong]
    names = np.array(["negative", "positive"], dtype=object)
    table = {"text": [texts[i] for i in order], "label": names[given], "original_label": names[true]}
    return _written(pd.DataFrame(table), folder / "reviews.parquet")


def _concrete(folder: Path, data_root: Path | None, seed: int) -> str:
    """Write a table in which 5% of the values have changed places."""
    table = pd.DataFrame(np.loadtxt(_require(data_root) / "uci" / "concrete.txt"))
    table.columns = [*(f"feature {i}" for i in range(table.shape[1] - 1)), "target"]
    table["original_label"] = table["target"]
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(table))[: round(PERMUTED * len(table))]
    table.loc[chosen, "target"] = table["target"].to_numpy()[generator.permutation(chosen)]
    return _written(table, folder / "concrete.parquet")


def _written(table: pd.DataFrame, path: Path) -> str:
    table.to_parquet(path, index=False)
    return str(path)


def _require(data_root: Path | None) -> Path:
    if data_root is None:
        raise InputError("This data is read from files: give their folder as --data-root.")
    return data_root


PROBLEMS: dict[str, Callable[[Path, Path | None, int], str]] = {
    "demo": _demo,
    "cifar10n": _cifar10n,
    "text": _text,
    "concrete": _concrete,
}
PLANTED = ("text", "concrete")  # whose errors a seed draws
