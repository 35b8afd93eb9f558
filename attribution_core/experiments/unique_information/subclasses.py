"""Unique information, figure 9: an under-sampled subclass is more informative than the rest of its class.

    samplescope reproduce information_of_subclasses --data-root DIR [--seeds 3] [--out FOLDER]

The task is CIFAR-10, pets against deer. The class of pets is 4,000 dogs and 200 cats, which the labels do not
distinguish, and there are 4,000 deer; t = 10,000 and eta = 0.0001 (appendix A.6). The paper: cats have more unique
information than dogs on average. The paper uses a pretrained ResNet-18. Here the network is LeNet-5 trained on the
seven other classes of CIFAR-10, with a new head of one output; all its weights are linearized, with the Kronecker
sketch above 2,000 images. Validation uses test images in the same proportions, a quarter as many.

Cats may be more informative than dogs whatever their number, so the experiment also runs the other way around, with
4,000 cats and 200 dogs. The statement **holds** if, at 100 t (see
:mod:`~attribution_core.experiments.unique_information.common`), in both cases and with every seed, the mean F-SI of the
under-sampled subclass is above that of the other. ``auc`` is the probability that one of its examples scores higher
than one of the other pets. A seed draws the images and the network. Four minutes on one core.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from attribution_core.datasets import Splits, open_dataset
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
from attribution_core.experiments.unique_information.pretraining import CLASSES, drawn, pretrained, with_new_head

STATEMENT = (
    "under-sampled cats have on average more unique information than dogs, even if they belong to the same class"
)
STEPS, RATE = 10_000, 0.0001
TASK = ("cat", "dog", "deer")
MANY, FEW, EXACT_UP_TO = 4000, 200, 2000


def pets_against_deer(splits: Splits, rare: str, share: float, seed: int) -> tuple[Side, Tensor, Tensor, Side]:
    """Draw the problem with one of the two pets under-sampled.

    Args:
        splits: CIFAR-10.
        rare: The under-sampled pet.
        share: Share of the paper's numbers of images.
        seed: Seed of the draw.

    Returns:
        Training images with labels (1 for pets), masks of the pets and of the rare pets, both bool ``[n]``, and
        validation images with labels.
    """
    counts = {name: round(share * (FEW if name == rare else MANY)) for name in TASK}
    inputs, kinds = drawn(splits.train, counts, seed)
    fewer = {name: max(1, count // 4) for name, count in counts.items()}
    held_out, other_kinds = drawn(splits.test, fewer, seed)
    deer = CLASSES.index("deer")
    pets = kinds != deer
    return (inputs, pets.long()), pets, kinds == CLASSES.index(rare), (held_out, (other_kinds != deer).long())


def decide(rows: Sequence[dict[str, float]]) -> bool:
    """Return whether the under-sampled subclass always has the higher mean."""
    return all(row["ratio"] > 1 for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a JSON line for each rare subclass and time and one with the verdict; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds cifar10/")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--share", type=float, default=1.0, help="share of the paper's 8,200 images")
    parser.add_argument("--pretraining", type=int, default=10_000, help="images of the other classes to pretrain on")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(argv)
    splits = open_dataset(options.data_root / "cifar10")
    times = {"t": STEPS, f"{LONGER} t": LONGER * STEPS}
    rows: dict[tuple[str, str], list[dict[str, float]]] = {(rare, t): [] for rare in TASK[:2] for t in times}
    panels = []
    for seed in range(options.seeds):
        body = pretrained("lenet5", splits.train, TASK, options.pretraining, seed)
        for rare in TASK[:2]:
            data, pets, few, validation = pets_against_deer(splits, rare, options.share, seed)
            found = information(
                with_new_head(body, 1, seed), data, validation, RATE, list(times.values()), len(pets) > EXACT_UP_TO
            )
            for t, scores in zip(times, found, strict=True):
                rows[rare, t].append(two_groups(scores[pets], few[pets]))
            if seed == options.seeds - 1:
                groups = {f"{rare}s, few": scores[few], "other pets": scores[pets & ~few], "deer": scores[~pets]}
                panels.append(histogram(f"Few {rare}s, after {LONGER} t", groups))
        print_progress(seed + 1, options.seeds, "seeds")
    results = {}
    for (rare, t), each in rows.items():
        results[f"few {rare}s, {t}"] = over_seeds(each)
        line = {"experiment": "information_of_subclasses", "rare": rare, "time": t, **over_seeds(each)}
        print(json.dumps(line), flush=True)
    holds = {t: decide([row for rare in TASK[:2] for row in rows[rare, t]]) for t in times}
    last = {"statement": STATEMENT, "holds": holds[f"{LONGER} t"], "holds_at_t": holds["t"]}
    ratios = {name: each["ratio"] for name, each in results.items()}
    conclude("information_of_subclasses", options, {"rows": results}, {**last, "ratio": ratios}, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
