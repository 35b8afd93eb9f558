r"""Hessian-free HYDRA during training, for trainings that cannot be repeated.

Algorithm 1 (Chen et al. 2021) keeps two vectors for each training example, the derivatives a of the weights and b of
the velocity in the example's weight: at every step ``b <- p b + lambda a``, plus its share of the batch's gradient if
it is in the batch, and ``a <- a - eta b``. Here they are sketched: only the ``dimension`` leading coordinates of all
layers' gradients are kept, in a Kronecker-factored basis of the initial network
(:mod:`attribution_core.gradients.kronecker`). A step of an example outside the batch is a 2 x 2 matrix of scalars.
These matrices are multiplied for each example and applied when it is next in a batch, so a step costs
``O(batch dimension)`` for any number of examples. The learning rates need not be known in advance. Memory is
``2 n dimension`` numbers, where the paper's algorithm takes ``2 n |w|``.

A few training examples are also followed without a sketch. Their effects on the evaluation examples are exact
(Hessian-free) and serve to measure the sketch's error.

The basis fits the initial network, and gradients leave it during training. For LeNet-5, 640 images of Fashion-MNIST, 10
epochs and 4,000 of 61,706 coordinates, the relative error is 0.19 and the rank correlation 0.996 (random Kronecker
projections of the same size: 0.23 and 0.91). If training can be repeated, :func:`attribution_core.hydra` is exact.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from attribution_core.errors import InputError
from attribution_core.gradients.jacobian import factor_blocks
from attribution_core.gradients.kronecker import kronecker_plan
from attribution_core.gradients.layers import LayerFactors, refuse_unfit
from attribution_core.gradients.per_example import Watch
from attribution_core.gradients.plan import ParameterPlan, as_inputs
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.methods.hydra.contributions import Contributions
from attribution_core.methods.hydra.pairs import EVALUATION_BATCH, evaluation_factors, factored_layers
from attribution_core.methods.hydra.replay import refuse_hessian_free
from attribution_core.models import evaluation_mode
from attribution_core.training import Recipe, as_pair
from attribution_core.training.trainer import LabeledData

# Number of coordinates kept, and of training examples followed without a sketch if their vectors fit into
# CHECKED_BYTES.
DIMENSION = 4000
CHECKED = 16
CHECKED_BYTES = 2**30


@dataclass(frozen=True)
class SketchError:
    """Error of the sketched effects, measured on the training examples that are followed without a sketch.

    Attributes:
        examples: Number of these examples.
        relative: Norm of the difference divided by the norm of the exact effects, over all their pairs.
        rank_correlation: Spearman correlation with the exact effects, over all their pairs.
    """

    examples: int
    relative: float
    rank_correlation: float


class HydraAccumulator:
    """Follows a training and computes the contributions of its examples at the end.

        accumulator = ac.HydraAccumulator(model, inputs, recipe)
        with accumulator:
            ac.train(model, (inputs, targets), recipe, on_step=accumulator.step)
        found, error = accumulator.contributions(evaluation)

    Your own training loop calls ``step`` after the backward pass of the batch's mean loss and before the optimizer's
    step, which must be that of SGD with the recipe's momentum and weight decay.

    Args:
        model: Model at its initial weights.
        inputs: Training inputs ``[n, ...]``.
        recipe: Recipe of the training; its momentum, weight decay and loss are used.
        dimension: Number of coordinates kept of each example's gradient; the number of parameters keeps all.
        seed: Seed of the choice of directions and of the examples that are followed without a sketch.

    Raises:
        InputError: The optimizer is not SGD, a layer mixes the examples of a batch, or a parameter has no per-example
            gradients by factors.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, recipe: Recipe, dimension: int = DIMENSION, seed: int = 0
    ) -> None:
        refuse_hessian_free(recipe)
        _refuse_batch_norm(model)
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
        """Process one step.

        Args:
            batch: Indices of the batch's examples, ``[b]``.
            rate: Learning rate of the step.

        Raises:
            InputError: There was no backward pass since the last step.
        """
        factors = self._watch.factors()
        batch = batch.to(self._sketch.device)
        places = self._place[batch]
        inside = places >= 0
        momentum, decay = self.recipe.momentum, self.recipe.weight_decay
        self._sketch.step(batch, factors, rate, momentum, decay)
        self._whole.step(places[inside], [layer.take(inside) for layer in factors], rate, momentum, decay)

    def contributions(self, evaluation: LabeledData) -> tuple[Contributions, SketchError]:
        """Return the effects ``[n, m]`` at the model's current weights, and their error."""
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
        # Effect on (a, b) of the steps since each example was last in a batch; each step is one product for all
        # examples.
        self._pending = torch.eye(2, dtype=torch.float64, device=example.device).repeat(examples, 1, 1)

    def step(self, rows: Tensor, factors: Sequence[LayerFactors], rate: float, momentum: float, decay: float) -> None:
        """Take one step of Algorithm 1, with the given examples in the batch."""
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
        """Return ``<a_i, g_j>`` for the gradients of a batch of evaluation examples, ``[examples, b]``."""
        others = self._coordinates(factors).T
        scales = self._pending[:, 0].to(others)  # a <- scales_0 a + scales_1 b, for the steps since then
        return scales[:, :1] * (self._state[0] @ others) + scales[:, 1:] * (self._state[1] @ others)

    def _coordinates(self, factors: Sequence[LayerFactors]) -> Tensor:
        blocks = factor_blocks(factors, self.plan)
        return torch.cat([blocks[name][:, 0] for name in self.plan.coordinates], dim=1)


def _refuse_batch_norm(model: nn.Module) -> None:
    """Raise InputError if a layer normalizes by a batch, whose backward pass gives no example a gradient of its own."""
    refuse_unfit(model)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            raise InputError(
                f"Layer {name!r} ({type(module).__name__}) mixes the gradients of a batch's examples, which training "
                "alone cannot tell apart: use hydra, which replays the training, or a model with GroupNorm."
            )


def _error(sketched: Tensor, exact: Tensor) -> SketchError:
    size = float(exact.double().norm())
    relative = float((sketched.double() - exact.double()).norm()) / size if size > 0 else 0.0
    ranks = spearmanr(sketched.flatten().cpu(), exact.flatten().cpu())[0] if exact.numel() > 1 else 1.0
    return SketchError(len(exact), relative, float(ranks))
