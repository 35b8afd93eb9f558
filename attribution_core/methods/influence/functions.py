r"""Influence functions: what the loss on an example would be without another, to first order in its weight.

With the mean loss ``J(w) = (1/n) sum_i l_i(w)``, a curvature C of it at the weights w as they are, and a damping, the
removal of example i moves the weights by ``(1/n) (C + damping I)^{-1} grad l_i`` (Bae et al. 2022, "If influence
functions are the answer, then what is the question?", eqs. 19, 27 and 37), so

    effect[i, j] = (1/n) grad l_j^T (C + damping I)^{-1} grad l_i                                              (eq. 20)

Weight decay that the model was trained with is part of the damping: give at least as much. What the numbers answer is
not retraining but the proximal Bregman response (:mod:`attribution_core.methods.influence.proximal_bregman`).

Solvers, for n training and m evaluation examples, p parameters, k outputs and q columns of M
(:mod:`attribution_core.methods.curvature.columns`; q = k for ``ggn``, else 1):

========== ======================= =====================================================================
solver     curvature               cost
========== ======================= =====================================================================
``sketch`` ggn, fisher, empirical  up to 8,192 + n + m backward passes, then an eigendecomposition of
                                   min(n q, p, ``dimension``), once for every damping
``exact``  all four                a backward pass for each of n q + n + m rows; nothing is left out
``kfac``   ggn, fisher, empirical  two passes; then ``n m p`` multiplications
``ekfac``  ggn, fisher, empirical  one pass more, and a better diagonal
``cg``     ggn, hessian            min(n, m) times the iterations times two passes over the data
``lissa``  ggn, hessian            the same over batches
========== ======================= =====================================================================

Measured against retraining (experiment ``influence_fidelity``) ``sketch`` with its defaults is both the quickest and
the closest, so it is the default.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters
from attribution_core.methods.curvature.columns import Curvature
from attribution_core.methods.curvature.iterative import IterativeInverse, largest_eigenvalue
from attribution_core.methods.curvature.losses import Loss
from attribution_core.methods.influence.kronecker import KroneckerInverse, kronecker_values, trace_of
from attribution_core.methods.influence.pairs import Inverse, effects_on_pairs, effects_on_themselves, loss_gradients
from attribution_core.methods.influence.spectrum import (
    DIMENSION,
    InfluenceSpectrum,
    hessian_spectrum,
    influence_spectrum,
)
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models.weights import StateDict
from attribution_core.training import as_pair
from attribution_core.training.trainer import LabeledData, state_of

Solver = Literal["sketch", "exact", "kfac", "ekfac", "cg", "lissa"]

# The default damping of a curvature with all its directions is ``DAMPING largest^2 / trace``, largest being its largest
# eigenvalue: the fewer directions hold the curvature, the more of the small ones are noise to a network trained anew.
# Against retraining (``influence_fidelity``, 1,000 examples) the best share of the largest eigenvalue was 1% for an MLP
# on MNIST, 2% for LeNet-5 on Fashion-MNIST and 10% for cnn4 on cats against dogs; this takes 1.5, 3 and 5%, and its
# score is within 0.02 of the best on each, where no single share comes nearer than 0.04 on all.
DAMPING = 0.15
# Kronecker factors know less of the small eigenvalues and want less damping: a share of the largest.
DAMPING_OF_FACTORS = 0.001
# A relative residual above this is said not to have converged.
CONVERGED = 0.01
_CURVATURES: dict[Solver, tuple[Curvature, ...]] = {
    "sketch": ("ggn", "fisher", "empirical"),
    "exact": ("ggn", "hessian", "fisher", "empirical"),
    "kfac": ("ggn", "fisher", "empirical"),
    "ekfac": ("ggn", "fisher", "empirical"),
    "cg": ("ggn", "hessian"),
    "lissa": ("ggn", "hessian"),
}


@dataclass(frozen=True)
class Influence:
    """Influence of training examples, and how it came about.

    Attributes:
        effect: Loss after the removal of i minus before, on evaluation example j ``[n, m]``, or on itself ``[n]``.
        damping: As used by each model of an ensemble.
        residual: Largest relative residual of the solves; None where nothing was iterated.
        kept_energy: Least share of the gradients' energy that a sketch keeps; None without one.
    """

    effect: Tensor
    damping: tuple[float, ...]
    residual: float | None = None
    kept_energy: float | None = None

    @property
    def converged(self) -> bool:
        """Whether every solve came to a relative residual of at most ``CONVERGED``."""
        return self.residual is None or self.residual <= CONVERGED


@dataclass(frozen=True)
class SolverOptions:
    """What only some solvers ask for.

    Attributes:
        dimension: Largest matrix that ``sketch`` decomposes.
        iterations: At most, of ``cg``; the depth of ``lissa``.
        tolerance: Relative residual at which ``cg`` ends, and ``lissa`` over all examples.
        repeats: Trials that ``lissa`` averages.
        batch_size: Examples in each step of ``lissa``; None: all of them.
        seed: Of sketches, sampled labels and batches.
    """

    dimension: int = DIMENSION
    iterations: int = 500
    tolerance: float = 1e-3
    repeats: int = 1
    batch_size: int | None = None
    seed: int = 0


def influence_functions(
    model: nn.Module,
    train: LabeledData,
    evaluation: LabeledData,
    loss: Loss = "cross_entropy",
    curvature: Curvature = "ggn",
    solver: Solver = "sketch",
    damping: float | None = None,
    ensemble: Sequence[nn.Module] = (),
    parameters: str = "all",
    options: SolverOptions | None = None,
) -> Influence:
    """Influence of every training example on every evaluation example.

    Args:
        model: At its trained weights (converged or not); used in evaluation mode and left as it was.
        train: What it was trained on.
        evaluation: Evaluation examples.
        loss: Of both.
        curvature: ``"ggn"``, ``"hessian"``, ``"fisher"`` or ``"empirical"``, where the solver has it.
        solver: See the head of this module.
        damping: Added to the curvature of the mean loss; by default it follows the data (see ``DAMPING``).
        ensemble: Further models trained alike from other seeds: effects are the mean over all of them, closer to what
            retraining shows than those of any one.
        parameters: ``"all"``, ``"head"`` or a regular expression over parameter names.
        options: Of single solvers.

    Returns:
        The effects, on the model's device.

    Raises:
        InputError: Data, a combination or a damping that can't be used.
    """
    given = _Given.of(train, loss, curvature, solver, parameters, options)
    return _mean_over([model, *ensemble], lambda each: given.influence(each, as_pair(evaluation), damping))


def self_influence(
    model: nn.Module,
    train: LabeledData,
    loss: Loss = "cross_entropy",
    curvature: Curvature = "ggn",
    solver: Solver = "sketch",
    damping: float | None = None,
    ensemble: Sequence[nn.Module] = (),
    parameters: str = "all",
    options: SolverOptions | None = None,
) -> Influence:
    """Influence of every training example on itself, ``[n]``: large where a label was learnt by heart.

    Arguments, result and errors are those of :func:`influence_functions`. With a positive curvature never negative.
    """
    given = _Given.of(train, loss, curvature, solver, parameters, options)
    return _mean_over([model, *ensemble], lambda each: given.influence(each, None, damping))


def influence_weights(
    model: nn.Module,
    train: LabeledData,
    groups: Sequence[Sequence[int]],
    loss: Loss = "cross_entropy",
    curvature: Curvature = "ggn",
    solver: Solver = "cg",
    damping: float | None = None,
    options: SolverOptions | None = None,
) -> tuple[list[StateDict], float | None]:
    """Weights after the removal of groups of examples, ``w + (C + damping I)^{-1} (1/n) sum_S grad l_i`` (eq. 46).

    Args:
        model: At its trained weights; left as it was.
        train: What it was trained on.
        groups: The examples of each group.
        loss: Of the training.
        curvature: As in :func:`influence_functions`.
        solver: ``"cg"`` or ``"lissa"``: the others never form a step in the weights.
        damping: As in :func:`influence_functions`.
        options: Of the solver.

    Returns:
        Parameters and buffers for each group, on the CPU, and the largest relative residual.

    Raises:
        InputError: As :func:`influence_functions`.
    """
    if solver not in ("cg", "lissa"):
        raise InputError(f'Steps in the weights need solver="cg" or "lissa", not {solver!r}.')
    given = _Given.of(train, loss, curvature, solver, "all", options)
    inputs, targets = given.train
    inverse, _ = given.inverse(model, damping)
    sums: dict[str, list[Tensor]] = {name: [] for name in inverse.plan.coordinates}
    for group in groups:
        members = torch.tensor(list(group))
        gradients = loss_gradients(model, (inputs[members], targets[members]), loss, inverse.plan)
        for name, rows in gradients.items():
            sums[name].append(rows.sum(dim=0) / len(inputs))
    solved, residual = inverse.solve({name: torch.stack(rows) for name, rows in sums.items()})
    start = state_of(model)
    states = [
        {
            name: value + solved[name][number].view(value.shape).to(value) if name in solved else value.clone()
            for name, value in start.items()
        }
        for number in range(len(groups))
    ]
    return states, residual


class _Given(NamedTuple):
    """What is asked, but for the model and the damping."""

    train: InputsAndTargets
    loss: Loss
    curvature: Curvature
    solver: Solver
    parameters: str
    options: SolverOptions

    @staticmethod
    def of(
        train: LabeledData,
        loss: Loss,
        curvature: Curvature,
        solver: Solver,
        parameters: str,
        options: SolverOptions | None,
    ) -> "_Given":
        curvature = _checked(solver, curvature)
        return _Given(as_pair(train), loss, curvature, solver, parameters, options or SolverOptions())

    def influence(self, model: nn.Module, evaluation: InputsAndTargets | None, damping: float | None) -> Influence:
        """On the evaluation examples; where there are none, of the training examples on themselves."""
        if self.solver in ("sketch", "exact"):
            spectrum = self._spectrum(model, evaluation)
            used = default_damping(spectrum) if damping is None else damping
            effect = spectrum.self_influence(used) if evaluation is None else spectrum.effects(used)
            return Influence(effect, (used,), kept_energy=spectrum.kept_energy)
        inverse, used = self.inverse(model, damping)
        if evaluation is None:
            effect, residual = effects_on_themselves(model, self.train, self.loss, inverse)
        else:
            effect, residual = effects_on_pairs(model, self.train, evaluation, self.loss, inverse)
        return Influence(effect, (used,), residual)

    def _spectrum(self, model: nn.Module, evaluation: InputsAndTargets | None) -> InfluenceSpectrum:
        if self.curvature == "hessian":
            return hessian_spectrum(model, self.train, evaluation, self.loss, self.parameters)
        return influence_spectrum(
            model,
            self.train,
            evaluation,
            self.loss,
            self.curvature,
            self.options.dimension if self.solver == "sketch" else None,
            self.parameters,
            self.options.seed,
        )

    def inverse(self, model: nn.Module, damping: float | None) -> tuple[Inverse, float]:
        plan, options = plan_parameters(model, self.train[0], self.parameters), self.options
        if self.solver in ("kfac", "ekfac"):
            corrected = self.solver == "ekfac"
            turned, values = kronecker_values(
                model, self.train, plan, self.loss, self.curvature, corrected, options.seed
            )
            if damping is None:
                damping = DAMPING_OF_FACTORS * max(float(each.max()) for each in values.values())
            return KroneckerInverse(turned, values, _positive(damping)), damping
        if damping is None:
            largest = largest_eigenvalue(model, self.train, plan, self.loss, self.curvature)
            damping = damping_from(largest, trace_of(model, self.train, plan, self.loss))
        inverse = IterativeInverse(
            model,
            self.train,
            plan,
            self.loss,
            self.curvature,
            _positive(damping),
            self.solver,
            options.iterations,
            options.tolerance,
            options.repeats,
            options.batch_size,
            options.seed,
        )
        return inverse, damping


def default_damping(spectrum: InfluenceSpectrum) -> float:
    """``DAMPING largest^2 / trace`` of the spectrum's eigenvalues; errors as :func:`damping_from`."""
    return damping_from(float(spectrum.values[-1:].sum()), float(spectrum.values.abs().sum()))


def damping_from(largest: float, trace: float) -> float:
    """``DAMPING largest^2 / trace``.

    Raises:
        InputError: There is no curvature, so no damping can follow from it.
    """
    if not largest > 0 or not trace > 0:
        raise InputError("The loss has no curvature at these weights, so no damping follows from it: give one.")
    return DAMPING * largest**2 / trace


def _mean_over(models: Sequence[nn.Module], influence: Callable[[nn.Module], Influence]) -> Influence:
    total: Influence | None = None
    for number, model in enumerate(models):
        one = influence(model)
        if total is None:
            total = one
            continue
        total = Influence(
            total.effect + (one.effect.to(total.effect) - total.effect) / (number + 1),
            total.damping + one.damping,
            None if total.residual is None or one.residual is None else max(total.residual, one.residual),
            None if total.kept_energy is None or one.kept_energy is None else min(total.kept_energy, one.kept_energy),
        )
    if total is None:
        raise TypeError("There is no model.")
    return total


def _checked(solver: Solver, curvature: Curvature) -> Curvature:
    if solver not in _CURVATURES:
        raise InputError(f"There is no solver {solver!r}: choose one of {', '.join(_CURVATURES)}.")
    known = _CURVATURES[solver]
    if curvature not in known:
        able = ", ".join(name for name, has in _CURVATURES.items() if curvature in has)
        hint = f"; {able} can" if able else ""
        raise InputError(f"The solver {solver} has the curvatures {', '.join(known)}, not {curvature!r}{hint}.")
    return curvature


def _positive(damping: float) -> float:
    if not damping > 0:
        raise InputError(f"The damping must be positive; {damping:.3g} was given.")
    return damping
