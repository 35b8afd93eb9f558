"""Unique information, section 7 and appendix A.7: typical examples are the least informative, in text and in a table.

    samplescope reproduce information_extremes_text --data-root DIR [--encoder FILE.npy] [--seeds 3] [--out FOLDER]
    samplescope reproduce information_extremes_table --data-root DIR [--seeds 3] [--out FOLDER]

The paper, on sentiment analysis: the least informative examples are typical and easy, the most informative ones nuanced
and hard; F-SI correlates at -0.16 with the length of a review. The paper inspects the examples themselves, so the
command prints the five most and the five least informative sentences or rows. It also measures three properties that
need no model, all among the training examples as the network receives them:

* ``disagreement``: squared difference between an example's target and the mean of its ten nearest neighbors' (hard);
* ``distance``: mean distance to these ten (rare);
* ``from_class_mean``: distance to the mean of its class, or for a table to the mean of all examples (untypical);

and ``words``, the length of a sentence. It prints Spearman's correlation of F-SI with each, over ``--seeds`` draws of
the examples and the initial weights. The statement **holds** if, with every seed, the correlations with
``disagreement`` and ``distance`` at 100 t both exceed three standard errors of no correlation, 3 / sqrt(n).

``text``: 2,000 sentences of film reviews (rt-polarity) for training and 1,000 for validation, one hidden layer of 2,000
ReLU units, one output, t = 10,000, eta = 0.003, as in the paper except for the data (there: whole reviews of IMDB as
averages of their words' 300-dimensional GloVe vectors). By default a sentence's vector holds the TF-IDF weights of its
words, reduced to 300 dimensions and scaled to norm 1. ``--encoder`` reads the vectors of another encoder from a NumPy
file with a row for each line of ``rt-polarity-negative.txt`` and then of ``rt-polarity-positive.txt``. ``table``: UCI
Concrete, 90% for training, the same network and times, squared error of the standardized strength; the paper has no
table.

The extremes printed are those at 100 t, which also decides the statement (see
:mod:`~attribution_core.experiments.unique_information.common`; vectors of norm 1 make a small kernel). Half a minute on
one core.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from attribution_core.experiments.data import Side, table
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.unique_information.common import (
    LONGER,
    conclude,
    digits,
    information,
    over_seeds,
)
from attribution_core.experiments.unique_information.film_reviews import sentences, vectors
from attribution_core.models import build_model

STATEMENT = "the least informative examples are typical and easy, the most informative ones nuanced and hard"
STEPS, RATE, NEIGHBORS, SHOWN = 10_000, 0.003, 10, 5


@dataclass(frozen=True)
class StudyProblem:
    """Hold the examples that each seed draws from.

    Attributes:
        inputs: Inputs of all examples, ``[all, d]``.
        targets: Labels 0 and 1, or values, ``[all]``.
        names: Text to print for each example.
        words: Number of words of each sentence, ``[all]``; None for a table.
        train: Number of training examples that a seed draws.
        validation: Number of validation examples that a seed draws.
    """

    inputs: Tensor
    targets: Tensor
    names: list[str]
    words: Tensor | None
    train: int
    validation: int

    def side(self, rows: Tensor) -> Side:
        """Return some of the examples in the form that the network receives."""
        targets = self.targets[rows]
        return self.inputs[rows], targets[:, None] if targets.is_floating_point() else targets


def film_reviews(data_root: Path, encoder: str, train: int) -> StudyProblem:
    """Read the film reviews, with half as many sentences for validation as for training."""
    texts, labels = sentences(data_root / "text")
    words = torch.tensor([len(text.split()) for text in texts])
    return StudyProblem(vectors(texts, encoder), labels, texts, words, train, train // 2)


def concrete(data_root: Path) -> StudyProblem:
    """Read UCI Concrete, standardized."""
    sides = table(data_root / "uci" / "concrete.txt")
    inputs, targets = (torch.cat([side[part] for side in sides]) for part in (0, 1))
    rows = [" ".join(f"{value:.1f}" for value in row) for row in inputs.tolist()]
    names = [f"{row} -> {target:.1f}" for row, target in zip(rows, targets[:, 0].tolist(), strict=True)]
    return StudyProblem(inputs, targets[:, 0], names, None, len(sides[0][0]), len(sides[1][0]))


def typicality(inputs: Tensor, targets: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Measure how hard, how rare and how untypical each example is among the others.

    Args:
        inputs: Inputs, ``[n, d]``.
        targets: Targets, ``[n]``.
        classes: Classes whose means are taken, ``[n]``; a single class for a table.

    Returns:
        ``disagreement``, ``distance`` and ``from_class_mean``, ``[n]`` each.
    """
    distances = torch.cdist(inputs, inputs).fill_diagonal_(torch.inf)
    nearest, neighbors = distances.topk(min(NEIGHBORS, len(inputs) - 1), largest=False)
    means = torch.stack([inputs[classes == each].mean(dim=0) for each in classes.unique()])
    return {
        "disagreement": (targets - targets[neighbors].mean(dim=1)).square(),
        "distance": nearest.mean(dim=1),
        "from_class_mean": (inputs - means[torch.searchsorted(classes.unique(), classes)]).norm(dim=1),
    }


@dataclass(frozen=True)
class Scored:
    """Hold the results of one seed, at t and at ``LONGER`` t.

    Attributes:
        chosen: Positions of the training examples in the task, ``[n]``.
        scores: F-SI at both times, ``[n]`` each.
        measures: Measures that need no model, by name, ``[n]`` each.
        correlations: Spearman's correlation of F-SI with each measure at both times, by name.
    """

    chosen: Tensor
    scores: list[Tensor]
    measures: dict[str, Tensor]
    correlations: list[dict[str, float]]


def scored(task: StudyProblem, units: int, seed: int) -> Scored:
    """Draw the examples and the network, and score them."""
    order = torch.randperm(len(task.targets), generator=torch.Generator().manual_seed(seed))
    chosen, others = order[: task.train], order[task.train : task.train + task.validation]
    data, targets = task.side(chosen), task.targets[chosen]
    model = build_model("mlp", 1, data[0].shape[1:], [units], seed=seed)
    scores = information(model, data, task.side(others), RATE, [STEPS, LONGER * STEPS])
    classes = torch.zeros(len(targets)) if targets.is_floating_point() else targets
    measures = typicality(data[0], targets.float(), classes)
    if task.words is not None:
        measures["words"] = task.words[chosen]
    rows = [{name: float(spearmanr(each, values)[0]) for name, values in measures.items()} for each in scores]
    return Scored(chosen, scores, measures, rows)


def decide(rows: Sequence[dict[str, float]], examples: int) -> bool:
    """Return whether hard and rare examples are more informative with every seed, beyond three standard errors."""
    return all(min(row["disagreement"], row["distance"]) > 3 / examples**0.5 for row in rows)


def extremes(task: StudyProblem, found: Scored) -> list[dict[str, Any]]:
    """List the least and then the most informative examples at ``LONGER`` t, the most extreme first."""
    scores = found.scores[1]
    order = scores.argsort()
    ends = {"least": order[:SHOWN], "most": order.flip(0)[:SHOWN]}
    rows = []
    for end, members in ends.items():
        for i in members.tolist():
            position = int(found.chosen[i])
            numbers = {"fsi": digits(float(scores[i])), "target": digits(float(task.targets[position]))}
            rows.append({"end": end, **numbers, "example": task.names[position]})
    return rows


def by_tenth(found: Scored, name: str) -> Panel:
    """Plot a measure's mean in each tenth of the examples, from the least to the most informative at ``LONGER`` t."""
    tenths = found.scores[1].argsort().tensor_split(10)
    means = [float(found.measures[name][members].mean()) for members in tenths]
    return Panel(f"Mean {name}", "tenth by F-SI, least first", {name: means}, [float(i) for i in range(1, 11)])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the extremes, a JSON line for each time and one with the verdict; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=["text", "table"])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds text/ and uci/")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--encoder", default="tfidf", help="encoder of sentences: tfidf, or a NumPy file of vectors")
    parser.add_argument("--examples", type=int, default=2000, help="training sentences")
    parser.add_argument("--units", type=int, default=2000, help="units in the hidden layer")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(argv)
    text = options.task == "text"
    task = film_reviews(options.data_root, options.encoder, options.examples) if text else concrete(options.data_root)
    runs = [scored(task, options.units, seed) for seed in range(options.seeds)]
    results: dict[str, Any] = {"extremes": extremes(task, runs[0])}
    for row in results["extremes"]:
        print(json.dumps({"experiment": "information_extremes", **row}, ensure_ascii=False), flush=True)
    holds = []
    for index, time in enumerate(("t", f"{LONGER} t")):
        correlations = [run.correlations[index] for run in runs]
        holds.append(decide(correlations, task.train))
        results[time] = over_seeds(correlations)
        print(json.dumps({"experiment": "information_extremes", "time": time, **results[time]}), flush=True)
    verdict = {
        "statement": STATEMENT,
        "holds": holds[1],
        "holds_at_t": holds[0],
        "rank_correlation": results[f"{LONGER} t"],
    }
    panels = [by_tenth(runs[0], name) for name in ("disagreement", "distance")]
    conclude(f"information_extremes_{options.task}", options, results, verdict, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
