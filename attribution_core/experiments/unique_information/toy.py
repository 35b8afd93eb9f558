r"""Unique information, appendix A.1: what one example adds to the weights, and the divergence that bounds it.

    samplescope reproduce toy_unique_information [--seeds 5] [--out FOLDER]

The task has two classes of 40 points in the plane. Linear regression on targets -1 and 1 is trained by stochastic
gradient descent: 200 epochs, batches of 5, learning rate 0.1, half squared error, weights from zero. The randomness of
training is the order of the examples, reshuffled in each epoch. With all examples but one fixed and the last, ``z``,
drawn from the same two classes, the command prints

* ``information``: ``I(W; z | S_-i) = E_z KL(p(w | S_-i, z) || E_z' p(w | S_-i, z'))``; about 1.3 nats in the paper;
* ``divergence``: ``E_z KL(p(w | S_-i, z) || p(w | S_-i))``, which bounds it; about 3.0 nats in the paper;
* ``steady_state``: the divergence that sample information predicts for SGD (eqs. 13-14).

Each ``p(w | S)`` is approximated by the Gaussian with the mean and covariance of the final weights of many trainings.

The paper has one set of points and does not print the Gaussians that it was drawn from. The scale is decisive: SGD's
noise shrinks with the points' spread, so the two numbers grow from less than 0.1 at a spread of 1 to several and
hundreds at 0.1. ``CENTER`` and ``SPREAD`` were chosen so that the first set is near both of the paper's numbers at
once; over other sets the divergence varies several-fold, since a few distant points z dominate its mean. Equation 14
assumes that batches are drawn independently; shuffling within epochs cancels much of that noise along flat directions,
which is why ``steady_state`` is far smaller than the real divergence.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import write_with_options
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import sample_information
from attribution_core.methods.linearized.schedule import GradientDescent

PER_CLASS, EPOCHS, BATCH, RATE = 40, 200, 5, 0.1
CENTER, SPREAD = 0.4, 0.43
PAPER = {"the paper's information": 1.3, "the paper's divergence": 3.0}


def draw(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points ``[n, 2]`` of the given classes; return them with their targets ``[n]``."""
    targets = 2.0 * labels - 1.0
    centers = CENTER * torch.stack([targets, torch.zeros_like(targets)], dim=1)
    return centers + SPREAD * torch.randn(len(labels), 2, generator=generator), targets


def final_weights(inputs: Tensor, targets: Tensor, runs: int, epochs: int, generator: torch.Generator) -> Tensor:
    """Train linear regression by SGD in ``runs`` random orders, on several datasets at once.

    Args:
        inputs: Inputs, ``[datasets, n, d]``.
        targets: Targets, ``[datasets, n]``.
        runs: Trainings on each dataset.
        epochs: Passes over the dataset; the last batch of each may be short.
        generator: Source of the random orders.

    Returns:
        Final weights, ``[datasets, runs, d]``.
    """
    datasets, n, d = inputs.shape
    weights = torch.zeros(datasets, runs, d)
    dataset = torch.arange(datasets)[:, None, None]
    for _ in range(epochs):
        order = torch.rand(datasets, runs, n, generator=generator).argsort(dim=2)
        for start in range(0, n, BATCH):
            batch = order[:, :, start : start + BATCH]
            x, y = inputs[dataset, batch], targets[dataset, batch]
            error = torch.einsum("krbd,krd->krb", x, weights) - y
            weights = weights - RATE * torch.einsum("krb,krbd->krd", error, x) / batch.shape[2]
    return weights


def gaussians(weights: Tensor) -> MultivariateNormal:
    """Fit a Gaussian to the weights of each dataset by their moments, in float64."""
    weights = weights.double()
    mean = weights.mean(dim=1)
    centered = weights - mean[:, None]
    return MultivariateNormal(mean, centered.transpose(1, 2) @ centered / (weights.shape[1] - 1))


def information(given: MultivariateNormal) -> Tensor:
    """Estimate the mutual information of ``w`` and the index of its Gaussian, all equally likely, by 1,000 samples."""
    samples = given.sample(torch.Size((1000,)))  # [1000, k, d]
    own = given.log_prob(samples)
    each = torch.stack([component.log_prob(samples) for component in components(given)])
    mixture = each.logsumexp(dim=0) - math.log(len(each))
    return (own - mixture).mean()


def components(given: MultivariateNormal) -> list[MultivariateNormal]:
    """Split a batch of Gaussians into one distribution each."""
    pairs = zip(given.loc, given.covariance_matrix, strict=True)
    return [MultivariateNormal(mean, covariance) for mean, covariance in pairs]


def steady_state(inputs: Tensor, targets: Tensor) -> float:
    """Return the mean sample information (eqs. 13-14) of the last example of each dataset."""
    schedule = GradientDescent(1.0, math.inf, loss="mean")
    scores = []
    for x, y in zip(inputs, targets, strict=True):
        zeros = torch.zeros(len(x), 1)
        linear = LinearizedModel.from_jacobians(x[:, None], x[:1, None], zeros, zeros[:1], y[:, None], y[:1, None])
        scores.append(sample_information(linear, schedule, "sgd", learning_rate=RATE, batch_size=BATCH)[-1])
    return float(torch.stack(scores).mean())


def toy_information(seed: int, draws: int, runs: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Compute the numbers for one draw of the other 79 points.

    Args:
        seed: Seed of the points and the orders.
        draws: Number of points z; the information cannot exceed ``log draws``.
        runs: Trainings for each z.
        epochs: Epochs of each training.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # torch.distributions takes no generator
    labels = torch.arange(2 * PER_CLASS) % 2
    inputs, targets = draw(labels[:-1], generator)
    last, last_targets = draw(torch.arange(draws) % 2, generator)
    with_last = torch.cat([inputs.expand(draws, -1, -1), last[:, None]], dim=1)
    targets_with_last = torch.cat([targets.expand(draws, -1), last_targets[:, None]], dim=1)
    given = gaussians(final_weights(with_last, targets_with_last, runs, epochs, generator))
    without = gaussians(final_weights(inputs[None], targets[None], 10 * runs, epochs, generator))
    return {
        "information": float(information(given)),
        "divergence": float(kl_divergence(given, without).mean()),
        "steady_state": steady_state(with_last, targets_with_last),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line with each number for every set of points; write it with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--draws", type=int, default=100, help="number of points z")
    parser.add_argument("--runs", type=int, default=300, help="trainings for each z")
    parser.add_argument("--seeds", type=int, default=5, help="sets of points")
    options = parser.parse_args(argv)
    results = []
    for seed in range(options.seeds):
        results.append(toy_information(seed, options.draws, options.runs))
        print(f"seed {seed}: {results[-1]}", file=sys.stderr, flush=True)
    line = {name: [round(result[name], 3) for result in results] for name in results[0]}
    print(json.dumps({"experiment": "toy_unique_information", "seeds": options.seeds, **line}))
    panel = Panel(
        "What one example adds, in nats (appendix A.1)", "set of points", line, range(len(results)), PAPER, True
    )
    write_with_options(options, "toy_unique_information", line, [panel])
    return 0


if __name__ == "__main__":
    sys.exit(main())
