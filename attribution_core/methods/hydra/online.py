r"""Hessian-free HYDRA while training goes on, for when it cannot be repeated.

Algorithm 1 (Chen et al. 2021) keeps two vectors for each training example, the derivatives a of the weights and b of
the velocity in its own weight: at every step ``b <- p b + lambda a``, plus its part of the batch's gradient where it is
in the batch, and ``a <- a - eta b``. Here they are sketched: the leading coordinates of every layer's gradient in a
Kronecker-factored basis of the initial network (:mod:`attribution_core.gradients.kronecker`), ``dimension`` in all.
A step of an example outside the batch is a 2 x 2 matrix of scalars, so those are multiplied up for each example and
applied when it is next met: a step costs ``O(batch dimension)``, whatever the number of examples, and any schedule of
rates will do, known before or not. Memory is ``2 n dimension`` numbers, where the paper's takes ``2 n |w|``.

A few training examples are followed without a sketch as well. Their effects on the evaluation examples are exact
(Hessian-free) and are what the sketch's error is measured by.

The basis belongs to the initial network, and gradients leave it while training goes on: LeNet-5, 640 images of
Fashion-MNIST, 10 epochs, 4,000 of 61,706 coordinates: relative error 0.19, rank correlation 0.996 (random Kronecker
projections of the same size: 0.23 and 0.91). Where a second pass is possible, :func:`attribution_core.hydra` is exact.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from attribution_core.gradients.jacobian import factor_blocks
from attribution_core.gradients.kronecker import kronecker_plan
from attribution_core.gradients.layers import LayerFactors
from attribution_core.gradients.per_example import Watch
from attribution_core.gradients.plan import ParameterPlan, as_inputs
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.methods.hydra.contributions import Contributions
from attribution_core.methods.hydra.pairs import EVALUATION_BATCH, evaluation_factors, factored_layers
from attribution_core.methods.hydra.replay import refuse_meeting_examples, refuse_other_optimizers
from attribution_core.models import evaluation_mode
from attribution_core.training import Recipe, as_pair
from attribution_core.training.trainer import LabeledData

# Coordinates kept; and training examples followed without a sketch, while their vectors fit into CHECKED_BYTES.
DIMENSION = 4000
CHECKED = 16
CHECKED_BYTES = 2**30


@dataclass(frozen=True)
class SketchError:
    """How far the sketched effects are from the Hessian-free ones, on the training examples followed without a sketch.

    Attributes:
        examples: How many those are.
        relative: Norm of the difference over the norm of the effects, over all their pairs.
        rank_correlation: Spearman's, over all their pairs.
    """

    examples: int
    relative: float
    rank_correlation: float


class HydraAccumulator:
    """Follows a training, and gives the contributions of its examples at the end.

        accumulator = ac.HydraAccumulator(model, inputs, recipe)
        with accumulator:
            ac.train(model, (inputs, targets), recipe, on_step=accumulator.step)
        found, error = accumulator.contributions(evaluation)

    A training loop of one's own calls ``step`` after the backward pass of the batch's mean loss, before the optimiser's
    step, which is that of SGD with the recipe's momentum and weight decay.

    Args:
        model: At its initial weights; followed from now on.
        inputs: Training inputs ``[n, ...]``.
        recipe: Of the training: its momentum, weight decay and loss.
        dimension: Coordinates kept of each example's gradient; as many as the model has parameters keeps all.
        seed: Of the choice of directions and of the examples followed without a sketch.

    Raises:
        InputError: Another optimiser than SGD, layers in which examples meet, or parameters without per-example
            gradients by factors.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, recipe: Recipe, dimension: int = DIMENSION, seed: int = 0
    ) -> None:
        refuse_other_optimizers(recipe)
        refuse_meeting_examples(model)
        whole = factored_layers(model, inputs)
        self.model = model
        self.recipe = recipe
        self.num_examples = len(inputs)
        self._sketch = _Followed(kronecker_plan(model, inputs, whole, dimension, seed), self.num_examples, model)
        checked = min(CHECKED, len(inputs), max(1, CHECKED_BYTES // (8 * whole.width)))
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
        self._checked = order[:checked].sort().values.to(self._sketch.device)
        self._place = torch.full((len(inputs),), -1, device=self._sketch.device)
        self._place[self._checked] = torch.arange(checked, device=self._sketch.device)
        self._whole = _Followed(whole, checked, model)
        self._watch = Watch(whole.layers)
        self._open = ExitStack()

    def __enter__(self) -> "HydraAccumulator":
        self._open.enter_context(self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def step(self, batch: Tensor, rate: float) -> None:
        """Takes in one step: the examples of its batch ``[b]`` and its learning rate.

        Raises:
            InputError: No backward pass was seen since the last step.
        """
        factors = self._watch.factors()
        batch = batch.to(self._sketch.device)
        places = self._place[batch]
        inside = places >= 0
        momentum, decay = self.recipe.momentum, self.recipe.weight_decay
        self._sketch.step(batch, factors, rate, momentum, decay)
        self._whole.step(places[inside], [layer.take(inside) for layer in factors], rate, momentum, decay)

    def contributions(self, evaluation: LabeledData) -> tuple[Contributions, SketchError]:
        """Effects ``[n, m]`` by the model's present weights, and their error."""
        inputs, targets = as_pair(evaluation)
        inputs = as_inputs(inputs, next(self.model.parameters()))
        targets = targets.to(inputs.device)

        def of_part(part: slice) -> tuple[Tensor, Tensor]:
            factors = evaluation_factors(self.model, self._watch.layers, inputs[part], targets[part], self.recipe.loss)
            return -self._sketch.responses(factors), -self._whole.responses(factors)

        with evaluation_mode(self.model):
            parts = [found for _, found in AdaptiveBatchSize(EVALUATION_BATCH).map_slices(of_part, len(inputs))]
        effect, right = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
        return Contributions(effect), _error(effect[self._checked], right)


class _Followed:
    """The derivatives a and b of some examples, in some coordinates of the parameters."""

    def __init__(self, plan: ParameterPlan, examples: int, model: nn.Module) -> None:
        example = next(model.parameters())
        self.plan = plan
        self.device = example.device
        self._state = example.new_zeros(2, examples, plan.width)
        # What the steps since an example was last met do to (a, b); met or not, each step is one product for all.
        self._pending = torch.eye(2, dtype=torch.float64, device=example.device).repeat(examples, 1, 1)

    def step(self, rows: Tensor, factors: Sequence[LayerFactors], rate: float, momentum: float, decay: float) -> None:
        """One step of Algorithm 1, with the given examples in the batch."""
        matrix = [[1 - rate * decay, -rate * momentum], [decay, momentum]]
        self._pending = torch.tensor(matrix, dtype=torch.float64, device=self.device) @ self._pending
        if len(rows) == 0:
            return
        gradients = self._coordinates(factors)
        before = self._state[:, rows]
        passed = torch.einsum("bxy,ybd->xbd", self._pending[rows].to(before), before)
        passed[0] -= rate * gradients
        passed[1] += gradients
        self._state[:, rows] = passed
        self._pending[rows] = torch.eye(2, dtype=torch.float64, device=self.device)

    def responses(self, factors: Sequence[LayerFactors]) -> Tensor:
        """``<a_i, g_j>`` for the gradients of a batch of evaluation examples: ``[examples, b]``."""
        others = self._coordinates(factors).T
        scales = self._pending[:, 0].to(others)  # a = scales_0 a + scales_1 b, after the steps since
        return scales[:, :1] * (self._state[0] @ others) + scales[:, 1:] * (self._state[1] @ others)

    def _coordinates(self, factors: Sequence[LayerFactors]) -> Tensor:
        blocks = factor_blocks(factors, self.plan)
        return torch.cat([blocks[name][:, 0] for name in self.plan.coordinates], dim=1)


def _error(sketched: Tensor, exact: Tensor) -> SketchError:
    size = float(exact.double().norm())
    relative = float((sketched.double() - exact.double()).norm()) / size if size > 0 else 0.0
    ranks = spearmanr(sketched.flatten().cpu(), exact.flatten().cpu())[0] if exact.numel() > 1 else 1.0
    return SketchError(len(exact), relative, float(ranks))
