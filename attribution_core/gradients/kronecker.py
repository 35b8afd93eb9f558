r"""The Kronecker sketch: the leading coordinates of every gradient in a Kronecker-factored eigenbasis.

As a matrix, a layer's gradient is ``G = sum_l d_l a_l^T``. Let V hold the eigenvectors of the second moment of the
inputs, ``sum |d|^2 a a^T``, and U those of the output gradients, ``sum |a|^2 d d^T``, over training examples. The
coordinates ``U^T G V`` are as many as the parameters and keep all inner products; but few of them carry nearly all of
the kernel's trace, since inputs and output gradients each lie near small subspaces. Kept are the ``dimension``
coordinates with the largest second moments, over all layers together: the best choice for the trace in that basis.
The basis is that of EKFAC (George et al., "Fast approximate natural gradient descent in a Kronecker-factored
eigenbasis", 2018); for layers without positions U and V are those of the higher-order singular value decomposition.

Cost of a row: ``a`` and ``d`` are projected before their product, on the directions in use alone, so a Linear layer
takes ``r_in in + r_out out`` multiplications and one for each kept coordinate, where the row of the Jacobian takes
``in out``. Cost of the bases: two backward passes over at most ``FIT_EXAMPLES`` training examples and the
eigendecompositions of ``in x in`` and ``out x out`` matrices.

Other gradients (scales, grouped convolutions, embeddings, what goes through torch.func) are matrices too, with the
parameter's first dimension as rows, and are treated alike. Unlike random coordinates this sketch only ever leaves out:
kernel entries on the diagonal are never too large, and what is left out is known (``ParameterPlan.kept_energy``).
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from attribution_core.gradients.jacobian import factor_batches, function_gradients
from attribution_core.gradients.layers import MapFactors, rotate
from attribution_core.gradients.plan import ParameterPlan
from attribution_core.gradients.sketch import Coordinates
from attribution_core.progress import silenced

FIT_EXAMPLES = 1000  # from which the basis is taken
LONGEST_SIDE = 8192  # a longer side of a matrix (a vocabulary) keeps its own basis: its second moment is never formed

# One parameter's gradients in a batch, for one output: the factors of a plain linear map, or ``[b, rows, columns]``.
Piece = MapFactors | Tensor


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
        model: At ``w_0``.
        inputs: Training inputs ``[n, ...]``; up to ``FIT_EXAMPLES`` of them, drawn at random, are used.
        plan: Of whole parameters.
        dimension: Coordinates kept of all parameters together. From ``plan.width`` on nothing is left out.
        seed: Of the draw, and of a sign for each example and output: the outputs' gradients enter as
            ``sum_c +-grad f_c``, whose second moments are on average those of all outputs, for one backward pass.
        mixture: ``[n, k]``: fit the sketch to the gradients of ``sum_c mixture_bc f_c(x_b)``, instead of with signs.

    Returns:
        The plan with ``dimension`` coordinates and ``kept_energy``: the share of the kernel's trace that they keep on
        the examples used; exact for one output or a mixture, an estimate for several.
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
    moments: dict[str, list[Tensor | None]] = {name: [None, None] for name in plan.coordinates}
    for name, piece in mixed_pieces(model, chosen, plan, signs, "sketch: directions"):
        totals += squares_in_basis(piece, None, None).sum()
        for side, part in enumerate(_second_moments(piece)):
            before = moments[name][side]
            moments[name][side] = part if before is None or part is None else before + part
    bases = {name: (_leading(left, dimension), _leading(right, dimension)) for name, (left, right) in moments.items()}
    energies: dict[str, Tensor] = {}
    for name, piece in mixed_pieces(model, chosen, plan, signs, "sketch: energies"):
        part = squares_in_basis(piece, *bases[name])
        energies[name] = energies[name] + part if name in energies else part
    kept = torch.cat([energies[name] for name in plan.coordinates]).topk(dimension)
    selected = torch.zeros(sum(map(len, energies.values())), dtype=torch.bool, device=outputs.device)
    selected[kept.indices] = True
    parts = selected.split([len(energies[name]) for name in plan.coordinates])
    coordinates = {
        name: _compact(part.nonzero()[:, 0], plan.coordinates[name].numel, *bases[name])
        for name, part in zip(plan.coordinates, parts, strict=True)
    }
    return replace(plan, coordinates=coordinates, kept_energy=float(kept.values.sum() / totals.clamp(min=1e-300)))


def mixed_pieces(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    signs: Tensor,
    what: str,
) -> Iterator[tuple[str, Piece]]:
    """Gradients of ``sum_c signs_bc f_c(x_b)``, batch by batch and parameter by parameter."""
    done, largest = 0, max(chosen.numel for chosen in plan.coordinates.values())
    rows = {name: value.shape[0] if value.ndim else 1 for name, value in model.named_parameters()}
    for part, outputs, factors in factor_batches(model, inputs, plan, signs, what, largest):
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
            mixed = torch.einsum("bkp,bk->bp", gradients, signs[done : done + len(part)])
            yield name, mixed.unflatten(1, (rows[name], -1))
        done += len(outputs)


def _second_moments(piece: Piece) -> tuple[Tensor | None, Tensor | None]:
    """``sum G G^T`` and ``sum G^T G``, for factors with the norm of the other factor in its place; None if too long."""
    if isinstance(piece, MapFactors):
        a, d = piece.inputs[:, 0], piece.output_gradients[:, 0, 0]
        weighted = d * a.flatten(1).norm(dim=1)[:, None, None], a * d.flatten(1).norm(dim=1)[:, None, None]
        left, right = (each.flatten(0, 1) for each in weighted)
    else:
        left, right = piece.transpose(1, 2).flatten(0, 1), piece.flatten(0, 1)
    return tuple(each.T @ each if each.shape[1] <= LONGEST_SIDE else None for each in (left, right))  # type: ignore[return-value]


def _leading(moment: Tensor | None, dimension: int) -> Tensor | None:
    """Eigenvectors ``[side, r]`` of the ``r = min(side, dimension)`` largest eigenvalues; None for the identity."""
    if moment is None or len(moment) == 1:
        return None
    # in float64: LAPACK may fail on float32 moments of far lower rank than size
    return torch.linalg.eigh(moment.double()).eigenvectors[:, -dimension:].to(moment.dtype)


def squares_in_basis(piece: Piece, left: Tensor | None, right: Tensor | None) -> Tensor:
    """``sum_b (left^T G_b right)^2``, elementwise and flattened, float64."""
    if isinstance(piece, Tensor):
        return rotate(piece.flatten(1)[:, None], left, right).double().square().sum(dim=(0, 1))
    if piece.sizes.positions > 1:
        return piece.rotated_jacobian("weight", left, right).square().sum(dim=(0, 1)).double()
    rotated = piece.rotated(left, right)
    a, d = rotated.inputs[:, 0, 0].square(), rotated.output_gradients[:, 0, 0, 0].square()
    return (d.T @ a).flatten().double()


def _compact(indices: Tensor, numel: int, left: Tensor | None, right: Tensor | None) -> Coordinates:
    """The chosen coordinates, without the directions that none of them uses."""
    columns = right.shape[1] if right is not None else numel // (left.shape[0] if left is not None else numel)
    row, column = indices // columns, indices % columns
    if left is not None:
        used, row = row.unique(return_inverse=True)
        left = left[:, used]
    if right is not None:
        used, column = column.unique(return_inverse=True)
        right, columns = right[:, used], len(used)
    return Coordinates(row * columns + column, numel, 1.0, left, right)
