"""Sizes of a run before it is made: what the formulas for its memory and its time are made of."""

import copy
from functools import cached_property

from torch import Tensor, nn

from attribution_core.gradients import plan_parameters
from attribution_core.gradients.ntk import multiplications_of_a_pair
from attribution_core.methods.linearized.build import head_inputs
from attribution_core.preparation.prepare import Prepared
from attribution_core.training import outputs_of


class RunSizes:
    """Sizes of a run that is to be made.

    Attributes:
        config: What to score, and how.
        model: Of the run's kind, at its initial weights; not to be changed.
        n: Training examples.
        m: Validation examples that effects are measured on.
        validation: Validation examples.
        tested: Test examples.
        num_parameters: Of the model.
        device: Whose memory and time it is.
        two_inputs: Two examples as the model takes them.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.config = prepared.config
        self.model = prepared.initial_model
        self.n, self.validation, self.tested = (len(split) for split in prepared.splits)
        self.m = prepared.evaluated
        self.num_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.device = prepared.device
        self.two_inputs = prepared.two_inputs

    def with_examples(self, n: int) -> "RunSizes":
        """Return the sizes of the same run with another number of training examples."""
        fewer = copy.copy(self)
        fewer.n = n
        return fewer

    @property
    def total(self) -> int:
        """Number of examples in all splits."""
        return self.n + self.validation + self.tested

    @property
    def input_bytes(self) -> int:
        """Bytes of all examples as the model takes them, which a run holds throughout."""
        return 4 * self.two_inputs[0].numel() * self.total

    @property
    def outputs(self) -> int:
        """Number of the model's outputs, k."""
        return self._outputs_and_activation_bytes[0]

    @property
    def activation_bytes(self) -> int:
        """Bytes of the outputs of all layers, for one example."""
        return self._outputs_and_activation_bytes[1]

    @cached_property
    def _outputs_and_activation_bytes(self) -> tuple[int, int]:
        numbers: list[int] = []

        def count(_module: nn.Module, _given: tuple, result: object) -> None:
            results = result if isinstance(result, tuple) else (result,)
            numbers.extend(each.numel() for each in results if isinstance(each, Tensor))

        leaves = [module for module in self.model.modules() if not list(module.children())]
        hooks = [module.register_forward_hook(count) for module in leaves]
        try:
            outputs = outputs_of(self.model, self.two_inputs[:1])
        finally:
            for hook in hooks:
                hook.remove()
        return outputs.shape[1], 4 * sum(numbers)

    @cached_property
    def multiplications_of_a_pair(self) -> int:
        """Multiplications of one inner product of two examples' gradients in all parameters."""
        plan = plan_parameters(self.model, self.two_inputs[:1], "all")
        return multiplications_of_a_pair(self.model, self.two_inputs, plan)

    @cached_property
    def head_width(self) -> int:
        """Number of inputs of the model's last layer.

        Raises:
            InputError: The model does not end in a linear layer.
        """
        return int(head_inputs(self.model, self.two_inputs[:1]).shape[1])
