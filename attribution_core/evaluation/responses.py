r"""The question that an influence function answers, beside the one that people ask: five stages between the two.

Bae et al. 2022, appendix C.2, for one removed example and a model trained for K epochs to the weights ``w_s``:

1. cold: trained again without it, from the same first weights for K + K/2 epochs in the same order of batches;
2. warm: trained on without it for K/2 epochs;
3. proximal: the same with ``damping/2 |w - w_s|^2`` added (eq. 21);
4. Bregman: the proximal Bregman response (eq. 28);
5. linearized: its linearized form (eq. 38);
6. influence: the influence function (eq. 46), which is the minimum of 5.

The distances ``|f - f'|`` between the outputs of neighboring stages on the training set are the five parts of table 5:
what separates the answer to the question asked (1) from that of the influence function (6). Stages 4 and 5 are
minimized by L-BFGS on all examples, and 6 is solved by conjugate gradients, so that the parts match their definitions.
For an example this takes about 2.5 K epochs of training, up to 400 passes over the data for each of 4 and 5, and up to
200 products with the Gauss-Newton matrix.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution_core.gradients.plan import as_inputs
from attribution_core.methods.curvature.losses import Loss, prediction_errors
from attribution_core.methods.influence.functions import influence_weights
from attribution_core.methods.influence.proximal_bregman import (
    proximal_bregman_response,
    proximal_response,
    train_without,
    two_stage_weights,
)
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models import evaluation_mode
from attribution_core.models.runtime import forward_mode
from attribution_core.models.weights import StateDict
from attribution_core.progress import retitled, silenced
from attribution_core.training import Recipe, loss_values, outputs_of
from attribution_core.training.trainer import state_of

PARTS = ("warm-start", "proximity", "non-convergence", "linearization", "solver")
STAGES = ("cold", "warm", "proximal", "bregman", "linearized", "influence")
COMPARED = ("cold", "warm", "two-stage", "bregman")  # retrainings that an influence function is compared with
_TOLERANCE = 1e-4  # of conjugate gradients


@dataclass(frozen=True)
class RemovalStages:
    """What the stages give for one removed example.

    Attributes:
        parts: Distances of the outputs on the training set between neighboring stages, by the names in ``PARTS``.
        changes: Change of the loss on each evaluation example by each retraining in ``COMPARED``, ``[m]``.
        predicted: The same as the influence function predicts it, ``grad l_j . (w - w_s)`` (eq. 20), ``[m]``.
    """

    parts: dict[str, float]
    changes: dict[str, Tensor]
    predicted: Tensor


@dataclass(frozen=True)
class Removals:
    """Compute the stages for examples of one training; see the module.

    Attributes:
        model: The model at ``w_s``; left as it was.
        initial: Weights that its training began with.
        train: Training examples.
        evaluation: Evaluation examples.
        recipe: Recipe of the training. Its weight decay counts as damping from stage 4 on, whose Bregman term has it.
        damping: Damping of the mean objective, beside the weight decay.
    """

    model: nn.Module
    initial: StateDict
    train: InputsAndTargets
    evaluation: InputsAndTargets
    recipe: Recipe
    damping: float

    def of(self, example: int) -> RemovalStages:
        """Return the stages for one removed example.

        Raises:
            InputError: A stage has no minimum.
        """
        start = state_of(self.model)
        weights = dict(self._weights(example, start))
        predicted = self._predicted(start, weights["influence"])
        outputs = {name: outputs_at(self.model, weights[name], self.train[0]) for name in STAGES}
        distances = [float((outputs[a] - outputs[b]).norm()) for a, b in itertools.pairwise(STAGES)]
        weights["two-stage"] = two_stage_weights(start, weights["warm"], self._warm_with_all)
        before = self._losses(start)
        changes = {name: self._losses(weights[name]) - before for name in COMPARED}
        self.model.load_state_dict(start)
        return RemovalStages(dict(zip(PARTS, distances, strict=True)), changes, predicted)

    @functools.cached_property
    def _warm_with_all(self) -> StateDict:
        return self._trained([], self._more(0), state_of(self.model))

    def _weights(self, example: int, start: StateDict) -> Iterator[tuple[str, StateDict]]:
        loss: Loss = self.recipe.loss
        damped = self.damping + self.recipe.weight_decay
        warm = self._more(0)
        bregman = functools.partial(proximal_bregman_response, self.model, self.train, example, damped, loss)
        with retitled(lambda _: f"removing example {example}"):
            yield "cold", self._trained([example], self._more(self.recipe.epochs), self.initial)
            yield "warm", self._trained([example], warm, start)
            near = proximal_response(self.model, self.train, example, self.damping, loss, recipe=warm)
            yield "proximal", near.weights
            yield "bregman", bregman().weights
            yield "linearized", bregman(linearized=True).weights
        with silenced():
            groups: Sequence[Sequence[int]] = [[example]]
            moved, _ = influence_weights(
                self.model, self.train, groups, loss=loss, solver="cg", damping=damped, tolerance=_TOLERANCE
            )
        yield "influence", moved[0]

    def _trained(self, removed: list[int], recipe: Recipe, start: StateDict) -> StateDict:
        return train_without(self.model, self.train, removed, recipe, start)

    def _more(self, before: int) -> Recipe:
        """Return the recipe for K/2 epochs, at least one, after some others."""
        return self.recipe.model_copy(update={"epochs": before + max(1, self.recipe.epochs // 2)})

    def _losses(self, weights: StateDict) -> Tensor:
        inputs, targets = self.evaluation
        outputs = outputs_at(self.model, weights, inputs)
        return loss_values(outputs, targets.to(outputs.device), self.recipe.loss)

    def _predicted(self, start: StateDict, moved: StateDict) -> Tensor:
        """Return the change of the evaluation losses to first order in the change of the weights."""
        self.model.load_state_dict(start)
        inputs, targets = self.evaluation
        errors = prediction_errors(outputs_of(self.model, inputs), targets, self.recipe.loss)
        return (moved_outputs(self.model, start, moved, inputs) * errors).sum(dim=1)


def outputs_at(model: nn.Module, weights: StateDict, inputs: Tensor) -> Tensor:
    """Return the outputs at given weights, which the model keeps."""
    model.load_state_dict(weights)
    return outputs_of(model, inputs)


def moved_outputs(model: nn.Module, start: StateDict, moved: StateDict, inputs: Tensor) -> Tensor:
    """Return the change of the outputs to first order in the change of the weights, ``[m, k]``.

    Args:
        model: The model at ``start``; used in evaluation mode.
        start: Its weights.
        moved: Other weights.
        inputs: Inputs.
    """
    here = dict(model.named_parameters())
    change = {name: moved[name].to(value) - start[name].to(value) for name, value in here.items()}
    inputs = as_inputs(inputs, next(iter(here.values())))

    def outputs(weights: StateDict) -> Tensor:
        return torch.func.functional_call(model, weights, (inputs,))

    with evaluation_mode(model), forward_mode():
        return torch.func.jvp(outputs, (here,), (change,))[1].detach()
