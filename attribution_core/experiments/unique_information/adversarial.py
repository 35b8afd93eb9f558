"""Unique information, figure 10: adversarial examples are more informative than the others.

    samplescope reproduce information_of_adversarial --data-root DIR [--seeds 5] [--out FOLDER]

The task is cats against dogs with 1,000 training images. A pretrained network is fine-tuned on them. For 10% of them,
the fast gradient sign method with epsilon 0.01 makes an adversarial example that this network gets wrong, and the
example replaces the original. F-SI is then that of the pretrained network with a new head, at t = 1,000 and
eta = 0.001. The paper: adversarial examples are on average more informative than normal ones, and F-SI can detect them.

The paper has Kaggle's photographs and a ResNet-18 pretrained on ImageNet. Here the images are CIFAR-10's, of 32 pixels,
and the network is LeNet-5 (or, with ``--network cnn4``, the paper's four-layer CNN, which takes ten times as long)
trained on the eight other classes, with all its weights linearized; epsilon applies to pixels from 0 to 1; validation
uses 1,000 other images. The method succeeds only on images near the decision boundary, and these may be informative to
begin with. So the numbers of the adversarial examples are printed beside those of the same images before the
perturbation, in the original training set.

The statement **holds** if, at 100 t (see :mod:`~attribution_core.experiments.unique_information.common`), with every
seed, the adversarial examples have the higher mean and an area under the ROC curve (``auc``) above 1/2.
``beyond_the_choice`` says whether, with every seed, that area is also above that of the same images before the
perturbation. A seed draws the images and the network. Three minutes on one core.
"""

import argparse
import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from attribution_core.experiments.data import Side
from attribution_core.experiments.reports import print_progress
from attribution_core.experiments.unique_information.common import (
    LONGER,
    conclude,
    histogram,
    information,
    over_seeds,
    two_groups,
)
from attribution_core.experiments.unique_information.pretraining import cats_and_dogs, pretrained, with_new_head
from attribution_core.training import Recipe, outputs_of, train

STATEMENT = "adversarial examples are on average more informative than normal ones, and F-SI can detect them"
STEPS, RATE, EPSILON, SHARE = 1000, 0.001, 0.01, 0.1
TASK, FORMS = ("cat", "dog"), ("before", "adversarial")
FINE_TUNING = Recipe(learning_rate=0.01, epochs=10)


def perturbed(model: nn.Module, data: Side, epsilon: float) -> Tensor:
    """Move images by the fast gradient sign method (Goodfellow et al. 2015), which raises their loss.

    Args:
        model: A network with one output, the logit of class 1.
        data: Images with pixels in -1..1, and their labels.
        epsilon: Distance that each pixel moves, on a scale from 0 to 1.
    """
    inputs = data[0].clone().requires_grad_()
    loss = F.binary_cross_entropy_with_logits(model(inputs)[:, 0], data[1].float(), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, inputs)
    return (data[0] + 2 * epsilon * gradient.sign()).clamp(-1, 1)


def adversarial(model: nn.Module, data: Side, count: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Perturb at most the first ``count`` images that the model gets right as they are and wrong when perturbed.

    Returns:
        All images, with these in their adversarial form, and a mask of the perturbed ones, bool ``[n]``.

    Raises:
        InputError: No image becomes adversarial.
    """
    moved = perturbed(model, data, epsilon)
    right, still = ((outputs_of(model, images)[:, 0] > 0) == (data[1] == 1) for images in (data[0], moved))
    chosen = torch.zeros(len(data[1]), dtype=torch.bool)
    chosen[(right & ~still).nonzero()[:count, 0]] = True
    if not chosen.any():
        raise InputError(f"No image becomes adversarial when its pixels move by {epsilon:g}. Give a larger --epsilon.")
    return torch.where(chosen[:, None, None, None], moved, data[0]), chosen


def decide(rows: Sequence[dict[str, float]]) -> bool:
    """Return whether the adversarial examples have the higher mean and are detectable with every seed."""
    return all(row["ratio"] > 1 and row["auc"] > 0.5 for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a JSON line for each form of the images and time and one with the verdict; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds cifar10/")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--examples", type=int, default=1000, help="training images; as many for validation")
    parser.add_argument("--pretraining", type=int, default=10_000, help="images of the other classes to pretrain on")
    parser.add_argument(
        "--epsilon", type=float, default=EPSILON, help="size of the perturbation, on a scale from 0 to 1"
    )
    parser.add_argument("--network", choices=["lenet5", "cnn4"], default="lenet5")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(argv)
    splits = open_dataset(options.data_root / "cifar10")
    times = {"t": STEPS, f"{LONGER} t": LONGER * STEPS}
    rows: dict[tuple[str, str], list[dict[str, float]]] = {(form, t): [] for form in FORMS for t in times}
    for seed in range(options.seeds):
        body = pretrained(options.network, splits.train, TASK, options.pretraining, seed)
        data = cats_and_dogs(splits.train, options.examples, seed)
        validation = cats_and_dogs(splits.validation, options.examples, seed)
        model = with_new_head(body, 1, seed)
        tuned = copy.deepcopy(model)
        train(tuned, data, FINE_TUNING.model_copy(update={"seed": seed}))
        images, chosen = adversarial(tuned, data, round(SHARE * options.examples), options.epsilon)
        for form, inputs in zip(FORMS, (data[0], images), strict=True):
            scores = information(model, (inputs, data[1]), validation, RATE, list(times.values()))
            for t, values in zip(times, scores, strict=True):
                rows[form, t].append(two_groups(values, chosen) | {"chosen": float(chosen.sum())})
        print_progress(seed + 1, options.seeds, "seeds")
    results = {f"{form}, {t}": over_seeds(each) for (form, t), each in rows.items()}
    for name, row in results.items():
        print(json.dumps({"experiment": "information_of_adversarial", "images": name, **row}), flush=True)
    before, after = (rows[form, f"{LONGER} t"] for form in FORMS)
    verdict = {
        "statement": STATEMENT,
        "holds": decide(after),
        "holds_at_t": decide(rows["adversarial", "t"]),
        "beyond_the_choice": all(row["auc"] > old["auc"] for row, old in zip(after, before, strict=True)),
        "auc": {name: row["auc"] for name, row in results.items()},
        "ratio": {name: row["ratio"] for name, row in results.items()},
    }
    panel = histogram(f"Last seed, after {LONGER} t", {"adversarial": scores[1][chosen], "others": scores[1][~chosen]})
    conclude("information_of_adversarial", options, {"rows": results}, verdict, [panel])
    return 0


if __name__ == "__main__":
    sys.exit(main())
