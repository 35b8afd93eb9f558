"""Do predicted effects foretell what retraining shows?"""

import torch
from scipy.stats import spearmanr
from torch import Tensor

from attribution_core.errors import InputError


def linear_datamodelling_score(effects: Tensor, removed: Tensor, losses: Tensor) -> Tensor:
    """LDS (Park et al. 2023, TRAK, definition 2.3): rank correlation of predicted with real losses over subsets.

    The prediction for a subset is the sum of the effects of the examples that it lacks.

    Args:
        effects: ``effect[i, j]``, ``[n, m]``.
        removed: Which training examples each retraining lacked, bool ``[subsets, n]``.
        losses: Loss on each evaluation example after it, ``[subsets, m]``, best averaged over seeds.

    Returns:
        Spearman's correlation over the subsets for each evaluation example, ``[m]``, float64; 0 where the prediction or
        the loss does not vary.

    Raises:
        InputError: Fewer than three subsets, or shapes that do not belong together.
    """
    subsets, n = removed.shape
    if subsets < 3 or effects.shape != (n, losses.shape[1]) or len(losses) != subsets:
        raise InputError(
            f"Expected effects [n, m], removed [subsets, n] and losses [subsets, m] with 3 subsets or more; given "
            f"{list(effects.shape)}, {list(removed.shape)} and {list(losses.shape)}."
        )
    predicted = removed.double().cpu() @ effects.double().cpu()
    real = losses.double().cpu()
    scores = torch.zeros(real.shape[1], dtype=torch.float64)
    for j in range(real.shape[1]):
        if predicted[:, j].min() < predicted[:, j].max() and real[:, j].min() < real[:, j].max():
            scores[j] = float(spearmanr(predicted[:, j], real[:, j])[0])
    return scores
