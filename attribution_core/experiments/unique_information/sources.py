"""Unique information, figure 2a: which of two sources of digits is more informative in one task.

    samplescope reproduce information_of_sources --data-root DIR [--seeds 3] [--out FOLDER]

The task has ten digits, 1,000 training and 1,000 validation images (500 of each from MNIST and 500 from another
source), t = 20,000 and eta = 0.0001 (appendix A.8). The paper takes street numbers (SVHN) as the other source and a
pretrained ResNet-18: SVHN images are much more informative, which it attributes to their greater variety.

Here the network is the paper's one hidden layer of 1,024 units at its initial weights, and all images are grayscale
with pixels in 0..1. Two other sources replace SVHN:

* ``small``: scikit-learn's digits of 8 x 8 pixels, resized to 28. They are similar to each other, blurred and centered,
  so MNIST, if anything, has more variety, and the opposite order is expected.
* ``photographs``: other MNIST digits, as their absolute difference from a random patch of a CIFAR-10 photograph. Like
  SVHN they have backgrounds and any contrast.

Variety is the mean distance from a training image to the nearest other one with the same source and digit. The
statement **holds** if, at 100 t (see :mod:`~attribution_core.experiments.unique_information.common`), for both sources
and with every seed, whichever of the two has more variety has the higher mean F-SI. A seed draws the images and the
initial weights. Two minutes on one core.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from attribution_core.datasets import as_tensors, open_dataset
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
from attribution_core.models import build_model

STATEMENT = "SVHN examples, the source with more variety, are much more informative than MNIST examples"
STEPS, RATE = 20_000, 0.0001
OTHERS = ("small", "photographs")


def some_of(path: Path, count: int, generator: torch.Generator) -> Side:
    """Draw grayscale training images of a dataset: ``[count, 1, side, side]`` in 0..1, and their labels."""
    train = open_dataset(path).train
    chosen = torch.randperm(len(train), generator=generator)[:count]
    images, labels = as_tensors(train.subset(chosen.numpy()), size=None, statistics=None)
    return images.mean(dim=1, keepdim=True), labels


def small_digits(count: int, generator: torch.Generator) -> Side:
    """Draw scikit-learn's digits, resized to 28 pixels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    chosen = torch.randperm(len(found.target), generator=generator)[:count]
    images = torch.from_numpy(found.images).float()[chosen, None] / 16
    resized = F.interpolate(images, size=28, mode="bilinear", align_corners=False)
    return resized, torch.from_numpy(found.target)[chosen].long()


def on_photographs(digits: Tensor, photographs: Tensor, generator: torch.Generator) -> Tensor:
    """Return the absolute difference between digits and random patches of photographs, ``[n, 1, side, side]``."""
    side, room = digits.shape[-1], photographs.shape[-1] - digits.shape[-1] + 1
    corners = torch.randint(room, (len(digits), 2), generator=generator).tolist()
    patches = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(photographs, corners, strict=True)]
    return (digits - torch.stack(patches)).abs()


def two_sources(data_root: Path, other: str, count: int, seed: int) -> tuple[Side, Side]:
    """Draw ``2 count`` images of MNIST and as many of the other source."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = some_of(data_root / "mnist", 4 * count, generator)
    mnist = (images[: 2 * count], labels[: 2 * count])
    if other == "small":
        return mnist, small_digits(2 * count, generator)
    photographs, _ = some_of(data_root / "cifar10", 2 * count, generator)
    return mnist, (on_photographs(images[2 * count :], photographs, generator), labels[2 * count :])


def variety(side: Side) -> float:
    """Return the mean distance to the nearest other image of the same class, for pixels in 0..1."""
    flat, labels = side[0].flatten(1), side[1]
    distances = torch.cdist(flat, flat)
    distances[labels[:, None] != labels] = torch.inf
    distances.fill_diagonal_(torch.inf)
    nearest = distances.min(dim=1).values
    return float(nearest[nearest.isfinite()].mean())


def compared(mnist: Side, other: Side, units: int, seed: int) -> tuple[list[dict[str, float]], Tensor]:
    """Compare the F-SI of the other source with that of MNIST, each split in half for training and validation.

    Returns:
        The numbers at t and at ``LONGER`` t, and the scores at ``LONGER`` t, ``[n]``.
    """
    half = len(mnist[0]) // 2
    train, validation = (
        (torch.cat([mnist[0][part], other[0][part]]), torch.cat([mnist[1][part], other[1][part]]))
        for part in (slice(None, half), slice(half, None))
    )
    model = build_model("mlp", 10, train[0].shape[1:], [units], seed=seed)
    scores = information(model, train, validation, RATE, [STEPS, LONGER * STEPS], sketched=True)
    first, second = (variety((side[0][:half], side[1][:half])) for side in (other, mnist))
    rows = [two_groups(each, torch.arange(2 * half) >= half) for each in scores]
    return [row | {"variety": first, "variety_of_mnist": second} for row in rows], scores[1]


def follows_variety(row: dict[str, float]) -> bool:
    """Return whether the source with more variety has the higher mean F-SI."""
    return (row["variety"] > row["variety_of_mnist"]) == (row["mean"] > row["mean_of_others"])


def main(argv: Sequence[str] | None = None) -> int:
    """Print a JSON line for each source and time and one with the verdict; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/ and cifar10/")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument(
        "--examples", type=int, default=500, help="training images of each source; as many for validation"
    )
    parser.add_argument("--units", type=int, default=1024, help="units in the hidden layer")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(argv)
    results, panels = {}, []
    follows: dict[str, list[bool]] = {"t": [], f"{LONGER} t": []}
    for other in OTHERS:
        runs = []
        for seed in range(options.seeds):
            runs.append(compared(*two_sources(options.data_root, other, options.examples, seed), options.units, seed))
            print_progress(seed + 1, options.seeds, f"MNIST and {other}")
        for index, time in enumerate(follows):
            rows = [found[index] for found, _ in runs]
            follows[time].append(all(follows_variety(row) for row in rows))
            results[f"{other}, {time}"] = over_seeds(rows)
            line = {"experiment": "information_of_sources", "other": other, "time": time, **over_seeds(rows)}
            print(json.dumps(line), flush=True)
        scores = runs[-1][1]
        groups = {"MNIST": scores[: options.examples], other: scores[options.examples :]}
        panels.append(histogram(f"MNIST and {other}, after {LONGER} t", groups))
    verdict = {
        "statement": STATEMENT,
        "holds": all(follows[f"{LONGER} t"]),
        "holds_at_t": all(follows["t"]),
        "ratio": {name: row["ratio"] for name, row in results.items()},
    }
    conclude("information_of_sources", options, {"rows": results}, verdict, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
