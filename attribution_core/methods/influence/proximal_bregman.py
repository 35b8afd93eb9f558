r"""The proximal Bregman response, which influence functions approximate.

Bae et al. 2022, "If influence functions are the answer, then what is the question?", equations of the appendix. Given
weights ``w_s``, converged or not, examples S to remove and ``eps = 1/n`` for each:

- **retraining** minimizes ``J(w) - eps sum_S l_i(w)`` (eq. 11), from fresh weights (cold) or from ``w_s`` (warm);
- the **proximal response** adds ``damping/2 |w - w_s|^2`` (eq. 21);
- the **proximal Bregman response** replaces J, which further training would lower whatever is removed, by a term that
  keeps the outputs where they are (eq. 28):

      (1/n) sum_i D_i(f(w, x_i), f(w_s, x_i)) - eps sum_S l_i(w) + damping/2 |w - w_s|^2,
      D_i(y, y') = l_i(y) - l_i(y') - grad l_i(y') . (y - y')                                                 (eq. 29)

- its **linearized** form expands outputs to first order in ``w - w_s``, D to second and ``l_i`` of S to first order
  (eq. 38). Its minimum is ``w_s + (C + damping I)^{-1} eps sum_S grad l_i`` with the Gauss-Newton matrix C (eq. 46):
  the influence function;
- **two-stage** retraining (appendix D.2) is ``w_s`` plus the difference of warm retraining without S and with it.

Here J has no weight decay of its own. For a model that was trained with weight decay, D contains it as well, so add it
to the damping. The Bregman term is computed in float64 from float32 outputs, since near ``w_s`` it is a difference of
nearly equal numbers. A full-batch step of any objective costs a forward and a backward pass over the data (linearized:
a forward-mode and a reverse-mode pass).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp

from attribution_core.errors import InputError
from attribution_core.methods.curvature.losses import Loss, hessian_product, prediction_errors
from attribution_core.models import evaluation_mode
from attribution_core.models.weights import StateDict
from attribution_core.progress import report
from attribution_core.training import Recipe, as_pair, loss_values, outputs_of, train
from attribution_core.training.trainer import LabeledData, optimizer_of, state_of
from attribution_core.training.trajectory import batches

Kind = Literal["proximal", "bregman", "linearized"]
_BATCH = 1024


@dataclass(frozen=True)
class Response:
    """Weights after the response to a removal.

    Attributes:
        weights: Parameters and buffers after the response, on the CPU.
        objective: Value of the objective at these weights.
        gradient_norm: Norm of the objective's gradient there, divided by that at ``w_s``; 0 at a minimum.
        steps: Number of optimizer steps, or of evaluations by L-BFGS.
    """

    weights: StateDict
    objective: float
    gradient_norm: float
    steps: int


def proximal_bregman_response(
    model: nn.Module,
    data: LabeledData,
    removed: int | Sequence[int],
    damping: float,
    loss: Loss = "cross_entropy",
    linearized: bool = False,
    recipe: Recipe | None = None,
    iterations: int = 200,
) -> Response:
    """Return the weights after the proximal Bregman response to a removal (eqs. 28 and 30; linearized, eq. 38).

    Args:
        model: Model at ``w_s``; used in evaluation mode and left as it was.
        data: Training examples.
        removed: Index of the example to remove, or indices of a group.
        damping: Damping of the mean objective.
        loss: Loss of the training; all supported losses are convex in the outputs.
        linearized: Whether to use the linearized form.
        recipe: Recipe whose SGD, Adam or AdamW minimizes the objective, with its learning rate, batches and epochs (its
            weight decay is not used). None uses L-BFGS with strong Wolfe line searches on all examples.
        iterations: Maximum number of L-BFGS iterations.

    Raises:
        InputError: There is no example to remove, an index does not exist, or the damping is below zero.
    """
    kind: Kind = "linearized" if linearized else "bregman"
    return _respond(kind, model, data, removed, damping, loss, recipe, iterations)


def proximal_response(
    model: nn.Module,
    data: LabeledData,
    removed: int | Sequence[int],
    damping: float,
    loss: Loss = "cross_entropy",
    recipe: Recipe | None = None,
    iterations: int = 200,
) -> Response:
    """Return the weights after the proximal response (eq. 21).

    With a damping of 0 this is warm retraining in evaluation mode.

    Arguments and errors are those of :func:`proximal_bregman_response`.
    """
    return _respond("proximal", model, data, removed, damping, loss, recipe, iterations)


def train_without(
    model: nn.Module,
    data: LabeledData,
    removed: int | Sequence[int],
    recipe: Recipe,
    start: StateDict,
) -> StateDict:
    """Return the weights after training without some examples (eq. 11).

    Removed examples keep their places in the batches with weight zero, and the loss is still divided by the batch size.
    So the batches are in the same order as in training on all examples, and ``eps = 1/n``.

    Args:
        model: Model of the architecture to train; left as it was.
        data: Training examples.
        removed: Index of the example to remove, indices of a group, or ``[]`` for none.
        recipe: Recipe of the training.
        start: Parameters and buffers to start from: fresh weights (cold) or ``w_s`` (warm).
    """
    examples = as_pair(data)
    weights = torch.ones(len(examples[0]))
    weights[list(_group(removed, len(examples[0]), allow_none=True))] = 0.0
    before, training = state_of(model), model.training
    try:
        model.load_state_dict(start)
        train(model, examples, recipe, sample_weights=weights)
        return state_of(model)
    finally:
        model.load_state_dict(before)
        model.train(training)


def two_stage_response(
    model: nn.Module,
    data: LabeledData,
    removed: int | Sequence[int],
    recipe: Recipe,
) -> StateDict:
    """Return ``w_s`` plus the difference between warm retraining without the examples and with them (D.2).

    Arguments are those of :func:`train_without`; the model must be at ``w_s``.
    """
    start = state_of(model)
    without = train_without(model, data, removed, recipe, start)
    return two_stage_weights(start, without, train_without(model, data, [], recipe, start))


def two_stage_weights(start: StateDict, without: StateDict, everything: StateDict) -> StateDict:
    """Return ``w_s`` plus the difference between warm retraining without the examples and with them.

    Args:
        start: ``w_s``.
        without: Weights after warm retraining without the examples.
        everything: Weights after warm retraining with all examples.
    """
    return {
        name: value + without[name] - everything[name] if value.is_floating_point() else value
        for name, value in start.items()
    }


def _respond(
    kind: Kind,
    model: nn.Module,
    data: LabeledData,
    removed: int | Sequence[int],
    damping: float,
    loss: Loss,
    recipe: Recipe | None,
    iterations: int,
) -> Response:
    if damping < 0:
        raise InputError(f"The damping must be 0 or more, not {damping:.3g}.")
    inputs, targets = as_pair(data)
    example = next(model.parameters())
    inputs = inputs.to(device=example.device, dtype=example.dtype if inputs.is_floating_point() else None)
    group = torch.tensor(_group(removed, len(inputs)), device=example.device)
    before = state_of(model)
    with evaluation_mode(model):
        try:
            objective = _Objective(kind, model, inputs, targets.to(example.device), group, damping, loss)
            first = float(objective.evaluate(None)[1])
            steps = _by_lbfgs(objective, iterations) if recipe is None else _by_batches(objective, recipe)
            value, last = objective.evaluate(None)
            if not torch.isfinite(value):
                raise InputError(
                    f"No minimum of the {kind} response was found: with a damping of {damping:.3g} the objective falls "
                    "without limit. Increase the damping, remove fewer examples, or use smaller steps."
                )
            return Response(state_of(model), float(value), float(last) / max(first, 1e-300), steps)
        finally:
            for parameter in model.parameters():
                parameter.grad = None
            model.load_state_dict(before)


class _Objective:
    """One of the objectives described in the module docstring, on all examples or on a batch."""

    def __init__(
        self, kind: Kind, model: nn.Module, inputs: Tensor, targets: Tensor, group: Tensor, damping: float, loss: Loss
    ) -> None:
        self.kind, self.model, self.loss, self.damping = kind, model, loss, damping
        self.inputs, self.targets, self.group = inputs, targets, group
        self.parameters = dict(model.named_parameters())
        self._start = {name: value.detach().clone() for name, value in self.parameters.items()}
        self._buffers = dict(model.named_buffers())
        self._outputs = outputs_of(model, inputs)
        self._errors = prediction_errors(self._outputs, targets, loss)

    def evaluate(self, batch: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the value, float64, and the norm of the gradient, which is stored in the parameters."""
        n = len(self.inputs)
        for parameter in self.parameters.values():
            parameter.grad = None
        indices = torch.arange(n, device=self.inputs.device) if batch is None else batch
        value = torch.zeros((), dtype=torch.float64, device=self.inputs.device)
        for part in indices.split(_BATCH):
            value += self._fit(part, 1 / len(indices))
        for part in self.group.split(_BATCH):
            value -= self._removed(part, 1 / n)
        squares = torch.zeros_like(value)
        for name, change in self._change().items():
            parameter = self.parameters[name]
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.add_(change, alpha=self.damping)
            value += self.damping / 2 * change.double().square().sum()
            squares += parameter.grad.double().square().sum()
        return value, squares.sqrt()

    def _fit(self, part: Tensor, weight: float) -> Tensor:
        """Return the term that keeps the outputs near the targets or where they were, for some examples."""
        if self.kind == "linearized":
            return self._linearized_fit(part, weight)
        targets, outputs = self.targets[part], self.model(self.inputs[part]).double()
        total = loss_values(outputs, targets, self.loss).sum()
        if self.kind == "bregman":
            start = self._outputs[part].double()
            total = total - loss_values(start, targets, self.loss).sum()
            total = total - (self._errors[part].double() * (outputs - start)).sum()
        (weight * total).backward()
        return weight * total.detach()

    def _linearized_fit(self, part: Tensor, weight: float) -> Tensor:
        """Return ``(1/2) u^T Lambda u`` for the first-order change u; its gradient is a Gauss-Newton product."""
        outputs_at = self._outputs_at(part)
        start, u = jvp(outputs_at, (self._start,), (self._change(),))[:2]
        curved = hessian_product(start, u, self.loss)
        self._add_gradient(vjp(outputs_at, self._start)[1](weight * curved)[0])
        return weight / 2 * (u.double() * curved.double()).sum()

    def _removed(self, part: Tensor, weight: float) -> Tensor:
        """Return the removed examples' losses; linearized, their first-order change from the start."""
        if self.kind != "linearized":
            total = loss_values(self.model(self.inputs[part]).double(), self.targets[part], self.loss).sum()
            (-weight * total).backward()
            return weight * total.detach()
        gradient = vjp(self._outputs_at(part), self._start)[1](self._errors[part] * weight)[0]
        self._add_gradient({name: -value for name, value in gradient.items()})
        return sum(((each.double() * gradient[name]).sum() for name, each in self._change().items()), torch.zeros(()))

    def _outputs_at(self, part: Tensor) -> Callable[[dict[str, Tensor]], Tensor]:
        """Return the outputs of some examples as a function of the parameters."""
        return lambda weights: functional_call(self.model, weights | self._buffers, (self.inputs[part],))

    def _change(self) -> dict[str, Tensor]:
        """Return ``w - w_s``."""
        return {name: value.detach() - self._start[name] for name, value in self.parameters.items()}

    def _add_gradient(self, gradient: dict[str, Tensor]) -> None:
        for name, value in gradient.items():
            parameter = self.parameters[name]
            parameter.grad = value if parameter.grad is None else parameter.grad + value


def _by_lbfgs(
    objective: _Objective,
    iterations: int,
) -> int:
    """Minimize until the gradient's largest entry has shrunk by the square root of the machine precision.

    The gradient at the start must be in the parameters.
    """
    calls = 0
    precision = torch.finfo(next(iter(objective.parameters.values())).dtype).eps
    largest = max(
        float(parameter.grad.abs().max()) for parameter in objective.parameters.values() if parameter.grad is not None
    )
    optimizer = torch.optim.LBFGS(
        list(objective.parameters.values()),
        max_iter=iterations,
        max_eval=2 * iterations,
        history_size=50,
        tolerance_grad=precision**0.5 * largest,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        report(min(calls, 2 * iterations), 2 * iterations, f"{objective.kind} response")
        return objective.evaluate(None)[0]

    optimizer.step(closure)
    return calls


def _by_batches(
    objective: _Objective,
    recipe: Recipe,
) -> int:
    n = len(objective.inputs)
    recipe, steps = recipe.model_copy(update={"weight_decay": 0.0}), recipe.steps(n)
    optimizer = optimizer_of(objective.model, recipe, n)
    for step, batch in enumerate(batches(recipe, n)):
        optimizer.param_groups[0]["lr"] = recipe.rate(step, steps)
        objective.evaluate(batch.to(objective.inputs.device))
        optimizer.step()
        report(step + 1, steps, f"{objective.kind} response")
    return steps


def _group(removed: int | Sequence[int], n: int, allow_none: bool = False) -> list[int]:
    group = [removed] if isinstance(removed, int) else [int(i) for i in removed]
    wrong = [i for i in group if not 0 <= i < n]
    if wrong or (not group and not allow_none) or len(set(group)) < len(group):
        raise InputError(
            f"Expected at least one example to remove, with different indices in 0..{n - 1}, not {wrong or group}."
        )
    return group
