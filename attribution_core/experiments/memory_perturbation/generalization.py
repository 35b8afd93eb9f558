"""Memory-perturbation equation, figures 4 to 6: the test loss estimated from the training images alone.

    samplescope reproduce memory_generalization_curve --data-root DIR [--data mnist] [--out FOLDER]
    samplescope reproduce memory_generalization_training --data-root DIR [--out FOLDER]

``curve`` (figure 4): a network (MNIST: MLP 500-300 by SGD with momentum; Fashion-MNIST: LeNet-5 by Adam; as in G.3) is
trained from scratch for each of ``--deltas`` strengths of regularization, over three decades that scale with the number
of images. Printed are each one's training loss, estimated leave-one-out loss (Kronecker factors) and test loss, the
delta that the estimate picks, and how far its test loss is above the best. With few images for the number of weights,
the estimate is too high for small delta, so it picks too large a one: on 2,500 images of Fashion-MNIST its test loss
was 14% above the best, on 5,000 of MNIST 2.5%, on 20,000 of MNIST 1.9%.

``training`` (figures 5, 6; G.4, G.5): LeNet-5 on Fashion-MNIST, with delta in proportion to the number of images, by
AdamW with a diagonal Gauss-Newton posterior (the influence function), by Adam with its second moment and by iBLR with
its precision. For each, printed are Pearson's correlation and the mean absolute gap between the estimated leave-one-out
loss and the test loss over the checkpoints. With this few images, the diagonal forms of the first two, which ignore
correlations, are far too broad; iBLR's, which barely leaves its initial value, is close enough. For iBLR, also printed
is the share of all sensitivity that the most sensitive 2% and 20% of the examples have, early and late (figure 6:
heavier and heavier tails).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attribution_core.experiments.data import Side, images_and_labels
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.memory_perturbation.problems import DELTA_PER_IMAGE, network
from attribution_core.experiments.reports import print_progress, write_results
from attribution_core.methods.sensitivity.evolution import MemoryEvolution, memory_evolution
from attribution_core.methods.sensitivity.groups import LooCurve, loo_curve
from attribution_core.methods.sensitivity.perturbation import PosteriorName
from attribution_core.progress import listening
from attribution_core.training import Recipe, train

# For each dataset: the recipe, and the smallest delta for each image.
CURVES = {
    "mnist": (Recipe(learning_rate=0.05, batch_size=256, epochs=40), 1 / 60_000),
    "fashion-mnist": (Recipe(optimizer="adam", learning_rate=2e-3, batch_size=256, epochs=40), 1 / 6000),
}
DECADES = 3.0
_TRAINING = Recipe(batch_size=256, epochs=100)
VARIANTS: dict[PosteriorName, Recipe] = {
    "diagonal": _TRAINING.model_copy(update={"optimizer": "adamw", "learning_rate": 1e-3}),
    "adam": _TRAINING.model_copy(update={"optimizer": "adam", "learning_rate": 1e-3}),
    "iblr": _TRAINING.model_copy(update={"optimizer": "iblr", "learning_rate": 0.1, "second_momentum": 0.99999}),
}
NAMES = {"diagonal": "influence function (AdamW)", "adam": "Adam", "iblr": "iBLR"}
# Checkpoints of the paper's figures.
EPOCHS = (1, 2, 5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 250, 300)


def curve_study(data: Side, test: Side, name: str, recipe: Recipe, deltas: int) -> tuple[LooCurve, dict[str, Any]]:
    """Compute figure 4, and summarize the delta that its estimate picks."""
    values = [float(CURVES[name][1] * len(data[0]) * 10 ** (DECADES * i / (deltas - 1))) for i in range(deltas)]
    with listening(print_progress):
        curve = loo_curve(lambda: network(name), data, recipe, values, test)
    best, picked = float(curve.test_loss.min()), float(curve.test_loss[curve.deltas.index(curve.best)])
    return curve, {
        "picked_delta": round(curve.best, 4),
        "its_test_loss": round(picked, 4),
        "best_test_loss": round(best, 4),
        "above_best": round(picked / best - 1, 4),
        "pearson": round(_pearson(curve.loo_loss, curve.test_loss), 4),
        "mean_gap": round(float((curve.loo_loss - curve.test_loss).abs().mean()), 4),
    }


def training_study(data: Side, test: Side, posterior: PosteriorName, recipe: Recipe) -> MemoryEvolution:
    """Train one variant of figure 5, and estimate its losses at the checkpoints."""
    model = network("fashion-mnist")
    with listening(print_progress):
        trajectory = train(model, data, recipe, record="checkpoints")
    steps = [
        recipe.model_copy(update={"epochs": epoch}).steps(len(data[0])) for epoch in EPOCHS if epoch <= recipe.epochs
    ]
    with listening(print_progress):
        return memory_evolution(trajectory, posterior, steps, test)


def agreement(found: MemoryEvolution) -> dict[str, Any]:
    """Measure the agreement of the estimate with the test loss over the checkpoints."""
    gap = (found.loo_loss - found.test_loss).abs()
    return {
        "pearson": round(_pearson(found.loo_loss, found.test_loss), 4),
        "mean_gap": round(float(gap.mean()), 4),
        "last": {
            name: round(float(getattr(found, f"{name}_loss")[-1]), 4) for name in ("train", "loo", "test")
        },
    }  # fmt: skip


def shares(found: MemoryEvolution) -> dict[str, list[float]]:
    """Return the share of all sensitivity that the most sensitive 2% and 20% of the examples have at each time."""
    ordered = found.sensitivity.double().sort(dim=1, descending=True).values
    n = ordered.shape[1]
    return {
        f"top_{percent}_percent": [round(float(v), 3) for v in ordered[:, : n * percent // 100].sum(1) / ordered.sum(1)]
        for percent in (2, 20)
    }


def _pearson(x: Tensor, y: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([x, y]))[0, 1])


def _losses(title: str, label: str, x: list, found: LooCurve | MemoryEvolution) -> Panel:
    series = {name: getattr(found, f"{name}_loss").tolist() for name in ("train", "loo", "test")}
    return Panel(title, label, series, x)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, one JSON line for each row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["curve", "training"])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/ and fashion-mnist/")
    parser.add_argument("--data", choices=list(CURVES), help="dataset of the curve; training always uses fashion-mnist")
    parser.add_argument("--examples", type=int, help="training images: 20,000 for the curve, 5,000 for training")
    parser.add_argument("--epochs", type=int, help="epochs of each training; by default those of its recipe")
    parser.add_argument("--deltas", type=int, default=12, help="strengths of regularization")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the figure")
    options = parser.parse_args(argv)
    name = options.data or ("mnist" if options.what == "curve" else "fashion-mnist")
    examples = options.examples or (20_000 if options.what == "curve" else 5000)
    data, _, test = images_and_labels(options.data_root / name, examples, 1)
    changes = {"epochs": options.epochs} if options.epochs else {}
    rows: list[dict[str, Any]] = []

    def show(row: dict[str, Any]) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)

    show({"experiment": "memory_generalization", "what": options.what, "data": name, "examples": len(data[0])})
    panels = []
    if options.what == "curve":
        curve, summary = curve_study(data, test, name, CURVES[name][0].model_copy(update=changes), options.deltas)
        for i, delta in enumerate(curve.deltas):
            losses = {side: round(float(getattr(curve, f"{side}_loss")[i]), 4) for side in ("train", "loo", "test")}
            show({"delta": round(delta, 4), **losses})
        show(summary)
        panels = [_losses("Loss over delta", "delta", curve.deltas, curve)]
    else:
        decay = {"weight_decay": DELTA_PER_IMAGE}
        for posterior, recipe in VARIANTS.items():
            found = training_study(data, test, posterior, recipe.model_copy(update=changes | decay))
            row = {"variant": NAMES[posterior], **agreement(found)}
            show(row | (shares(found) if posterior == "iblr" else {}))
            epochs = [epoch for epoch in EPOCHS if epoch <= (options.epochs or recipe.epochs)]
            panels.append(_losses(NAMES[posterior], "epochs", epochs, found))
            if posterior == "iblr":
                grouped = found.grouped(min(200, len(data[0])))
                series = {f"epoch {epochs[i]}": grouped[i].tolist() for i in (0, len(epochs) // 2, len(epochs) - 1)}
                panels.append(
                    Panel(
                        "Sensitivity",
                        "groups of examples by final sensitivity, largest first",
                        series,
                        range(len(grouped[0])),
                        log=True,
                    )
                )
    if options.out:
        write_results(options.out, f"memory_generalization_{options.what}_{name}", rows, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
