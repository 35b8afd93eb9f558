r"""What influence functions at any damping follow from, small enough to keep: the effects of one example, or on one.

At each checkpoint these are the inner products of gradients (:mod:`attribution_core.methods.influence.kernels`), of
which a damping takes a Cholesky decomposition, ``n^3 / 3`` multiplications, and an example then ``n (n + m)``; or a
spectrum (:mod:`attribution_core.methods.influence.spectrum`), of which an example takes ``(n + m) r``.

Matrices are kept in float16 with a scale for each row, products of rows with rows with the scale of both, so that each
entry has a relative error of up to 2^-11. If these are independent, eigenvalues of the products move by up to about
``2^-11 sqrt(n)`` root mean squares of the entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attribution_core.methods.influence.kernels import GradientKernels
from attribution_core.methods.influence.spectrum import InfluenceSpectrum, Outside

_SCALE = ".scale"
_OUTSIDE = "outside."


class _Solved(Protocol):
    """Effects at one checkpoint and damping."""

    def effects_of(self, example: int) -> Tensor: ...

    def effects_on(self, evaluated: int) -> Tensor: ...


@dataclass(frozen=True)
class _SolvedKernels:
    kernels: GradientKernels
    root: Tensor

    def effects_of(self, example: int) -> Tensor:
        one = torch.zeros_like(self.kernels.scale)
        one[example] = self.kernels.scale[example]
        return self.kernels.cross @ torch.cholesky_solve(one[:, None], self.root)[:, 0]

    def effects_on(self, evaluated: int) -> Tensor:
        column = self.kernels.cross[evaluated, :, None]
        return self.kernels.scale * torch.cholesky_solve(column, self.root)[:, 0]


@dataclass(frozen=True)
class _DampedSpectrum:
    spectrum: InfluenceSpectrum
    damping: float

    def effects_of(self, example: int) -> Tensor:
        found, n, outside = self.spectrum, len(self.spectrum.train), self.spectrum.outside
        effect = found.evaluation @ (found.train[example] / (found.values + self.damping)).to(found.evaluation)
        if outside is not None:
            across = outside.along_train[example] + self.damping, outside.along_evaluation + self.damping
            effect += outside.products[example] * across[0].rsqrt() * across[1].rsqrt()
        return effect / n

    def effects_on(self, evaluated: int) -> Tensor:
        chosen = torch.tensor([evaluated], device=self.spectrum.train.device)
        return self.spectrum.on(chosen).effects(self.damping)[:, 0]


@dataclass(frozen=True)
class InfluenceAtDamping:
    """Effects at one damping; threads may share an instance."""

    parts: Sequence[_Solved]

    def effects_of(self, example: int) -> Tensor:
        """Return the effects of a training example on each evaluation example, ``[m]``."""
        return torch.stack([part.effects_of(example) for part in self.parts]).mean(dim=0)

    def effects_on(self, evaluated: int) -> Tensor:
        """Return the effects of each training example on an evaluation example, ``[n]``."""
        return torch.stack([part.effects_on(evaluated) for part in self.parts]).mean(dim=0)


@dataclass(frozen=True)
class KeptInfluence:
    """What effects at any damping follow from.

    Attributes:
        curvatures: Inner products of gradients, or a spectrum, at each checkpoint.
        dampings: Damping that was used at each.
    """

    curvatures: Sequence[GradientKernels | InfluenceSpectrum]
    dampings: Sequence[float]

    def at(self, multiple: float) -> InfluenceAtDamping:
        """Return the effects at a multiple of the dampings that were used."""
        pairs = zip(self.curvatures, self.dampings, strict=True)
        return InfluenceAtDamping([_solved(curvature, multiple * damping) for curvature, damping in pairs])

    @staticmethod
    def from_state(state: Mapping[str, Tensor]) -> "KeptInfluence":
        """Return what :func:`state_of` has made of each checkpoint, numbered from 0."""
        parts: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            number, _, own = name.partition("/")
            parts.setdefault(int(number), {})[own] = value
        ordered = [parts[number] for number in sorted(parts)]
        return KeptInfluence([_curvature_from(part) for part in ordered], [float(part["damping"]) for part in ordered])


def _solved(curvature: GradientKernels | InfluenceSpectrum, damping: float) -> _Solved:
    if isinstance(curvature, GradientKernels):
        return _SolvedKernels(curvature, curvature.root(damping))
    return _DampedSpectrum(curvature, damping)


def state_of(number: int, curvature: GradientKernels | InfluenceSpectrum, damping: float) -> dict[str, Tensor]:
    """Return one checkpoint as named tensors on the CPU.

    Args:
        number: Number of the checkpoint, from 0.
        curvature: What its effects follow from.
        damping: The damping that was used.
    """
    tensors = {"damping": torch.tensor(damping, dtype=torch.float64)}
    if isinstance(curvature, GradientKernels):
        side = curvature.products.diagonal().sqrt().clamp(min=torch.finfo(curvature.products.dtype).tiny)
        tensors |= {"products": (curvature.products / side[:, None] / side).half(), "products" + _SCALE: side}
        tensors |= {**_halved("cross", curvature.cross), "scale": curvature.scale}
    else:
        tensors |= {"values": curvature.values, **_halved("train", curvature.train)}
        tensors |= _halved("evaluation", curvature.evaluation)
        if curvature.outside is not None:
            rest = curvature.outside._asdict()
            tensors |= _halved(_OUTSIDE + "products", rest.pop("products"))
            tensors |= {_OUTSIDE + name: value for name, value in rest.items()}
    return {f"{number}/{name}": value.cpu().contiguous() for name, value in tensors.items()}


def bytes_of(curvature: GradientKernels | InfluenceSpectrum) -> int:
    """Return about how many bytes :func:`state_of` takes."""
    if isinstance(curvature, GradientKernels):
        return 2 * (curvature.products.numel() + curvature.cross.numel())
    outside = 0 if curvature.outside is None else curvature.outside.products.numel()
    return 2 * (curvature.train.numel() + curvature.evaluation.numel() + outside)


def _halved(name: str, matrix: Tensor) -> dict[str, Tensor]:
    largest = matrix.abs().amax(dim=1).clamp(min=torch.finfo(matrix.dtype).tiny)
    return {name: (matrix / largest[:, None]).half(), name + _SCALE: largest}


def _whole(part: Mapping[str, Tensor], name: str) -> Tensor:
    return part[name].float().mul_(part[name + _SCALE].float()[:, None])


def _curvature_from(part: Mapping[str, Tensor]) -> GradientKernels | InfluenceSpectrum:
    if "products" in part:
        products = _whole(part, "products").mul_(part["products" + _SCALE].float())
        return GradientKernels(products, _whole(part, "cross"), part["scale"].float())
    outside = None
    if _OUTSIDE + "products" in part:
        rest = {name: part[_OUTSIDE + name].float() for name in Outside._fields if name != "products"}
        outside = Outside(products=_whole(part, _OUTSIDE + "products"), **rest)
    return InfluenceSpectrum(part["values"], _whole(part, "train"), _whole(part, "evaluation"), outside)
