"""Unique information, appendix A.4 and figure 5: does F-SI depend on the network, its initial weights and the time?

    samplescope reproduce information_agreement --data-root DIR [--seeds 5] [--out FOLDER]

The task is cats against dogs with 1,000 training examples and eta = 0.001. Printed is Pearson's correlation between the
F-SI scores of the same examples

* of different architectures after the same time: about 0.45 in the paper for two that are completely different
  (ResNet-50 and DenseNet-121), at t = 1,000;
* of the same pretrained network with two draws of the head: 0.364, standard deviation 0.066, at t = 1,000;
* after different training times: strong in the paper (figure 5b; the text does not give its numbers).

The paper has Kaggle's photographs and networks pretrained on ImageNet, and averages over 10 runs. Here the images are
CIFAR-10's, and the networks are a perceptron with one hidden layer of 1,024 units, LeNet-5 and the paper's own
four-layer CNN, each trained once on the eight other classes. All their weights are linearized, and validation uses 500
other images. A seed draws the head. Networks this small are compared at 100 t too (see
:mod:`~attribution_core.experiments.unique_information.common`).

The statement **holds** if, at 100 t, the mean correlation over all pairs of architectures and the mean over all pairs
of heads are both at least 0.2, about half of the paper's, and the mean over all pairs of times, from t to 1,000 t, is
at least 0.5. Four minutes on one core.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from attribution_core.datasets import Dataset, open_dataset
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import print_progress
from attribution_core.experiments.unique_information.common import LONGER, conclude, digits, information
from attribution_core.experiments.unique_information.pretraining import cats_and_dogs, pretrained, with_new_head

STATEMENT = "F-SI scores agree between architectures (about 0.45) and heads (0.36), and strongly between training times"
PAPER = {"architectures": 0.45, "heads": 0.364}
NETWORKS = ("mlp", "lenet5", "cnn4")
STEPS, RATE = 1000, 0.001
SIGNIFICANT, STRONG = 0.2, 0.5
TIMES = tuple(factor * STEPS for factor in (1, 3, 10, 30, LONGER, 300, 1000))


def pearson(rows: Tensor) -> Tensor:
    """Return the correlation of every pair of rows: ``[r, n]`` -> ``[r (r - 1) / 2]``."""
    pairs = torch.triu_indices(len(rows), len(rows), 1)
    return torch.corrcoef(rows.double())[pairs[0], pairs[1]]


def scores_of(splits: Sequence[Dataset], examples: int, images: int, seeds: int) -> dict[str, Tensor]:
    """Return the F-SI scores for each network, ``[seeds, times, n]``."""
    data, validation = cats_and_dogs(splits[0], examples, 0), cats_and_dogs(splits[1], examples // 2, 0)
    found = {}
    for name in NETWORKS:
        body = pretrained(name, splits[0], ("cat", "dog"), images, 0)
        rows = []
        for seed in range(seeds):
            rows.append(torch.stack(information(with_new_head(body, 1, seed), data, validation, RATE, TIMES)))
            print_progress(seed + 1, seeds, f"heads of {name}")
        found[name] = torch.stack(rows)
    return found


def agreement(scores: dict[str, Tensor], time: int) -> dict[str, dict[str, list[float]]]:
    """Return means and standard deviations of the correlations between architectures and between heads at one time.

    Args:
        scores: Scores by network, ``[seeds, times, n]`` each.
        time: Index into :data:`TIMES`.
    """
    found: dict[str, dict[str, list[float]]] = {"architectures": {}, "heads": {}}
    for first, second in combinations(scores, 2):
        pairs = zip(scores[first][:, time], scores[second][:, time], strict=True)
        values = torch.cat([pearson(torch.stack(pair)) for pair in pairs])
        found["architectures"][f"{first}, {second}"] = mean_and_spread(values)
    for name, values in scores.items():
        found["heads"][name] = mean_and_spread(pearson(values[:, time]))
    return found


def over_times(scores: dict[str, Tensor]) -> dict[str, list[list[float]]]:
    """Return, for each network, the correlation of every two times, averaged over the seeds (figure 5b)."""
    return {
        name: [
            [digits(value) for value in row] for row in torch.stack([run.corrcoef() for run in each]).mean(0).tolist()
        ]
        for name, each in scores.items()
    }


def mean_and_spread(values: Tensor) -> list[float]:
    """Return the mean and standard deviation of correlations; the deviation of a single one is 0."""
    return [digits(float(values.mean())), digits(float(values.std())) if len(values) > 1 else 0.0]


def decide(means: dict[str, float]) -> bool:
    """Return whether the statement holds, given the mean correlations of ``architectures``, ``heads`` and ``times``."""
    return min(means["architectures"], means["heads"]) >= SIGNIFICANT and means["times"] >= STRONG


def main(argv: Sequence[str] | None = None) -> int:
    """Print a JSON line for each time and one with the verdict; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds cifar10/")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--examples", type=int, default=1000, help="training images; half as many for validation")
    parser.add_argument("--pretraining", type=int, default=10_000, help="images of the other classes to pretrain on")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the head, at least two")
    options = parser.parse_args(argv)
    splits = open_dataset(options.data_root / "cifar10")
    scores = scores_of((splits.train, splits.validation), options.examples, options.pretraining, options.seeds)
    by_time = []
    for index, steps in enumerate(TIMES):
        by_time.append(agreement(scores, index))
        print(json.dumps({"experiment": "information_agreement", "steps": steps, **by_time[-1]}), flush=True)
    lengths = torch.cat([pearson(run) for each in scores.values() for run in each])
    means = [
        {what: sum(mean for mean, _ in pairs.values()) / len(pairs) for what, pairs in found.items()}
        for found in by_time
    ]
    decisive = {**means[TIMES.index(LONGER * STEPS)], "times": float(lengths.mean())}
    verdict = {
        "statement": STATEMENT,
        "holds": decide(decisive),
        "holds_at_t": decide({**means[0], "times": decisive["times"]}),
        "correlation": {what: digits(value) for what, value in decisive.items()},
        "correlation_at_t": {what: digits(value) for what, value in means[0].items()},
        "paper": PAPER,
    }
    series = {what: [found[what] for found in means] for what in PAPER}
    levels = {f"{what} in the paper": level for what, level in PAPER.items()}
    panel = Panel(
        "Agreement of F-SI (figure 5)", "log10 of steps", series, torch.tensor(TIMES).log10().tolist(), levels
    )
    results = {"steps": TIMES, "by_time": by_time, "between_times": over_times(scores)}
    conclude("information_agreement", options, results, verdict, [panel])
    return 0


if __name__ == "__main__":
    sys.exit(main())
