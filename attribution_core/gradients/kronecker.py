r"""The Kronecker sketch: the leading coordinates of every gradient in a Kronecker-factored eigenbasis.

As a matrix, a layer's gradient is ``G = sum_l d_l a_l^T``. Let V be the eigenvectors of the second moment of the
inputs, ``sum |d|^2 a a^T``, and U those of the output gradients, ``sum |a|^2 d d^T``, over training examples. There are
as many coordinates ``U^T G V`` as parameters, and they preserve all inner products. But few of them carry nearly all of
the kernel's trace, since inputs and output gradients are each close to small subspaces. The sketch keeps the
``dimension`` coordinates with the largest second moments over all layers together, the best choice for the trace in
that basis. The basis is that of EKFAC (George et al., "Fast approximate natural gradient descent in a
Kronecker-factored eigenbasis", 2018); for layers without positions U and V are those of the higher-order singular value
decomposition.

Cost of a row: ``a`` and ``d`` are projected before their product, only on the directions in use, so a Linear layer
takes ``r_in in + r_out out`` multiplications plus one for each kept coordinate, where the row of the Jacobian takes
``in out``. Cost of the bases: two backward passes over at most ``FIT_EXAMPLES`` training examples and the
eigendecompositions of ``in x in`` and ``out x out`` matrices.

Other gradients (scales, grouped convolutions, embeddings, those by torch.func) are also treated as matrices, with the
parameter's first dimension as rows. Unlike random coordinates, this sketch only drops parts of a gradient: diagonal
entries of the kernel are never too large, and the share of the trace that is kept is known
(``ParameterPlan.kept_energy``).
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from attribution_core.gradients.jacobian import factor_batches, function_gradients, largest_gradient
from attribution_core.gradients.layers import MapFactors
from attribution_core.gradients.plan import ParameterPlan
from attribution_core.gradients.rotation import Basis, SecondMoment, completed, rotate
from attribution_core.gradients.sketch import Coordinates
from attribution_core.progress import silenced

FIT_EXAMPLES = 1000  # maximum number of examples that the basis is fitted to
# A longer side of a matrix (a vocabulary) is not rotated, since its second moment would be too large.
LONGEST_SIDE = 8192

# One parameter's gradients in a batch, for one output: the factors of a plain linear map, or ``[b, rows, columns]``.
MatrixGradients = MapFactors | Tensor


def kronecker_plan(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    dimension: int,
    seed: int = 0,
    mixture: Tensor | None = None,
) -> ParameterPlan:
    """Choose the sketch for a model and its training inputs.

    Args:
        model: Model at ``w_0``.
        inputs: Training inputs ``[n, ...]``; up to ``FIT_EXAMPLES`` of them, drawn at random, are used.
        plan: Plan of whole parameters.
        dimension: Number of coordinates to keep of all parameters together; ``plan.width`` or more keeps all.
        seed: Seed of the draw, and of a random sign for each example and output: the outputs' gradients are combined as
            ``sum_c +-grad f_c``, whose second moments are on average those of all outputs, in one backward pass.
        mixture: Weights of the outputs ``[n, k]``, to fit the sketch to the gradients of ``sum_c mixture_bc f_c(x_b)``
            in place of random signs.

    Returns:
        The plan with ``dimension`` coordinates and ``kept_energy``, the share of the kernel's trace that they keep on
        the examples used. It is exact for one output or a mixture, and an estimate for several outputs.
    """
    if dimension >= plan.width:
        return replace(plan, kept_energy=1.0)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(inputs), generator=generator)[:FIT_EXAMPLES]
    chosen = inputs[drawn.to(inputs.device)]
    with silenced():
        outputs = next(factor_batches(model, inputs[:1], plan))[1]
    signs = (torch.randint(2, (len(chosen), outputs.shape[1]), generator=generator) * 2 - 1).to(outputs)
    if mixture is not None:
        signs = mixture[drawn.to(mixture.device)].to(outputs)

    totals = outputs.new_zeros((), dtype=torch.float64)
    moments = {name: (SecondMoment(), SecondMoment()) for name in plan.coordinates}
    for name, gradients in mixed_gradients(model, chosen, plan, signs, "sketch: directions"):
        totals += squares_in_basis(gradients, None, None).sum()
        for moment, rows in zip(moments[name], _moment_rows(gradients), strict=True):
            if 1 < rows.shape[1] <= LONGEST_SIDE:
                moment.add(rows)
    bases = _bases(moments, plan, dimension, outputs.dtype)
    energies: dict[str, Tensor] = {}
    for name, gradients in mixed_gradients(model, chosen, plan, signs, "sketch: energies"):
        squares = squares_in_basis(gradients, *bases[name])
        energies[name] = energies[name] + squares if name in energies else squares
    kept = torch.cat([energies[name] for name in plan.coordinates]).topk(dimension)
    selected = torch.zeros(sum(map(len, energies.values())), dtype=torch.bool, device=outputs.device)
    selected[kept.indices] = True
    selections = selected.split([len(energies[name]) for name in plan.coordinates])
    coordinates = {
        name: _compact(each.nonzero()[:, 0], plan.coordinates[name].numel, *bases[name])
        for name, each in zip(plan.coordinates, selections, strict=True)
    }
    return replace(plan, coordinates=coordinates, kept_energy=float(kept.values.sum() / totals.clamp(min=1e-300)))


def mixed_gradients(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor,
    what: str,
) -> Iterator[tuple[str, MatrixGradients]]:
    """Yield the gradients of ``sum_c mixture_bc f_c(x_b)``, batch by batch and parameter by parameter."""
    done = 0
    rows = {name: value.shape[0] if value.ndim else 1 for name, value in model.named_parameters()}
    for part, outputs, factors in factor_batches(model, inputs, plan, mixture, what, largest_gradient(plan)):
        for layer in factors:
            for kind, name in layer.parameters():
                if (
                    name in plan.coordinates
                    and kind == "weight"
                    and isinstance(layer, MapFactors)
                    and layer.has_one_group
                ):
                    yield name, layer
                elif name in plan.coordinates:
                    yield name, layer.jacobian(kind)[:, 0].unflatten(1, (rows[name], -1))
        for name, gradients in function_gradients(model, part, plan.rest).items():
            mixed = torch.einsum("bkp,bk->bp", gradients, mixture[done : done + len(part)])
            yield name, mixed.unflatten(1, (rows[name], -1))
        done += len(outputs)


def _moment_rows(gradients: MatrixGradients) -> tuple[Tensor, Tensor]:
    """Return rows whose outer products sum to ``sum G G^T`` and ``sum G^T G``, with norms for the other factor."""
    if isinstance(gradients, MapFactors):
        a, d = gradients.inputs[:, 0], gradients.output_gradients[:, 0, 0]
        weighted = d * a.flatten(1).norm(dim=1)[:, None, None], a * d.flatten(1).norm(dim=1)[:, None, None]
        return weighted[0].flatten(0, 1), weighted[1].flatten(0, 1)
    return gradients.transpose(1, 2).flatten(0, 1), gradients.flatten(0, 1)


def _bases(
    moments: dict[str, tuple[SecondMoment, SecondMoment]], plan: ParameterPlan, dimension: int, dtype: torch.dtype
) -> dict[str, tuple[Tensor | None, Tensor | None]]:
    """Return the eigenvectors ``[side, r]`` of the moments, at most ``dimension`` of each; None for the identity.

    Those of moments with few rows are not completed, unless all coordinates together would be fewer than ``dimension``.
    """
    found = {
        name: [None if each.is_empty else each.eigenvectors()[1] for each in both] for name, both in moments.items()
    }
    count = 0
    for name, (left, right) in found.items():
        numel = plan.coordinates[name].numel
        sides = [1 if each is None else len(each) for each in (left, right)]
        ranks = [1 if each is None else each.shape[1] for each in (left, right)]
        count += numel // math.prod(sides) * math.prod(ranks)
    if count < dimension:
        found = {name: [None if each is None else completed(each) for each in both] for name, both in found.items()}
    return {
        name: tuple(None if each is None else each[:, :dimension].to(dtype) for each in both)  # type: ignore[misc]
        for name, both in found.items()
    }


def squares_in_basis(gradients: MatrixGradients, left: Basis | None, right: Basis | None) -> Tensor:
    """Return ``sum_b (left^T G_b right)^2``, elementwise and flattened, float64."""
    if isinstance(gradients, Tensor):
        return rotate(gradients.flatten(1)[:, None], left, right).double().square().sum(dim=(0, 1))
    if gradients.sizes.positions > 1:
        return gradients.rotated_jacobian("weight", left, right).square().sum(dim=(0, 1)).double()
    rotated = gradients.rotated(left, right)
    a, d = rotated.inputs[:, 0, 0].square(), rotated.output_gradients[:, 0, 0, 0].square()
    return (d.T @ a).flatten().double()


def _compact(indices: Tensor, numel: int, left: Tensor | None, right: Tensor | None) -> Coordinates:
    """Return the chosen coordinates without the directions that none of them uses."""
    columns = right.shape[1] if right is not None else numel // (left.shape[0] if left is not None else numel)
    row, column = indices // columns, indices % columns
    if left is not None:
        used, row = row.unique(return_inverse=True)
        left = left[:, used]
    if right is not None:
        used, column = column.unique(return_inverse=True)
        right, columns = right[:, used], len(used)
    return Coordinates(row * columns + column, numel, 1.0, left, right)
