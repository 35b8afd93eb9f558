"""A small run over scikit-learn's digits with made-up but plausible scores, for tests that need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from attribution_core.runs import DatasetSummary, RunWriter, Unreadable, fingerprint

CHANGED_SHARE = 0.05


def make_run(
    path: Path,
    n: int = 300,
    class_names: list[str] | None = None,
    ids: list[str] | None = None,
    scored: bool = True,
    seed: int = 0,
) -> Path:
    """Writes a run of ``n`` training digits and ``n // 2`` others, with 5% of the training labels changed.

    Args:
        path: The run's directory.
        n: Number of training examples.
        class_names: Ten names; the digits by default.
        ids: ``n`` ids of the training examples.
        scored: Whether the run came as far as its scores.
        seed: Of the changed labels and the scores.

    Returns:
        ``path``.
    """
    digits = load_digits()
    names = class_names or [f"digit {digit}" for digit in range(10)]
    rng = np.random.default_rng(seed)
    config = {"data": "digits", "seed": seed, "model": "lenet5"}
    with RunWriter.start(path, config, fingerprint(config), f"digits, {path.name}") as writer:
        with writer.stage("data"):
            writer.update(dataset=_summary(names, n), model={"name": "lenet5", "parameters": 61_706})
        with writer.stage("train"):
            examples = _table(digits.target[:n], names, ids or [f"train-{i:05d}" for i in range(n)], rng)
            evaluation = _table(digits.target[n : n + n // 2], names, [f"other-{i:05d}" for i in range(n // 2)], rng)
            evaluation.insert(1, "split", np.where(np.arange(n // 2) % 2, "test", "validation"))
            writer.write_table("evaluation", evaluation.drop(columns="original_label"))
            writer.write_table("examples", examples)
            writer.update(metrics={"train_accuracy": 0.97, "validation_accuracy": 0.91, "test_accuracy": 0.9})
        with writer.stage("thumbnails"):
            writer.write_thumbnails("train", _images(digits.images[:n]))
            writer.write_thumbnails("evaluation", _images(digits.images[n : n + n // 2]))
        if scored:
            with writer.stage("fsi"):
                writer.add_column("examples", "fsi", _scores(examples, rng))
                writer.update(measures=["fsi"], details={"fsi": {"route": "exact Jacobian", "sigma": 1.0}})
    return path


def _summary(names: list[str], n: int) -> DatasetSummary:
    return DatasetSummary(
        name="digits",
        location="",
        class_names=names,
        sizes={"train": n, "validation": n // 4, "test": n // 4},
        mode="L",
        unreadable=[Unreadable(where="broken.png", why="it is empty (zero bytes)")],
        notes=["5% of the training labels were changed on purpose; the column original_label keeps the true ones."],
        fingerprint=fingerprint([names, n]),
    )


def _table(true_labels: np.ndarray, names: list[str], ids: list[str], rng: np.random.Generator) -> pd.DataFrame:
    n = len(true_labels)
    changed = np.zeros(n, dtype=bool)
    changed[rng.choice(n, max(1, int(CHANGED_SHARE * n)), replace=False)] = True
    labels = np.where(changed, (true_labels + rng.integers(1, 10, n)) % 10, true_labels)
    predicted = np.where(rng.random(n) < 0.95, true_labels, (true_labels + 1) % 10)
    confidence = rng.beta(8, 1, n)
    of_label = np.where(predicted == labels, confidence, (1 - confidence) * rng.random(n))
    of_other = np.where(predicted == labels, (1 - confidence) * rng.random(n), confidence)
    name = np.asarray(names, dtype=object)
    return pd.DataFrame(
        {
            "id": ids,
            "label": labels.astype(np.int64),
            "label_name": name[labels],
            "predicted": predicted.astype(np.int64),
            "predicted_name": name[predicted],
            "confidence": confidence.astype(np.float32),
            "margin": (of_label - of_other).astype(np.float32),
            "loss": -np.log(np.maximum(of_label, 1e-6)).astype(np.float32),
            "correct": predicted == labels,
            "original_label": name[true_labels],
        }
    )


def _scores(examples: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Heavy-tailed, and larger where the label was changed."""
    changed = (examples["label_name"] != examples["original_label"]).to_numpy()
    return np.exp(rng.normal(-6, 1.5, len(examples)) + 4 * changed).astype(np.float32)


def _images(pixels: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)) for image in pixels]
