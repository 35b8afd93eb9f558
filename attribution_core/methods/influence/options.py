"""Options that the influence functions share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, Unpack

from torch import nn

from attribution_core.errors import InputError
from attribution_core.methods.curvature.columns import Curvature
from attribution_core.methods.curvature.losses import Loss
from attribution_core.methods.influence.spectrum import DIMENSION

Solver = Literal["sketch", "exact", "kfac", "ekfac", "cg", "lissa"]

_CURVATURES: dict[Solver, tuple[Curvature, ...]] = {
    "sketch": ("ggn", "fisher", "empirical"),
    "exact": ("ggn", "hessian", "fisher", "empirical"),
    "kfac": ("ggn", "fisher", "empirical"),
    "ekfac": ("ggn", "fisher", "empirical"),
    "cg": ("ggn", "hessian"),
    "lissa": ("ggn", "hessian"),
}


class InfluenceKeywords(TypedDict, total=False):
    """The fields of :class:`InfluenceOptions` as keywords of a call."""

    loss: Loss
    curvature: Curvature
    solver: Solver | None
    damping: float | None
    ensemble: Sequence[nn.Module]
    parameters: str
    dimension: int
    iterations: int
    tolerance: float
    repeats: int
    batch_size: int | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class InfluenceOptions:
    """How influence is computed.

    Attributes:
        loss: Loss of the training and of the evaluation examples.
        curvature: ``"ggn"``, ``"hessian"``, ``"fisher"`` or ``"empirical"``; not every solver supports each (see
            :mod:`attribution_core.methods.influence.functions`).
        solver: ``"sketch"``, ``"exact"``, ``"kfac"``, ``"ekfac"``, ``"cg"`` or ``"lissa"``. None chooses the
            function's default.
        damping: Added to the curvature of the mean loss. By default it follows from the data (see
            ``DAMPING`` in :mod:`attribution_core.methods.influence.functions`).
        ensemble: More models, trained like the first one from other seeds. Effects are then the mean over all models,
            which predicts retraining better than any single model does.
        parameters: ``"all"``, ``"head"`` or a regular expression over parameter names.
        dimension: Size of the largest matrix that ``sketch`` decomposes.
        iterations: Maximum number of iterations of ``cg``; depth of ``lissa``.
        tolerance: Relative residual at which ``cg`` stops, and ``lissa`` when its steps use all examples.
        repeats: Number of trials that ``lissa`` averages.
        batch_size: Number of examples in each step of ``lissa``; None uses all of them.
        seed: Seed of sketches, sampled labels and batches.

    Raises:
        InputError: The solver is unknown or does not support the curvature.
    """

    loss: Loss = "cross_entropy"
    curvature: Curvature = "ggn"
    solver: Solver | None = None
    damping: float | None = None
    ensemble: Sequence[nn.Module] = ()
    parameters: str = "all"
    dimension: int = DIMENSION
    iterations: int = 500
    tolerance: float = 1e-3
    repeats: int = 1
    batch_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.solver is None:
            return
        if self.solver not in _CURVATURES:
            raise InputError(f"There is no solver {self.solver!r}: choose one of {', '.join(_CURVATURES)}.")
        supported = _CURVATURES[self.solver]
        if self.curvature not in supported:
            able = ", ".join(name for name, curvatures in _CURVATURES.items() if self.curvature in curvatures)
            hint = f"; use {able}" if able else ""
            raise InputError(
                f"The solver {self.solver} supports the curvatures {', '.join(supported)}, not "
                f"{self.curvature!r}{hint}."
            )

    def with_keywords(self, default_solver: Solver, **keywords: Unpack[InfluenceKeywords]) -> "InfluenceOptions":
        """Return these options with some fields replaced, and with the default solver if none is chosen."""
        changed = replace(self, **keywords)
        return changed if changed.solver else replace(changed, solver=default_solver)
