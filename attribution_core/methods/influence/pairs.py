"""Influence through solved gradients: ``s = (C + damping I)^{-1} g`` of one side, then inner products with the other.

The side with fewer examples is solved (the s_test order of Koh and Liang 2017; Bae et al. 2022, eq. 50). Gradients of
the other are formed a batch and a parameter at a time, meet the solved ones, and are forgotten: ``n m p``
multiplications.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from attribution_core.gradients import ParameterPlan
from attribution_core.gradients.jacobian import block_batches
from attribution_core.methods.curvature.losses import Loss, errors_of
from attribution_core.methods.types import Blocks, InputsAndTargets
from attribution_core.progress import silenced

# What the solved gradients of one side may take at a time.
HELD_BYTES = 2**30


class Inverse(Protocol):
    """An inverse of a damped curvature.

    Attributes:
        plan: In whose coordinates vectors are given.
    """

    @property
    def plan(self) -> ParameterPlan:
        """In whose coordinates vectors are given."""
        ...

    def solve(self, vectors: Blocks) -> tuple[Blocks, float | None]:
        """The inverse times vectors by parameter ``[r, numel]``, and the largest relative residual if there is one."""
        ...


def effects_on_pairs(
    model: nn.Module,
    train: InputsAndTargets,
    evaluation: InputsAndTargets,
    loss: Loss,
    inverse: Inverse,
) -> tuple[Tensor, float | None]:
    """``effect[i, j]`` ``[n, m]``, and the largest residual of the solves."""
    turned = len(train[0]) < len(evaluation[0])
    solved_side, other = (train, evaluation) if turned else (evaluation, train)
    solved_errors, errors = (errors_of(model, side, loss) for side in (solved_side, other))
    effect = errors.new_zeros(len(errors), len(solved_errors))
    residuals = []
    size = max(1, HELD_BYTES // (inverse.plan.width * errors.element_size()))
    for start in range(0, len(solved_errors), size):
        block = slice(start, start + size)
        vectors = _rows(model, solved_side[0][block], inverse.plan, solved_errors[block])
        solved, residual = inverse.solve(vectors)
        residuals.append(residual)
        del vectors
        for where, _, rows in block_batches(model, other[0], inverse.plan, errors, "influence"):
            for name, part in rows.items():
                effect[where, block] += part[:, 0] @ solved[name].T
    effect /= len(train[0])
    return effect.T if turned else effect, _largest(residuals)


def effects_on_themselves(
    model: nn.Module,
    train: InputsAndTargets,
    loss: Loss,
    inverse: Inverse,
) -> tuple[Tensor, float | None]:
    """``effect[i, i]`` ``[n]``, and the largest residual of the solves."""
    errors = errors_of(model, train, loss)
    effect, residuals = errors.new_zeros(len(errors)), []
    for where, _, rows in block_batches(model, train[0], inverse.plan, errors, "self-influence"):
        vectors = {name: part[:, 0] for name, part in rows.items()}
        solved, residual = inverse.solve(vectors)
        residuals.append(residual)
        for name, vector in vectors.items():
            effect[where] += (vector * solved[name]).sum(dim=1)
    return effect / len(errors), _largest(residuals)


def loss_gradients(model: nn.Module, side: InputsAndTargets, loss: Loss, plan: ParameterPlan) -> Blocks:
    """Gradients of each example's loss in the plan's coordinates, by parameter ``[n, chosen]``."""
    return _rows(model, side[0], plan, errors_of(model, side, loss))


def _rows(model: nn.Module, inputs: Tensor, plan: ParameterPlan, errors: Tensor) -> Blocks:
    parts: dict[str, list[Tensor]] = {}
    with silenced():
        for _, _, rows in block_batches(model, inputs, plan, errors):
            for name, part in rows.items():
                parts.setdefault(name, []).append(part[:, 0])
    return {name: torch.cat(each) for name, each in parts.items()}


def _largest(residuals: list[float | None]) -> float | None:
    known = [each for each in residuals if each is not None]
    return max(known) if known else None
