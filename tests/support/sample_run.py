"""A small dataset of scikit-learn's digits, and a run over it with made-up but plausible scores and no training."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from attribution_core.datasets import Dataset, Splits, open_dataset
from attribution_core.methods.influence.kept import state_of
from attribution_core.methods.influence.kernels import GradientKernels
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.runs import CredibleEffects, DatasetSummary, RunWriter, Unreadable, fingerprint
from attribution_core.runs.embeddings import read_embeddings
from attribution_core.runs.names import KEPT_INFLUENCE_FILE
from attribution_core.runs.store import read_table
from attribution_core.runs.tables import curve_points
from attribution_core.scoring.stages.detection import write_detection
from attribution_core.scoring.stages.influence import KEPT_EXAMPLES
from attribution_core.scoring.stages.live import write_live_model

NAMES = [f"digit {digit}" for digit in range(10)]
CHANGED_SHARE = 0.05


def make_data(path: Path, n: int, class_names: list[str] = NAMES, ids: list[str] | None = None) -> Path:
    """Write a Parquet file of ``n`` training digits, 5% of them with wrong labels, and ``n // 2`` other digits."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    total = n + n // 2
    true_labels = digits.target[:total]
    labels = true_labels.copy()
    changed = rng.choice(n, max(1, int(CHANGED_SHARE * n)), replace=False)
    labels[changed] = (labels[changed] + rng.integers(1, 10, len(changed))) % 10
    table = pa.table(
        {
            "image": [{"bytes": _png(image), "path": f"{i}.png"} for i, image in enumerate(digits.images[:total])],
            "label": labels,
            "original_label": true_labels,
            "split": ["train"] * n + ["validation", "test"] * (n // 4) + ["test"] * (n // 2 % 2),
            "id": (ids or [f"train-{i:05d}" for i in range(n)]) + [f"other-{i:05d}" for i in range(n // 2)],
        }
    )
    label = {"names": class_names, "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": label, "original_label": label}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def make_run(
    path: Path,
    n: int = 300,
    class_names: list[str] = NAMES,
    ids: list[str] | None = None,
    scored: bool = True,
    evidence: bool = True,
) -> Path:
    """Write a run over :func:`make_data`, and that data beside it.

    Args:
        path: The run's directory.
        n: Number of training examples.
        class_names: Ten names.
        ids: ``n`` ids of the training examples.
        scored: Whether the run has scores; otherwise it stops before them.
        evidence: Whether the run has a verification, a detection of wrong labels and a summarization.

    Returns:
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = make_data(path.with_name(f"{path.name}.parquet"), n, class_names, ids)
    return write_run(path, open_dataset(data), {"data": str(data), "model": "lenet5"}, scored, evidence)


def write_run(
    path: Path,
    splits: Splits,
    config: dict[str, object],
    scored: bool = True,
    evidence: bool = True,
    name: str = "digits",
    width: int = 16,
) -> Path:
    """Write a run with made-up scores over any dataset.

    Args:
        path: The run's directory.
        splits: The dataset, with a group ``original_label``.
        config: Configuration that the run records.
        scored: Whether the run has scores; otherwise it stops before them.
        evidence: Whether the run has a verification, a detection of wrong labels and a summarization.
        name: Name of the dataset.
        width: Length of the embeddings.

    Returns:
        ``path``.
    """
    n, rng = len(splits.train), np.random.default_rng(0)
    with RunWriter.start(path, config, fingerprint(config), f"{name}, {path.name}") as writer:
        with writer.stage("dataset"):
            writer.update(dataset=_summary(splits, name))
            writer.write_table("examples", _table(splits.train, rng))
            parts = {"validation": splits.validation, "test": splits.test}
            tables = [_table(part, rng).assign(split=name) for name, part in parts.items()]
            writer.write_table("evaluation", pd.concat(tables, ignore_index=True))
            writer.write_thumbnails("train", _images(splits.train))
            writer.write_thumbnails("evaluation", [*_images(splits.validation), *_images(splits.test)])
            accuracies = {"train_accuracy": 0.97, "validation_accuracy": 0.91, "test_accuracy": 0.9}
            writer.update(metrics=accuracies, model={"name": "lenet5", "parameters": 61_706})
        if scored:
            with writer.stage("fsi"):
                _write_matrices(writer, splits, rng, width)
                writer.add_column("examples", "fsi", _scores(_table(splits.train, rng), rng))
                points = pd.DataFrame(
                    {"series": ["error rate"] * 9, "x": 2.0 ** np.arange(-4, 5), "y": 1 / np.arange(2, 11)}
                )
                writer.write_curve("ihvp_error", points)
                writer.add_column("examples", "contribution", rng.normal(0, 1e-4, n))
                _write_sensitivities(writer, rng, n)
                facts = {"route": "exact kernel", "learning_rate": _write_live(writer, splits), "steps": 1000}
                facts["weight_decay"] = 0.0
                writer.describe("fsi", facts, ["fsi", "contribution", "sensitivity", "error", "variance"])
                if n <= KEPT_EXAMPLES:
                    _write_kept_influence(writer, splits)
                if evidence:
                    _write_evidence(writer)
    return path


def _write_matrices(writer: RunWriter, splits: Splits, rng: np.random.Generator, width: int) -> None:
    """Write effects by three methods with their strongest pairs, scores over training, embeddings and the map."""
    n, m, names = len(splits.train), len(splits.validation), splits.train.class_names
    losses = read_table(writer.path, "evaluation")["loss"].to_numpy()[:m]
    same = splits.train.labels[:, None] == splits.validation.labels
    for method, scale in (("ntk", 1e-2), ("hydra", 1e-4), ("influence", 1e-3)):
        effects = (scale * (rng.normal(0, 1, (n, m)) + same)).astype(np.float32)
        credible = CredibleEffects(losses, 1.5e-4) if method == "hydra" else None  # so that some effects are beyond it
        writer.write_effects(method, m, [(slice(0, n), effects)], credible)
        writer.write_class_effects(method, _class_effects(names))
        writer.write_class_pairs(method, _class_pairs(effects, splits))
    for measure, times in (("fsi", 1000 * 10 ** (np.arange(-4, 5) / 2)), ("sensitivity", [1, 2, 5, 10])):
        growth = np.linspace(0.2, 1, len(times))[:, None]
        writer.write_evolution(measure, list(times), growth * rng.lognormal(-4, 1, n))
    writer.write_evolution("contribution", range(1, 6), np.random.default_rng(1).normal(0, 1e-4, (5, n)))
    shares = {"among the most influential": np.linspace(0.3, 0.1, 9), "among all": np.full(9, CHANGED_SHARE)}
    writer.write_curve("changed_among_influencers", curve_points(1000 * 10 ** (np.arange(-4, 5) / 2), shares))
    for split, parts in {"train": [splits.train], "evaluation": [splits.validation, splits.test]}.items():
        labels = np.concatenate([part.labels for part in parts])
        embeddings = np.eye(width)[labels] + rng.normal(0, 0.1, (len(labels), width))
        writer.write_embeddings(split, embeddings)
        angle = 2 * np.pi * labels / 10
        places = 5 * np.column_stack([np.cos(angle), np.sin(angle)]) + rng.normal(0, 1, (len(labels), 2))
        columns = dict(zip(("umap_x", "umap_y"), places.T.astype(np.float32), strict=True))
        writer.add_columns("examples" if split == "train" else "evaluation", columns)


def _write_live(writer: RunWriter, splits: Splits, width: int = 16) -> float:
    """Write a linear model of the embeddings for F-SI at any time, and return its largest stable learning rate."""
    train, evaluation = (
        torch.tensor(read_embeddings(writer.path, split)[:, None, :width], dtype=torch.float64)
        for split in ("train", "evaluation")
    )
    targets = [torch.eye(len(NAMES), dtype=torch.float64)[split.labels] for split in (splits.train, splits.validation)]
    outputs = [torch.zeros_like(each) for each in targets]
    linear = LinearizedModel.from_jacobians(train, evaluation[: len(splits.validation)], *outputs, *targets)
    write_live_model(writer, linear)
    return 1 / float(linear.eigenvalues[-1])


def _write_kept_influence(writer: RunWriter, splits: Splits, width: int = 40) -> None:
    """Write the inner products of made-up gradients, for influence at any damping."""
    generator = torch.Generator().manual_seed(0)
    own, other = (torch.randn(len(part), width, generator=generator) for part in (splits.train, splits.validation))
    kernels = GradientKernels(own @ own.T, other @ own.T, torch.rand(len(own), generator=generator))
    with writer.path_for(KEPT_INFLUENCE_FILE) as path:
        save_file(state_of(0, kernels, 0.05 * kernels.largest), path)
    writer.describe("self_influence", {"share_of_largest_eigenvalue": 0.05})


def _class_pairs(effects: np.ndarray, splits: Splits, most: int = 3) -> pd.DataFrame:
    """Return the strongest effects of both signs for every pair of classes."""
    names, rows = splits.train.class_names, []
    for a, train_class in enumerate(names):
        for b, evaluation_class in enumerate(names):
            i, j = (np.flatnonzero(part.labels == label) for part, label in ((splits.train, a), (splits.validation, b)))
            order = np.argsort(-effects[np.ix_(i, j)], axis=None)
            for flat in np.unique(np.r_[order[:most], order[-most:]]) if len(order) else []:
                row, column = i[flat // len(j)], j[flat % len(j)]
                rows.append((train_class, evaluation_class, row, column, effects[row, column]))
    columns = ["train_class", "evaluation_class", "train_row", "evaluation_row", "effect"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.iloc[np.argsort(-frame["effect"].abs().to_numpy(), kind="stable")]


def _write_sensitivities(writer: RunWriter, rng: np.random.Generator, n: int) -> None:
    """Write a sensitivity, its causes and its curves, over three epochs with heavier and heavier tails and by class."""
    sensitivity = rng.pareto(2, n)
    causes = np.random.default_rng(2)
    columns = {"error": np.minimum(causes.lognormal(-3, 2, n), 2**0.5), "variance": causes.lognormal(2, 0.5, n)}
    writer.add_columns("examples", {"sensitivity": sensitivity, **columns})
    losses = {
        "loo_nll": np.array([1.0, 0.6, 0.7]),
        "test_nll": np.array([0.9, 0.65, 0.7]),
        "training": 1 / np.arange(1, 4),
    }
    writer.write_curve("loo_nll", curve_points([1, 2, 3], losses))
    by_class = {"without the class": rng.uniform(1, 3, 10), "training": rng.uniform(0, 1, 10)}
    writer.write_curve("loco", curve_points(range(10), by_class))
    order = np.sort(sensitivity)[::-1][:: max(1, n // 60)]
    shares = 100 * (np.arange(len(order)) + 0.5) / len(order)
    groups = {f"after epoch {epoch}": order**epoch for epoch in (1, 2, 3)}
    writer.write_curve("sensitivity_groups", curve_points(shares, groups))


def _write_evidence(writer: RunWriter) -> None:
    """Write what shows how far to trust the scores: wrong labels, near-duplicates, a verification, a summarization."""
    examples = read_table(writer.path, "examples")
    changed = examples["label_name"] != examples["original_label"]
    write_detection(writer, torch.tensor(changed.to_numpy(copy=True)))
    with writer.path_for("near_duplicates.parquet") as path:
        first, second = examples["id"].iloc[[0, 2]], examples["id"].iloc[[1, 3]]
        pairs = {"id": first.to_numpy(), "other": second.to_numpy(), "similarity": [1.0, 0.99], "same_label": False}
        pd.DataFrame(pairs).to_parquet(path, index=False)
    writer.add_column("examples", "nearest_similarity", np.linspace(0.5, 1, len(examples)))
    writer.describe("nearest_similarity", {"near_duplicates": 2}, ["nearest_similarity"])
    _write_verification(writer)
    _write_summary(writer)


def _write_summary(writer: RunWriter) -> None:
    """Write accuracies that fall from 0.9 as more is removed, and an order of removal by F-SI."""
    fractions = np.arange(10) / 10
    falls = {"bottom": 0.2, "bottom iterative": 0.1, "top": 0.6, "random": 0.3}
    accuracy = {name: 0.9 - fall * fractions for name, fall in falls.items()}
    writer.write_curve("summarization", curve_points(100 * fractions, accuracy))
    linear = {name: values + 0.01 for name, values in accuracy.items()}
    writer.write_curve("summarization_linear", curve_points(100 * fractions, linear))
    order = np.argsort(read_table(writer.path, "examples")["fsi"].to_numpy(), kind="stable")
    writer.add_column("examples", "summary_rank", np.argsort(order))
    retrained = {name: [values.tolist(), (0.01 + 0.02 * fractions).tolist()] for name, values in accuracy.items()}
    details = {"balanced": False, "seeds": 3, "fractions": fractions.tolist(), "retrained": retrained}
    writer.describe("summarization", details, ["summary_rank"])


def _write_verification(writer: RunWriter) -> None:
    """Write a verification in which two scores agree with twelve removals except for noise."""
    rng, chosen = np.random.default_rng(0), list(range(0, 36, 3))
    estimate = {"value": 0.8, "low": 0.7, "high": 0.9}
    single = {"pearson": estimate, "spearman": estimate, "examples": len(chosen)}
    methods, points = {}, []
    for name, truth, lds in (("fsi", "output_change", None), ("influence", "loss_change", estimate)):
        by_example = {"by_example": single, "by_example_ceiling": 0.96}
        methods[name] = {"truth": truth, "single": single, "ceiling": 0.95, "lds": lds, **by_example}
        if name == "influence":
            methods[name]["strongest"] = {"pairs": 400, "spearman": 0.66, "signs": 0.81, "ceiling": 0.9}
        predicted = rng.normal(0, 1e-3, len(chosen))
        actual = 2 * predicted + rng.normal(0, 1e-3, len(chosen))
        values = {"method": name, "row": chosen, "estimate": predicted, "truth": actual, "spread": 5e-4}
        points.append(pd.DataFrame(values))
    with writer.path_for("verification.parquet") as path:
        pd.concat(points).to_parquet(path, index=False)
    found = {"methods": methods, "lds_ceiling": 0.97, "halves": 50, "seeds": 2, "chosen": chosen}
    writer.describe("verification", found)


def _summary(splits: Splits, name: str) -> DatasetSummary:
    return DatasetSummary(
        name=name,
        location=splits.location,
        class_names=splits.train.class_names,
        sizes={"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)},
        mode=splits.train.mode,
        unreadable=[Unreadable(where="broken.png", why="it is empty (zero bytes)")],
        notes=["5% of the training labels were changed on purpose; the column original_label keeps the true ones."],
        fingerprint=splits.fingerprint(),
    )


def _table(split: Dataset, rng: np.random.Generator) -> pd.DataFrame:
    names = np.asarray(split.class_names, dtype=object)
    true_labels = pd.Series(split.groups["original_label"]).map(dict(zip(names, range(10), strict=True))).to_numpy()
    labels = split.labels
    predicted = np.where(rng.random(len(split)) < 0.95, true_labels, (true_labels + 1) % 10)
    confidence = rng.beta(8, 1, len(split))
    of_label = np.where(predicted == labels, confidence, (1 - confidence) * rng.random(len(split)))
    of_other = np.where(predicted == labels, (1 - confidence) * rng.random(len(split)), confidence)
    return pd.DataFrame(
        {
            "id": split.ids,
            "label": labels,
            "label_name": names[labels],
            "original_label": names[true_labels],
            "predicted": predicted,
            "predicted_name": names[predicted],
            "confidence": confidence,
            "margin": of_label - of_other,
            "loss": -np.log(np.maximum(of_label, 1e-6)),
            "correct": predicted == labels,
        }
    )


def _scores(examples: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Return heavy-tailed scores that are larger where the label is wrong."""
    changed = (examples["label_name"] != examples["original_label"]).to_numpy()
    return np.exp(rng.normal(-6, 1.5, len(examples)) + 4 * changed)


def _class_effects(names: list[str]) -> pd.DataFrame:
    """Return effects by which each class helps itself and harms the next."""
    k = len(names)
    matrix = np.eye(k) - 0.5 * np.roll(np.eye(k), 1, axis=1)
    pairs = {"train_class": np.repeat(names, k), "evaluation_class": np.tile(names, k)}
    return pd.DataFrame({**pairs, "effect": 1e-3 * matrix.ravel(), "normalised": 2 * matrix.ravel()})


def _images(split: Dataset) -> list[Image.Image]:
    return [split[i][0] for i in range(len(split))]


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
