r"""Adjoints of the optimizers' updates, by which HYDRA goes backward through a training.

A step computes the gradient ``G_t = (1/B) sum_i s_i grad l_i(w_{t-1})`` and updates the weights w and the optimizer's
state. An adjoint holds the derivatives of the final loss in each of them after a step. It gives
``u = d loss / d G_t``, from which ``d loss / d s_i = <u, grad l_i> / B`` and, with the Hessian ``H_t`` of the batch's
loss, the derivatives before the step follow. Each costs a few elementwise products a step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from attribution_core.training import Recipe

Vectors = dict[str, Tensor]


@dataclass(frozen=True)
class Taken:
    """A step of the training, as far as the way back needs it.

    Attributes:
        step: Number of the step, from 0.
        weights: Weights before the step.
        gradient: The step's gradient ``G_t``; empty for SGD, like the others.
        first: Adam's average of gradients after the step.
        second: Adam's average of squared gradients after the step.
    """

    step: int
    weights: Vectors
    gradient: Vectors = field(default_factory=dict)
    first: Vectors = field(default_factory=dict)
    second: Vectors = field(default_factory=dict)


# The vectors of a step that an adjoint needs: those of Taken.
Needed = Literal["weights", "gradient", "first", "second"]


class Adjoint(ABC):
    """The derivatives of the final loss in the weights and in the state of an optimizer.

    Attributes:
        gamma: Derivatives in the weights, ``[r, ...]`` for each parameter.
        needed: What it needs of each step.
    """

    needed: tuple[Needed, ...] = ("weights",)

    def __init__(self, recipe: Recipe, rates: list[float], start: Vectors) -> None:
        self.recipe, self.rates = recipe, rates
        self.gamma = {name: value.clone() for name, value in start.items()}

    @abstractmethod
    def of_gradient(self, taken: Taken) -> Vectors:
        """Return ``u = d loss / d G_t`` of a step; to be followed by :meth:`go_back`."""

    @abstractmethod
    def go_back(self, taken: Taken, u: Vectors, curved: Vectors) -> None:
        """Go to before the step, given ``H_t u`` (and whatever else the step's gradient adds to gamma)."""


class SGDAdjoint(Adjoint):
    """Adjoint of ``v_t = p v_{t-1} + G_t + lambda w_{t-1}, w_t = w_{t-1} - eta_t v_t``.

    With the derivative delta in ``v_t`` by way of later steps: ``u = delta - eta gamma``, ``delta <- p u``,
    ``gamma <- gamma + lambda u + H u``.
    """

    def __init__(self, recipe: Recipe, rates: list[float], start: Vectors) -> None:
        super().__init__(recipe, rates, start)
        self._delta = {name: torch.zeros_like(value) for name, value in start.items()}

    def of_gradient(self, taken: Taken) -> Vectors:
        """As :meth:`Adjoint.of_gradient`."""
        return {name: self._delta[name] - self.rates[taken.step] * self.gamma[name] for name in self.gamma}

    def go_back(self, taken: Taken, u: Vectors, curved: Vectors) -> None:  # noqa: ARG002
        """As :meth:`Adjoint.go_back`."""
        for name in self.gamma:
            self._delta[name] = self.recipe.momentum * u[name]
            self.gamma[name] += self.recipe.weight_decay * u[name] + curved[name]


class AdamAdjoint(Adjoint):
    r"""Adjoint of Adam and AdamW as PyTorch has them (Kingma and Ba 2015; Loshchilov and Hutter 2019).

    With ``g_t = G_t + lambda w_{t-1}`` (Adam) or ``g_t = G_t`` (AdamW) and ``c_k = 1 - b_k^t``, elementwise,

        m_t = b_1 m_{t-1} + (1 - b_1) g_t,    v_t = b_2 v_{t-1} + (1 - b_2) g_t^2,
        w_t = q w_{t-1} - (eta_t / c_1) m_t / d_t,    d_t = sqrt(v_t / c_2) + epsilon,

    with ``q = 1 - eta_t lambda`` for AdamW and 1 for Adam. With the derivatives mu in ``m_t`` and nu in ``v_t`` by way
    of later steps, and those of ``w_t``,

        mu' = mu - (eta_t / c_1) gamma / d_t,
        nu' = nu + (eta_t / c_1) gamma m_t / (2 d_t^2 sqrt(c_2 v_t)),
        u = (1 - b_1) mu' + 2 (1 - b_2) g_t nu',
        mu <- b_1 mu',    nu <- b_2 nu',    gamma <- q gamma + H u (+ lambda u for Adam).

    Where ``v_t = 0``, all gradients so far were zero, so ``v_t`` has no first-order change: the second term of nu' is
    left out there. Elsewhere ``m_t / sqrt(v_t)`` is bounded (for ``b_1^2 < b_2``, by Cauchy and Schwarz), so all terms
    are finite. The derivative can still be large, ``1 / epsilon``, where gradients are below epsilon.
    """

    needed = ("weights", "gradient", "first", "second")

    def __init__(self, recipe: Recipe, rates: list[float], start: Vectors) -> None:
        super().__init__(recipe, rates, start)
        self._mu = {name: torch.zeros_like(value) for name, value in start.items()}
        self._nu = {name: torch.zeros_like(value) for name, value in start.items()}

    def of_gradient(self, taken: Taken) -> Vectors:
        """As :meth:`Adjoint.of_gradient`."""
        b1, b2 = self.recipe.momentum, self.recipe.second_momentum
        debias1, debias2 = 1 - b1 ** (taken.step + 1), 1 - b2 ** (taken.step + 1)
        size = self.rates[taken.step] / debias1
        decay = self.recipe.weight_decay if self.recipe.optimizer == "adam" else 0.0
        found = {}
        for name, gamma in self.gamma.items():
            root = taken.second[name].sqrt()
            ratio = torch.where(root > 0, taken.first[name] / root, 0.0)
            denominator = root / debias2**0.5 + EPSILON
            gradient = taken.gradient[name] + decay * taken.weights[name]
            moved = size * gamma / denominator
            self._mu[name] = self._mu[name] - moved
            self._nu[name] = self._nu[name] + moved * ratio / (2 * denominator * debias2**0.5)
            found[name] = (1 - b1) * self._mu[name] + 2 * (1 - b2) * gradient * self._nu[name]
        return found

    def go_back(self, taken: Taken, u: Vectors, curved: Vectors) -> None:
        """As :meth:`Adjoint.go_back`."""
        decay = self.recipe.weight_decay
        for name, gamma in self.gamma.items():
            self._mu[name] *= self.recipe.momentum
            self._nu[name] *= self.recipe.second_momentum
            if self.recipe.optimizer == "adam":
                self.gamma[name] = gamma + decay * u[name] + curved[name]
            else:
                self.gamma[name] = (1 - self.rates[taken.step] * decay) * gamma + curved[name]


EPSILON = 1e-8  # PyTorch's default, which training.optimizer_of keeps


def adjoint_of(recipe: Recipe, rates: list[float], start: Vectors) -> Adjoint:
    """Return the adjoint of a recipe's optimizer, at the end of a training, from derivatives in the final weights."""
    return (SGDAdjoint if recipe.optimizer == "sgd" else AdamAdjoint)(recipe, rates, start)
