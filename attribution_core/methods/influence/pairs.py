"""Influence through solved gradients: ``s = (C + damping I)^{-1} g`` for one split, then inner products with the other.

The split with fewer examples is solved (the s_test order of Koh and Liang 2017; Bae et al. 2022, eq. 50). Gradients of
the other split are formed a batch and a parameter at a time, multiplied with the solved ones and discarded: ``n m p``
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

# Bytes that the solved gradients may take at a time.
HELD_BYTES = 2**30


class Inverse(Protocol):
    """An inverse of a damped curvature.

    Attributes:
        plan: Plan in whose coordinates vectors are given.
    """

    @property
    def plan(self) -> ParameterPlan:
        """Plan in whose coordinates vectors are given."""
        ...

    def solve(self, vectors: Blocks) -> tuple[Blocks, float | None]:
        """Return the inverse times vectors ``[r, numel]`` by parameter, and the largest relative residual, if any."""
        ...


def effects_on_pairs(
    model: nn.Module,
    train: InputsAndTargets,
    evaluation: InputsAndTargets,
    loss: Loss,
    inverse: Inverse,
) -> tuple[Tensor, float | None]:
    """Return ``effect[i, j]`` ``[n, m]``, and the largest residual of the solves."""
    solves_train = len(train[0]) < len(evaluation[0])
    fewer, more = (train, evaluation) if solves_train else (evaluation, train)
    solved_errors, errors = (errors_of(model, split, loss) for split in (fewer, more))
    effect = errors.new_zeros(len(errors), len(solved_errors))
    residuals = []
    size = max(1, HELD_BYTES // (inverse.plan.width * errors.element_size()))
    for start in range(0, len(solved_errors), size):
        block = slice(start, start + size)
        vectors = _gradients(model, fewer[0][block], inverse.plan, solved_errors[block])
        solved, residual = inverse.solve(vectors)
        residuals.append(residual)
        del vectors
        for where, _, rows in block_batches(model, more[0], inverse.plan, errors, "influence"):
            for name, part in rows.items():
                effect[where, block] += part[:, 0] @ solved[name].T
    effect /= len(train[0])
    return effect.T if solves_train else effect, _largest(residuals)


def effects_on_themselves(
    model: nn.Module,
    train: InputsAndTargets,
    loss: Loss,
    inverse: Inverse,
) -> tuple[Tensor, float | None]:
    """Return ``effect[i, i]`` ``[n]``, and the largest residual of the solves."""
    errors = errors_of(model, train, loss)
    effect, residuals = errors.new_zeros(len(errors)), []
    for where, _, rows in block_batches(model, train[0], inverse.plan, errors, "self-influence"):
        vectors = {name: part[:, 0] for name, part in rows.items()}
        solved, residual = inverse.solve(vectors)
        residuals.append(residual)
        for name, vector in vectors.items():
            effect[where] += (vector * solved[name]).sum(dim=1)
    return effect / len(errors), _largest(residuals)


def loss_gradients(model: nn.Module, examples: InputsAndTargets, loss: Loss, plan: ParameterPlan) -> Blocks:
    """Return the gradients of each example's loss in the plan's coordinates, by parameter ``[n, chosen]``."""
    return _gradients(model, examples[0], plan, errors_of(model, examples, loss))


def _gradients(model: nn.Module, inputs: Tensor, plan: ParameterPlan, errors: Tensor) -> Blocks:
    parts: dict[str, list[Tensor]] = {}
    with silenced():
        for _, _, rows in block_batches(model, inputs, plan, errors):
            for name, part in rows.items():
                parts.setdefault(name, []).append(part[:, 0])
    return {name: torch.cat(each) for name, each in parts.items()}


def _largest(residuals: list[float | None]) -> float | None:
    known = [each for each in residuals if each is not None]
    return max(known) if known else None
