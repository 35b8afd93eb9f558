"""Products with a curvature that is never formed: the solvers ``cg`` and ``lissa``, and the Hessian as a matrix.

curvlinops computes the products (Dangel et al. 2025, "Position: Curvature matrices should be democratized via linear
operators"): one with the Gauss-Newton matrix costs about a forward-mode and a reverse-mode pass over the data per
vector. Conjugate gradients are those of GPyTorch, called through curvlinops.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attribution_core.gradients import ParameterPlan
from attribution_core.gradients.jacobian import BATCH_BYTES
from attribution_core.gradients.per_example import layer_factors
from attribution_core.gradients.plan import as_inputs
from attribution_core.methods.curvature.columns import Curvature
from attribution_core.methods.curvature.losses import Loss
from attribution_core.methods.types import Blocks, InputsAndTargets
from attribution_core.models import evaluation_mode
from attribution_core.progress import report
from attribution_core.training import as_outputs, loss_values

# Number of vectors that are multiplied in one pass over the data.
VECTORS = 32


class _MeanLoss(nn.Module):
    """A loss module as curvlinops expects it."""

    reduction = "mean"

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return loss_values(outputs, targets, self._loss).mean()


class _RandomBatch:
    """Data that yields a new random batch in every loop over it."""

    def __init__(self, inputs: Tensor, targets: Tensor, size: int, seed: int) -> None:
        self._inputs, self._targets, self._size = inputs, targets, size
        self._generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        chosen = torch.randint(len(self._inputs), (self._size,), generator=self._generator)
        chosen = chosen.to(self._inputs.device)
        yield self._inputs[chosen], self._targets[chosen]


def curvature_operator(
    model: nn.Module,
    train: InputsAndTargets,
    plan: ParameterPlan,
    loss: Loss,
    curvature: Curvature,
    batch_size: int | None = None,
    seed: int = 0,
) -> Any:
    """Return the curvature of the mean loss as a curvlinops operator on ``[p, r]``, in the plan's parameter order.

    Args:
        model: Model at its trained weights; it must stay in evaluation mode while the operator is used.
        train: Training inputs and targets.
        plan: Plan of whole parameters.
        loss: Loss of the training.
        curvature: ``"ggn"`` or ``"hessian"``.
        batch_size: Number of examples, drawn anew for each product; None uses all examples.
        seed: Seed of these draws.
    """
    curvlinops = _curvlinops()
    named = dict(model.named_parameters())
    example = next(iter(named.values()))
    inputs, targets = as_inputs(train[0], example), train[1].to(example.device)
    if loss != "cross_entropy":
        with torch.no_grad():
            outputs = model(inputs[:1])
        targets = as_outputs(targets, outputs.shape[1]).to(outputs)
    if batch_size is None:
        size = _examples_at_once(model, inputs, plan)
        data: Any = list(zip(inputs.split(size), targets.split(size), strict=True))
    else:
        data = _RandomBatch(inputs, targets, batch_size, seed)
    kind = curvlinops.GGNLinearOperator if curvature == "ggn" else curvlinops.HessianLinearOperator
    return kind(
        model,
        _MeanLoss(loss),
        [named[name] for name in plan.coordinates],
        data,
        check_deterministic=False,
        num_data=batch_size or len(inputs),
    )


def hessian_matrix(
    model: nn.Module,
    train: InputsAndTargets,
    plan: ParameterPlan,
    loss: Loss,
) -> Tensor:
    """Return the Hessian of the mean loss, ``[p, p]``, from p Hessian-vector products."""
    with evaluation_mode(model):
        operator = curvature_operator(model, train, plan, loss, "hessian")
        example = next(model.parameters())
        columns = []
        for start in range(0, plan.width, VECTORS):
            block = torch.zeros(plan.width, min(VECTORS, plan.width - start), dtype=example.dtype)
            block[start : start + block.shape[1]].fill_diagonal_(1.0)
            columns.append((operator @ block.to(example.device)).detach())
            report(min(start + VECTORS, plan.width), plan.width, "Hessian")
    whole = torch.cat(columns, dim=1)
    return (whole + whole.T) / 2


@dataclass(frozen=True)
class IterativeInverse:
    """``(C + damping I)^{-1}`` by conjugate gradients or by LiSSA.

    Attributes:
        model: Model at its trained weights.
        train: Training inputs and targets.
        plan: Plan of whole parameters.
        loss: Loss of the training.
        curvature: ``"ggn"`` or ``"hessian"``.
        damping: Damping added to C.
        solver: ``"cg"`` or ``"lissa"``.
        iterations: Maximum number of CG iterations; depth of LiSSA.
        tolerance: CG stops when the mean relative residual of the vectors that are solved together is below this. LiSSA
            over all examples stops when the largest one is.
        repeats: Number of LiSSA trials to average.
        batch_size: Number of examples in each step of LiSSA; None uses all, which makes it a Neumann series.
        seed: Seed of the batches.
    """

    model: nn.Module
    train: InputsAndTargets
    plan: ParameterPlan
    loss: Loss
    curvature: Curvature
    damping: float
    solver: str
    iterations: int
    tolerance: float
    repeats: int
    batch_size: int | None
    seed: int = 0

    def solve(self, vectors: Blocks) -> tuple[Blocks, float | None]:
        """Return the solutions, and the largest relative residual ``|(C + damping I) s - v| / |v|`` of all vectors."""
        flat = torch.cat([vectors[name].T for name in self.plan.coordinates])  # [p, r]
        solved, worst = torch.empty_like(flat), 0.0
        with evaluation_mode(self.model):
            operator = self._operator(None)
            for start in range(0, flat.shape[1], VECTORS):
                block = flat[:, start : start + VECTORS]
                solution = self._by_cg(operator, block) if self.solver == "cg" else self._by_lissa(block)
                residual = operator @ solution + self.damping * solution - block
                relative = residual.norm(dim=0) / block.norm(dim=0).clamp(min=torch.finfo(block.dtype).tiny)
                worst = max(worst, float(relative.nan_to_num(nan=math.inf).max()))
                solved[:, start : start + VECTORS] = solution
                report(min(start + VECTORS, flat.shape[1]), flat.shape[1], f"{self.solver} solves")
        sizes = [vectors[name].shape[1] for name in self.plan.coordinates]
        return {name: part.T for name, part in zip(self.plan.coordinates, solved.split(sizes), strict=True)}, worst

    def _operator(self, batch_size: int | None, seed: int = 0) -> Any:
        return curvature_operator(
            self.model, self.train, self.plan, self.loss, self.curvature, batch_size, self.seed + seed
        )

    def _by_cg(self, operator: Any, vectors: Tensor) -> Tensor:
        curvlinops = _curvlinops()
        shapes = [tuple(each.shape) for each in operator._params]
        identity = curvlinops.examples.IdentityLinearOperator(shapes, vectors.device, vectors.dtype)
        inverse = curvlinops.CGInverseLinearOperator(
            operator + self.damping * identity,
            tolerance=self.tolerance,
            eps=torch.finfo(vectors.dtype).tiny,
            stop_updating_after=self.tolerance / 10,
            max_iter=self.iterations,
            max_tridiag_iter=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CG warns if it does not converge; the residual reports that
            return (inverse @ vectors).detach()

    def _by_lissa(self, vectors: Tensor) -> Tensor:
        """Solve by eqs. 48 and 49: ``s <- v + (I - (C_batch + damping I) / scale) s``, divided by the scale at the end.

        A step equals the residual of the previous iterate, so over all examples it also decides when to stop. The
        method is gradient descent, with rate ``1 / scale``, on the quadratic that the solution minimizes.
        """
        total = torch.zeros_like(vectors)
        sizes = vectors.norm(dim=0)
        for repeat in range(self.repeats):
            operator = self._operator(self.batch_size, repeat)
            scale = lissa_scale(_largest(operator), self.damping)
            state = vectors.clone()
            for _ in range(self.iterations):
                step = vectors - ((operator @ state).detach() + self.damping * state) / scale
                state += step
                if self.batch_size is None and bool((step.norm(dim=0) <= self.tolerance * sizes).all()):
                    break
            total += state / scale
        return total / self.repeats


def _curvlinops() -> Any:
    """Import curvlinops on first use: it takes a second, and most solvers do not need it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit.script, in linear_operator
        import curvlinops
        import curvlinops.examples
    return curvlinops


def largest_eigenvalue(
    model: nn.Module,
    train: InputsAndTargets,
    plan: ParameterPlan,
    loss: Loss,
    curvature: Curvature,
    batch_size: int | None = None,
) -> float:
    """Return the largest eigenvalue of the curvature, by power iteration: 30 products with one vector.

    Over random batches it is the largest value found. Arguments are those of :func:`curvature_operator`.
    """
    with evaluation_mode(model):
        return _largest(curvature_operator(model, train, plan, loss, curvature, batch_size))


def lissa_scale(largest: float, damping: float) -> float:
    """Return the divisor that makes LiSSA's steps shrink: the largest eigenvalue plus 5%, plus the damping."""
    return 1.05 * largest + damping


def _largest(operator: Any, iterations: int = 30) -> float:
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(operator.shape[1], 1, generator=generator, dtype=operator.dtype).to(operator.device)
    largest = 0.0
    for _ in range(iterations):
        product = (operator @ (vector / vector.norm())).detach()
        largest, vector = max(largest, float(product.norm())), product
        if largest == 0:
            break
    return largest


def _examples_at_once(model: nn.Module, inputs: Tensor, plan: ParameterPlan) -> int:
    """Return the batch size for which ``VECTORS`` products take about ``BATCH_BYTES``, from one example's factors."""
    ones = torch.ones(1, 1).to(next(model.parameters()))
    outputs, factors = layer_factors(model, inputs[:1], plan.layers, ones)
    numbers = sum(layer.numel for layer in factors) + outputs.numel()
    return max(1, BATCH_BYTES // (numbers * VECTORS * outputs.element_size()))
