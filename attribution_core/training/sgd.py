"""SGD with PyTorch's own update, without its optimizer's import of the compiler.

``torch.optim.SGD`` imports ``torch._dynamo`` when it is made, which takes four seconds of every command that trains,
and which nothing here uses. The update is that of ``torch.optim.sgd.sgd``, so the weights are the same bit for bit.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class SGD:
    """SGD with momentum, as ``torch.optim.SGD`` does it.

    Attributes:
        param_groups: One group, with the learning rate ``"lr"`` of the next step.
        state: State by parameter that measures read, of which there is none.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        """Start without momentum."""
        self.param_groups: list[dict[str, Any]] = [{"lr": lr}]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._parameters = list(parameters)
        self._momentum, self._weight_decay = momentum, weight_decay
        self._buffers: list[Tensor | None] = [None] * len(self._parameters)

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have gradients."""
        places = [place for place, each in enumerate(self._parameters) if each.grad is not None]
        gradients = [self._parameters[place].grad for place in places]
        buffers = [self._buffers[place] for place in places]
        sgd(
            [self._parameters[place] for place in places],
            gradients,  # type: ignore[arg-type]
            buffers,
            has_sparse_grad=any(each is not None and each.is_sparse for each in gradients),
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=self.param_groups[0]["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for place, buffer in zip(places, buffers, strict=True):
            self._buffers[place] = buffer

    def state_dict(self) -> dict[str, Any]:
        """Return the learning rate and the momentum, which share their memory with the optimizer's."""
        return {"lr": self.param_groups[0]["lr"], "buffers": list(self._buffers)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`."""
        self.param_groups[0]["lr"], self._buffers = state["lr"], list(state["buffers"])
