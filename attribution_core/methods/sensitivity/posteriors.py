r"""Gaussian posteriors over a model's weights, and the variances of the outputs under them.

The objective is ``L(w) = sum_i loss_i(w) + delta/2 |w|^2`` (Nickl et al. 2023, "The memory perturbation equation",
eq. 1), so a posterior's precision is approximately ``S = sum_i J_i^T Lambda_i J_i + delta I`` with the Jacobian ``J_i``
of the outputs and the Hessian ``Lambda_i`` of the loss in the outputs: the generalized Gauss-Newton matrix of the sum.
A mean loss with weight decay lambda corresponds to ``delta = n lambda``. Forms of S:

- **full**: the whole matrix, for up to ``FULL_PARAMETERS`` parameters;
- **kfac**: ``A kron G + delta I`` for each weight and ``G + delta I`` for its bias, with the Kronecker factors A of a
  layer's inputs and G of the gradients in its outputs. In their eigenbases it is diagonal, with entries
  ``a_q g_p + delta``. All layers other than Linear, and Conv2d without groups, use their diagonal;
- **diagonal**: the diagonal of S;
- **adam**, **iblr**: the optimizer's own estimate, ``N s + delta`` (appendix F.1) and ``N s`` (F.2, where s includes
  delta), at no cost.

Only ``v_i = J_i S^{-1} J_i^T``, ``[k, k]``, is needed. In a diagonal (or rotated) basis a Linear layer contributes
``sum_p d_cp d_c'p w_p`` with ``w_p = sum_q a_q^2 / S_pq``: one matrix product for all examples, ``in out``
multiplications each, without forming gradients. Other layers form their gradients.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.jacobian import (
    Mixture,
    energies,
    factor_batches,
    function_gradients,
    jacobian,
    largest_gradient,
)
from attribution_core.gradients.layers import Kind, LayerFactors, MapFactors
from attribution_core.gradients.plan import ParameterPlan
from attribution_core.gradients.rotation import Basis, rotate
from attribution_core.methods.curvature.kronecker import kronecker_bases
from attribution_core.methods.curvature.losses import Loss, hessian_root
from attribution_core.progress import report, silenced

# Maximum number of parameters of a full posterior.
FULL_PARAMETERS = 8192


def magnitude(errors: Tensor) -> Tensor:
    """Return a power of two near each example's largest error, ``[n, k]`` to ``[n, 1]``.

    Dividing by it is exact, and squares of the quotients neither vanish nor overflow. Squares of float32 errors of
    1e-23, which a saturated network produces, would vanish.
    """
    exponent = torch.frexp(errors.abs().amax(dim=1, keepdim=True)).exponent.clamp(min=-120)
    return torch.ldexp(torch.ones_like(errors[:, :1]), exponent)


class Posterior(Protocol):
    """A Gaussian over the weights."""

    def variances(self, model: nn.Module, inputs: Tensor, factors: list[LayerFactors]) -> Tensor:
        """Return ``v = J S^{-1} J^T`` of each example of a batch, ``[b, k, k]``."""
        ...

    def covariance(self, model: nn.Module, inputs: Tensor, factors: list[LayerFactors]) -> Tensor:
        """Return ``J S^{-1} J^T`` of all examples of a batch together, ``[b k, b k]``, example-major."""
        ...


@dataclass(frozen=True)
class Block:
    """One parameter's block of a posterior that is diagonal in some basis.

    Attributes:
        precision: Diagonal of S in that basis, ``[numel]``.
        left: Orthonormal columns ``[rows, rows]`` for the parameter's first dimension; None is the identity.
        right: Orthonormal columns for its other dimensions; None is the identity.
    """

    precision: Tensor
    left: Basis | None = None
    right: Basis | None = None

    @functools.cached_property
    def variance(self) -> Tensor:
        """Inverse of the precision, kept since every batch needs it."""
        return 1 / self.precision

    @functools.cached_property
    def scale(self) -> Tensor:
        """Standard deviations, kept since every batch needs them."""
        return self.precision.rsqrt()


@dataclass(frozen=True)
class DiagonalPosterior:
    """Posterior with independent weights in the basis of each block.

    Attributes:
        plan: Plan of whole parameters.
        blocks: Block of each parameter, by name.
    """

    plan: ParameterPlan
    blocks: Mapping[str, Block]

    def variances(self, model: nn.Module, inputs: Tensor, factors: list[LayerFactors]) -> Tensor:
        """Return the sum of the parameters' variances; see :class:`Posterior`."""
        variances = [_variances(*each) for each in self._layer_blocks(factors)]
        return functools.reduce(Tensor.add, [*variances, *self._rest_variances(model, inputs)])

    def deviations(
        self,
        model: nn.Module,
        inputs: Tensor,
        error: Mixture,
        along: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``v e`` of each example without forming v: the gradient of ``|S^{-1/2} J^T e|^2 / 2`` in e.

        Args:
            model: The model.
            inputs: Inputs ``[n, ...]``.
            error: Function from a batch's outputs and its position among the inputs to e, ``[b, k]``.
            along: Whether to compute only the part of ``v e`` along e, from ``e . v e``, which needs no gradient.
                Parameters without factors, whose v is formed anyway, contribute the whole.

        Returns:
            Outputs, e and ``v e``, each ``[n, k]``.
        """

        def unit_sized(outputs: Tensor, where: slice) -> Tensor:
            found = error(outputs, where)
            return found / magnitude(found)

        formed = largest_gradient(self.plan)
        steps = energies(model, inputs, self.plan, unit_sized, self._energy, formed, not along, "sensitivity")
        outputs, errors, products = [], [], []
        start = 0
        for part, found in steps:
            product = found.gradient
            if product is None:
                norm = found.mixture.norm(dim=1, keepdim=True).clamp(min=torch.finfo(found.mixture.dtype).tiny)
                product = (2 * found.value[:, None] / norm) * (found.mixture / norm)
            others = [(variance @ found.mixture[:, :, None])[:, :, 0] for variance in self._rest_variances(model, part)]
            outputs.append(found.outputs)
            errors.append(error(found.outputs, slice(start, start + len(part))))
            start += len(part)
            products.append(functools.reduce(Tensor.add, [product, *others]) * magnitude(errors[-1]))
        return torch.cat(outputs), torch.cat(errors), torch.cat(products)

    def _energy(self, factors: list[LayerFactors]) -> Tensor:
        """Return ``|S^{-1/2} G|^2 / 2`` for each example's gradient G of the factors' single output, ``[b]``."""
        return functools.reduce(Tensor.add, [_energy(*each) for each in self._layer_blocks(factors)]) / 2

    def _layer_blocks(self, factors: list[LayerFactors]) -> Iterator[tuple[LayerFactors, dict[Kind, Block]]]:
        """Yield the layers that have factors, with the blocks of their parameters."""
        for layer in factors:
            own = {kind: self.blocks[name] for kind, name in layer.parameters() if name in self.blocks}
            if own:
                yield layer, own

    def _rest_variances(self, model: nn.Module, inputs: Tensor) -> list[Tensor]:
        """Return the variances that parameters without factors contribute, each ``[b, k, k]``."""
        gradients = function_gradients(model, inputs, self.plan.rest)
        return [_gram(each, self.blocks[name]) for name, each in gradients.items()]

    def covariance(self, model: nn.Module, inputs: Tensor, factors: list[LayerFactors]) -> Tensor:
        """Return the joint covariance, holding one parameter's gradients at a time; see :class:`Posterior`."""
        layers = (
            (layer.jacobian(kind), block)
            for layer, blocks in self._layer_blocks(factors)
            for kind, block in blocks.items()
        )
        rest = function_gradients(model, inputs, self.plan.rest)
        whole = itertools.chain(layers, ((each, self.blocks[name]) for name, each in rest.items()))
        halves = (_scaled(gradients, block).flatten(0, 1) for gradients, block in whole)
        return functools.reduce(Tensor.add_, (half @ half.T for half in halves))


@dataclass(frozen=True)
class FullPosterior:
    """Posterior with correlations between all weights.

    Attributes:
        plan: Plan of whole parameters.
        root: Cholesky factor of S, lower, ``[p, p]``.
    """

    plan: ParameterPlan
    root: Tensor

    def variances(self, model: nn.Module, inputs: Tensor, factors: list[LayerFactors]) -> Tensor:  # noqa: ARG002
        """Return the variances; see :class:`Posterior`."""
        half = self._half(model, inputs)
        return half @ half.transpose(1, 2)

    def covariance(self, model: nn.Module, inputs: Tensor, factors: list[LayerFactors]) -> Tensor:  # noqa: ARG002
        """Return the joint covariance; see :class:`Posterior`."""
        half = self._half(model, inputs).flatten(0, 1)
        return half @ half.T

    def _half(self, model: nn.Module, inputs: Tensor) -> Tensor:
        with silenced():
            _, rows = jacobian(model, inputs, self.plan)
        return torch.linalg.solve_triangular(self.root, rows.flatten(0, 1).T, upper=False).T.reshape(rows.shape)


def full_posterior(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    loss: Loss,
    delta: float,
) -> FullPosterior:
    """Build the posterior with the whole Gauss-Newton matrix: ``n k p^2 + p^3 / 3`` multiplications.

    Raises:
        InputError: There are more than ``FULL_PARAMETERS`` parameters.
    """
    require_full(plan)
    example = next(model.parameters())
    precision = delta * torch.eye(plan.width, dtype=example.dtype, device=example.device)
    size = max(1, 2**25 // (plan.width * 16))
    for done in range(0, len(inputs), size):
        with silenced():
            outputs, rows = jacobian(model, inputs[done : done + size], plan)
        half = (hessian_root(outputs, loss).transpose(1, 2) @ rows).flatten(0, 1)
        precision += half.T @ half
        report(min(done + size, len(inputs)), len(inputs), "posterior")
    return FullPosterior(plan, torch.linalg.cholesky(precision))


def require_full(plan: ParameterPlan) -> None:
    """Raise InputError if a full posterior would be too large."""
    if plan.width > FULL_PARAMETERS:
        raise InputError(
            f"The full posterior of {plan.width:,} parameters would take {plan.width**2 * 4 / 2**30:,.1f} GiB: use "
            f'posterior="kfac", or choose up to {FULL_PARAMETERS:,} parameters, such as parameters="head".'
        )


def diagonal_posterior(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    loss: Loss,
    delta: float,
) -> DiagonalPosterior:
    """Build the posterior with the Gauss-Newton diagonal: a forward and k backward passes, and squared gradients."""
    sums: dict[str, Tensor] = {}
    formed = largest_gradient(plan)
    for part, outputs, factors in factor_batches(model, inputs, plan, what="posterior", formed=formed):
        root = hessian_root(outputs, loss)
        squares = {
            name: _squares(layer, kind, root)
            for layer in factors
            for kind, name in layer.parameters()
            if name in plan.coordinates
        }
        for name, gradients in function_gradients(model, part, plan.rest).items():
            squares[name] = (root.transpose(1, 2) @ gradients).square().sum(dim=(0, 1))
        for name, value in squares.items():
            sums[name] = sums.get(name, 0) + value
    return DiagonalPosterior(plan, {name: Block(value + delta) for name, value in sums.items()})


def kfac_posterior(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    loss: Loss,
    delta: float,
) -> DiagonalPosterior:
    """Build the posterior with Kronecker factors; see :mod:`attribution_core.methods.curvature.kronecker`."""
    bases = kronecker_bases(model, (inputs, None), plan, loss)
    blocks = {name: Block(basis.values + delta, basis.left, basis.right) for name, basis in bases.items()}
    others = plan.part(set(plan.coordinates) - set(bases))
    if others.coordinates:
        blocks |= diagonal_posterior(model, inputs, others, loss, delta).blocks
    return DiagonalPosterior(plan, blocks)


def optimizer_posterior(
    plan: ParameterPlan, second_moments: Mapping[str, Tensor], examples: int, delta: float
) -> DiagonalPosterior:
    """Build the posterior with the precision ``examples s + delta`` of each weight.

    Adam's s is the mean square of the *batch mean's* gradient, approximately the Gauss-Newton diagonal of the mean loss
    divided by the batch size (the paper uses it unchanged, F.1; its authors' code uses the root of s). iBLR's s is the
    Hessian of the mean loss and already includes its weight decay ``delta / examples`` (F.2): pass a delta of 0.

    Raises:
        InputError: A parameter has no second moment.
    """
    missing = [name for name in plan.coordinates if name not in second_moments]
    if missing:
        raise InputError(
            f'There is no second moment of {missing[0]!r}: train with Recipe(optimizer="adam" or "iblr") and pass '
            "trajectory.second_moments[step]."
        )
    precisions = {name: examples * second_moments[name].flatten() + delta for name in plan.coordinates}
    return DiagonalPosterior(plan, {name: Block(value) for name, value in precisions.items()})


def _variances(layer: LayerFactors, blocks: Mapping[Kind, Block]) -> Tensor:
    """Return the variance that one layer's parameters contribute to ``v``, ``[b, k, k]``."""
    if _has_common_rows(layer, blocks):
        d, spread = _by_rows(layer, blocks)
        return (d * spread[:, None]) @ d.transpose(1, 2)
    halves = (_half(layer, kind, block) for kind, block in blocks.items())
    return functools.reduce(Tensor.add, (half @ half.transpose(1, 2) for half in halves))


def _energy(layer: LayerFactors, blocks: Mapping[Kind, Block]) -> Tensor:
    """Return ``|S^{-1/2} G|^2`` for the gradients of one layer's parameters, ``[b]``."""
    if _has_common_rows(layer, blocks):
        d, spread = _by_rows(layer, blocks)
        return (d.square() * spread[:, None]).sum(dim=(1, 2))
    halves = (_half(layer, kind, block) for kind, block in blocks.items())
    return functools.reduce(Tensor.add, (half.square().sum(dim=(1, 2)) for half in halves))


def _has_common_rows(layer: LayerFactors, blocks: Mapping[Kind, Block]) -> TypeGuard[MapFactors]:
    """Return whether this is a Linear layer on vectors whose weight and bias have one basis of d."""
    one_basis = len({id(block.left) for block in blocks.values()}) == 1
    return one_basis and isinstance(layer, MapFactors) and layer.is_outer_product


def _by_rows(layer: MapFactors, blocks: Mapping[Kind, Block]) -> tuple[Tensor, Tensor]:
    """Return ``d`` in the blocks' basis, ``[b, k, out]``, and what multiplies each ``d_p^2``, ``[b, out]``.

    The gradients are ``d a^T`` in the weight and d in the bias: ``sum_q a_q^2 / S_pq + 1 / S_p``.
    """
    weight, bias = blocks.get("weight"), blocks.get("bias")
    rotated = layer.rotated(next(iter(blocks.values())).left, None if weight is None else weight.right)
    a, d = rotated.inputs[:, 0, 0], rotated.output_gradients[:, :, 0, 0]
    spread = d.new_zeros(len(d), d.shape[2]) if bias is None else bias.variance.expand(len(d), -1)
    if weight is not None:
        spread = spread + a.square() @ weight.variance.view(d.shape[2], a.shape[1]).T
    return d, spread


def _half(layer: LayerFactors, kind: Kind, block: Block) -> Tensor:
    """Return gradients ``[b, k, numel]`` in the block's basis, in units of its standard deviations."""
    return layer.rotated_jacobian(kind, block.left, block.right) * block.scale


def _gram(gradients: Tensor, block: Block) -> Tensor:
    half = _scaled(gradients, block)
    return half @ half.transpose(1, 2)


def _scaled(gradients: Tensor, block: Block) -> Tensor:
    """Return gradients ``[b, k, numel]`` in the block's basis, in units of its standard deviations."""
    return rotate(gradients, block.left, block.right) * block.scale


def _squares(layer: LayerFactors, kind: Kind, root: Tensor) -> Tensor:
    """Return the diagonal of ``sum_b G_b^T M_b M_b^T G_b`` for one parameter's gradients, ``[numel]``."""
    if kind == "weight" and isinstance(layer, MapFactors) and layer.is_outer_product:
        mixed = root.transpose(1, 2) @ layer.output_gradients[:, :, 0, 0]
        return (mixed.square().sum(dim=1).T @ layer.inputs[:, 0, 0].square()).flatten()
    return (root.transpose(1, 2) @ layer.jacobian(kind)).square().sum(dim=(0, 1))
