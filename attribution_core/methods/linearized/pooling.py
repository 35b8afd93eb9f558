r"""Several models that judge the same labels, pooled to one.

With the log probabilities ``log p_j [n, k]`` of each model for examples that it did not see, the pool is

    p proportional to prod_j p_j^{w_j},    w_j >= 0,

with the weights of the least mean ``-log p[label]``, a convex problem in as many unknowns as there are models. Weights
are not negative, since differences between models of almost the same outputs could tell which example was left out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Zero would leave no shares where nothing can be told, and labels that are told without error have no best weights.
_WEIGHTS = (1e-3, 10.0)


def pool_weights(log_probabilities: Sequence[Tensor], labels: Tensor) -> list[float]:
    """Return the weight of each model in the pool; one model alone has weight one.

    Args:
        log_probabilities: Of each model, for examples that it did not see, ``[n, k]``.
        labels: Their given classes, int64 ``[n]``.
    """
    if len(log_probabilities) == 1:
        return [1.0]
    from scipy.optimize import minimize  # here, since one model needs none and loading takes time

    models = torch.stack(list(log_probabilities)).double()
    given = models[:, torch.arange(len(labels)), labels].mean(dim=1)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        along = torch.from_numpy(weights).to(models)
        pooled = torch.einsum("j,jnk->nk", along, models)
        expected = torch.einsum("nk,jnk->j", pooled.softmax(dim=1), models) / len(labels)
        return float(pooled.logsumexp(dim=1).mean() - along @ given), (expected - given).cpu().numpy()

    start = np.full(len(models), _WEIGHTS[0])  # where a model that tells nothing stays
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[_WEIGHTS] * len(models))
    return [float(weight) for weight in found.x]


def pooled(log_probabilities: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the log probabilities of the pool, ``[n, k]``."""
    total = sum((weight * each for weight, each in zip(weights, log_probabilities, strict=True)), start=torch.zeros(()))
    return total.log_softmax(dim=1)
