r"""Influence functions: the first-order change of one example's loss if another example is removed.

With the mean loss ``J(w) = (1/n) sum_i l_i(w)``, its curvature C at the given weights w, and a damping, removing
example i moves the weights by ``(1/n) (C + damping I)^{-1} grad l_i`` (Bae et al. 2022, "If influence functions are the
answer, then what is the question?", eqs. 19, 27 and 37), so

    effect[i, j] = (1/n) grad l_j^T (C + damping I)^{-1} grad l_i                                              (eq. 20)

Weight decay that the model was trained with is part of the damping, so the damping should be at least as large.
Influence functions predict the proximal Bregman response (:mod:`attribution_core.methods.influence.proximal_bregman`)
rather than retraining.

Solvers, for n training and m evaluation examples, p parameters, k outputs and q columns of M
(:mod:`attribution_core.methods.curvature.columns`; q = k for ``ggn``, otherwise 1):

========== ======================= =====================================================================
solver     curvature               cost
========== ======================= =====================================================================
``sketch`` ggn, fisher, empirical  up to 8,192 + n + m backward passes, then an eigendecomposition of
                                   min(n q, p, ``dimension``), which serves every damping
``exact``  all four                a backward pass for each of n q + n + m rows; exact to rounding
``kfac``   ggn, fisher, empirical  two passes; then ``n m p`` multiplications
``ekfac``  ggn, fisher, empirical  one more pass, for a better diagonal
``cg``     ggn, hessian            min(n, m) times the iterations times two passes over the data
``lissa``  ggn, hessian            the same with batches in place of the data
========== ======================= =====================================================================

Compared with retraining (experiment ``influence_fidelity``), ``sketch`` with its defaults is both the fastest and the
most accurate, so it is the default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters
from attribution_core.methods.curvature.iterative import IterativeInverse, largest_eigenvalue
from attribution_core.methods.influence.kronecker import KroneckerInverse, kronecker_values, trace_of
from attribution_core.methods.influence.options import InfluenceKeywords, InfluenceOptions
from attribution_core.methods.influence.pairs import Inverse, effects_on_pairs, effects_on_themselves, loss_gradients
from attribution_core.methods.influence.spectrum import (
    InfluenceSpectrum,
    hessian_spectrum,
    influence_spectrum,
)
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models.weights import StateDict
from attribution_core.training import as_pair
from attribution_core.training.trainer import LabeledData, state_of

# The default damping of a curvature with all its directions is ``DAMPING largest^2 / trace``, where ``largest`` is its
# largest eigenvalue: the fewer directions carry the curvature, the more of the small ones are noise to a retrained
# network. Compared with retraining (``influence_fidelity``, 1,000 examples), the best share of the largest eigenvalue
# was 1% for an MLP on MNIST, 2% for LeNet-5 on Fashion-MNIST and 10% for cnn4 on cats against dogs. This rule gives
# 1.5, 3 and 5%, and its score is within 0.02 of the best on each; no single share comes within 0.04 on all.
DAMPING = 0.15
# Kronecker factors say less about the small eigenvalues and need less damping: this share of the largest.
DAMPING_OF_FACTORS = 0.001
# A solve with a larger relative residual counts as not converged.
CONVERGED = 0.01


@dataclass(frozen=True)
class Influence:
    """Influence of training examples, with the damping and the accuracy of the solution.

    Attributes:
        effect: Loss after the removal of i minus before, on evaluation example j ``[n, m]`` or on i itself ``[n]``.
        damping: Damping used for each model of the ensemble.
        residual: Largest relative residual of the solves; None for solvers that do not iterate.
        kept_energy: Smallest share of the training examples' loss gradients (their squared norms) that a sketch keeps;
            what it leaves out counts with the curvature along itself. None without a sketch.
    """

    effect: Tensor
    damping: tuple[float, ...]
    residual: float | None = None
    kept_energy: float | None = None

    @property
    def converged(self) -> bool:
        """Whether every solve reached a relative residual of at most ``CONVERGED``."""
        return self.residual is None or self.residual <= CONVERGED


def influence_functions(
    model: nn.Module,
    train: LabeledData,
    evaluation: LabeledData,
    options: InfluenceOptions | None = None,
    **keywords: Unpack[InfluenceKeywords],
) -> Influence:
    """Return the influence of every training example on every evaluation example.

    Args:
        model: Model at its trained weights, converged or not; used in evaluation mode and left as it was.
        train: Examples that the model was trained on.
        evaluation: Evaluation examples.
        options: How to compute influence. The default solver is ``"sketch"``.
        **keywords: Fields of :class:`InfluenceOptions`, such as ``loss``, ``curvature``, ``solver``, ``damping`` and
            ``ensemble``; they replace those of ``options``.

    Returns:
        The effects, on the model's device.

    Raises:
        InputError: The data, the combination of options or the damping cannot be used.
    """
    options = (options or InfluenceOptions()).with_keywords("sketch", **keywords)
    return _mean_over_ensemble(model, as_pair(train), as_pair(evaluation), options)


def self_influence(
    model: nn.Module,
    train: LabeledData,
    options: InfluenceOptions | None = None,
    **keywords: Unpack[InfluenceKeywords],
) -> Influence:
    """Return the influence of every training example on itself, ``[n]``: large where a label was memorized.

    Arguments, result and errors are those of :func:`influence_functions`. It is never negative if the curvature is
    positive.
    """
    options = (options or InfluenceOptions()).with_keywords("sketch", **keywords)
    return _mean_over_ensemble(model, as_pair(train), None, options)


def influence_weights(
    model: nn.Module,
    train: LabeledData,
    groups: Sequence[Sequence[int]],
    options: InfluenceOptions | None = None,
    **keywords: Unpack[InfluenceKeywords],
) -> tuple[list[StateDict], float | None]:
    """Return the weights after the removal of groups, ``w + (C + damping I)^{-1} (1/n) sum_S grad l_i`` (eq. 46).

    Args:
        model: Model at its trained weights; left as it was.
        train: Examples that the model was trained on.
        groups: Indices of the examples in each group.
        options: How to compute influence. The solver must be ``"cg"`` (the default) or ``"lissa"``, since the others
            never form a step in the weights; ``ensemble`` must be empty and ``parameters`` ``"all"``.
        **keywords: Fields of :class:`InfluenceOptions` that replace those of ``options``.

    Returns:
        Parameters and buffers for each group, on the CPU, and the largest relative residual.

    Raises:
        InputError: As in :func:`influence_functions`, or options that the weights do not support.
    """
    options = (options or InfluenceOptions()).with_keywords("cg", **keywords)
    if options.solver not in ("cg", "lissa"):
        raise InputError(f'Steps in the weights need solver="cg" or "lissa", not {options.solver!r}.')
    if options.ensemble or options.parameters != "all":
        raise InputError('Steps in the weights need parameters="all" and no ensemble.')
    inputs, targets = examples = as_pair(train)
    inverse, _ = _inverse(model, examples, options)
    sums: dict[str, list[Tensor]] = {name: [] for name in inverse.plan.coordinates}
    for group in groups:
        members = torch.tensor(list(group))
        gradients = loss_gradients(model, (inputs[members], targets[members]), options.loss, inverse.plan)
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


def spectrum_for(
    model: nn.Module, train: InputsAndTargets, evaluation: InputsAndTargets | None, options: InfluenceOptions
) -> InfluenceSpectrum:
    """Return the spectrum that the solvers ``sketch`` and ``exact`` use."""
    if options.curvature == "hessian":
        return hessian_spectrum(model, train, evaluation, options.loss, options.parameters)
    dimension = options.dimension if options.solver == "sketch" else None
    return influence_spectrum(
        model, train, evaluation, options.loss, options.curvature, dimension, options.parameters, options.seed
    )


def _mean_over_ensemble(
    model: nn.Module, train: InputsAndTargets, evaluation: InputsAndTargets | None, options: InfluenceOptions
) -> Influence:
    total = _influence(model, train, evaluation, options)
    for number, member in enumerate(options.ensemble, start=2):
        one = _influence(member, train, evaluation, options)
        total = Influence(
            total.effect + (one.effect.to(total.effect) - total.effect) / number,
            total.damping + one.damping,
            None if total.residual is None or one.residual is None else max(total.residual, one.residual),
            None if total.kept_energy is None or one.kept_energy is None else min(total.kept_energy, one.kept_energy),
        )
    return total


def _influence(
    model: nn.Module, train: InputsAndTargets, evaluation: InputsAndTargets | None, options: InfluenceOptions
) -> Influence:
    """Return one model's influence on the evaluation examples, or on the training examples themselves if None."""
    if options.solver in ("sketch", "exact"):
        spectrum = spectrum_for(model, train, evaluation, options)
        damping = default_damping(spectrum) if options.damping is None else options.damping
        effect = spectrum.self_influence(damping) if evaluation is None else spectrum.effects(damping)
        return Influence(effect, (damping,), kept_energy=spectrum.kept_energy)
    inverse, damping = _inverse(model, train, options)
    if evaluation is None:
        effect, residual = effects_on_themselves(model, train, options.loss, inverse)
    else:
        effect, residual = effects_on_pairs(model, train, evaluation, options.loss, inverse)
    return Influence(effect, (damping,), residual)


def _inverse(model: nn.Module, train: InputsAndTargets, options: InfluenceOptions) -> tuple[Inverse, float]:
    """Return the inverse of the damped curvature, for solvers without a spectrum, and the damping."""
    plan, damping = plan_parameters(model, train[0], options.parameters), options.damping
    if options.solver in ("kfac", "ekfac"):
        corrected = options.solver == "ekfac"
        turned, values = kronecker_values(model, train, plan, options.loss, options.curvature, corrected, options.seed)
        if damping is None:
            damping = DAMPING_OF_FACTORS * max(float(each.max()) for each in values.values())
        return KroneckerInverse(turned, values, _positive(damping)), damping
    if damping is None:
        largest = largest_eigenvalue(model, train, plan, options.loss, options.curvature)
        damping = damping_from(largest, trace_of(model, train, plan, options.loss))
    inverse = IterativeInverse(
        model,
        train,
        plan,
        options.loss,
        options.curvature,
        _positive(damping),
        str(options.solver),
        options.iterations,
        options.tolerance,
        options.repeats,
        options.batch_size,
        options.seed,
    )
    return inverse, damping


def default_damping(spectrum: InfluenceSpectrum) -> float:
    """Return ``DAMPING largest^2 / trace`` of the spectrum's eigenvalues; errors as in :func:`damping_from`."""
    return damping_from(float(spectrum.values[-1:].sum()), float(spectrum.values.abs().sum()))


def damping_from(largest: float, trace: float) -> float:
    """Return ``DAMPING largest^2 / trace``.

    Raises:
        InputError: There is no curvature to derive a damping from.
    """
    if not largest > 0 or not trace > 0:
        raise InputError(
            "The loss has no curvature at these weights to derive a damping from: set the damping yourself."
        )
    return DAMPING * largest**2 / trace


def _positive(damping: float) -> float:
    if not damping > 0:
        raise InputError(f"The damping must be positive, not {damping:.3g}.")
    return damping
