"""Training again on parts of the data, as the experiments need it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from attribution_core.experiments.data import Side
from attribution_core.progress import Progress
from attribution_core.training import Recipe, loss_values, outputs_of, train


def random_halves(examples: int, count: int, seed: int = 0) -> Tensor:
    """Which examples are kept in each of ``count`` random halves, bool ``[count, examples]``."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(count, examples, dtype=torch.bool)
    for row in kept:
        row[torch.randperm(examples, generator=generator)[: examples // 2]] = True
    return kept


def between_seeds(losses: Tensor) -> float | None:
    """How far retraining agrees with itself, which no estimate can pass by much; None for a single seed.

    Args:
        losses: ``[seeds, subsets, m]``, as :func:`losses_after` gives them.

    Returns:
        Rank correlation over subsets of the first seed's losses with the second's, averaged over evaluation examples.
    """
    if len(losses) < 2:
        return None
    pairs = zip(losses[0].T, losses[1].T, strict=True)
    return round(sum(float(spearmanr(one, other)[0]) for one, other in pairs) / losses.shape[2], 4)


def losses_after(
    build: Callable[[int], nn.Module],
    data: Side,
    evaluation: Side,
    recipe: Recipe,
    removed: Tensor,
    seeds: int,
    progress: Progress | None = None,
    kept_in: Path | None = None,
) -> Tensor:
    """Loss on each evaluation example after training without some examples, ``[seeds, subsets, m]``.

    Args:
        build: A model with fresh weights from a seed.
        data: Training examples.
        evaluation: Evaluation examples.
        recipe: Of each training; its seed is replaced.
        removed: Bool ``[subsets, n]``.
        seeds: How many trainings for each subset, from other weights and in another order.
        progress: Called with (done, total, what).
        kept_in: A ``.npy`` file that takes each training's losses as it ends, so that a command that was stopped goes
            on where it was. Give another file whenever anything else changes.
    """
    shape = (seeds, len(removed), len(evaluation[0]))
    losses = np.full(shape, np.nan, dtype=np.float32) if kept_in is None else _opened(kept_in, shape)
    done = 0
    for seed in range(seeds):
        for subset, gone in enumerate(removed):
            if np.isnan(losses[seed, subset]).any():
                model = build(seed)
                train(model, (data[0][~gone], data[1][~gone]), recipe.model_copy(update={"seed": seed}))
                after = loss_values(outputs_of(model, evaluation[0]), evaluation[1], recipe.loss)
                losses[seed, subset] = after.cpu().numpy()
            done += 1
            if progress:
                progress(done, shape[0] * shape[1], "retraining")
    return torch.from_numpy(np.array(losses))


def _opened(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """The file as an array; NaN where there is nothing yet."""
    if path.exists():
        losses = np.lib.format.open_memmap(path, mode="r+")
        if losses.shape == shape:
            return losses
    path.parent.mkdir(parents=True, exist_ok=True)
    losses = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    losses[:] = np.nan
    return losses
