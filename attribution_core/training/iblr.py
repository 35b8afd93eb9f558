r"""iBLR: an Adam-like optimizer that learns the mean and diagonal precision of a Gaussian posterior during training.

It follows Lin, Schmidt and Khan 2020, "Handling the positive-definite constraint in the Bayesian learning rule",
figure 1, as used in Nickl et al. 2023, eqs. 50-52. The objective is ``mean of the losses + lambda/2 |w|^2`` over N
examples, which times N is the paper's sum with ``delta = N lambda``. One step draws weights from the posterior,
``theta = m + epsilon / sqrt(N s)``, takes the batch's gradient g there, and computes

    h = g (theta - m) N s               the Hessian's diagonal, by reparameterization, in expectation
    d = h + lambda - s
    s <- s + (1 - beta_2) d + (1 - beta_2)^2 d^2 / (2 s)
    r <- beta_1 r + (1 - beta_1) (g + lambda m)
    m <- m - rate r_hat / s             r_hat = r / (1 - beta_1^t)

(Eq. 52 writes h for d, with which s could only grow; eq. 10 shows what is meant.) The last term of the update of s
keeps it positive for any d: ``s + x + x^2 / (2 s) >= s / 2``. The posterior's precision is ``N s``; s includes lambda.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Initial value of s, as in the authors' code. Training forgets it at the rate 1 - beta_2 per step: with their 0.99999
# hardly at all, so that N s is a prior guess rather than a curvature; with 0.999 it follows the curvature, noisily.
INITIAL_PRECISION = 0.1


class IBLR(torch.optim.Optimizer):
    """The iBLR optimizer.

    The weights are the posterior's mean, except between :meth:`draw` and :meth:`step`, when they are a sample.

    Args:
        parameters: Parameters to train.
        lr: Learning rate.
        betas: Decay rates of the averages of the gradient and of the precision.
        weight_decay: Weight decay lambda.
        examples: Number of training examples N.
        seed: Seed of the draws.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        examples: int,
        seed: int = 0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})
        self.examples = examples
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def draw(self) -> None:
        """Move the weights to a sample of the posterior, at which the next step's gradient is taken."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["step"] = 0
                    state["gradient"] = torch.zeros_like(weight)
                    state["precision"] = torch.full_like(weight, INITIAL_PRECISION)
                noise = torch.randn(weight.shape, generator=self._generator, dtype=weight.dtype).to(weight.device)
                state["mean"] = weight.clone()
                weight.add_(noise / (self.examples * state["precision"]).sqrt())

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002 - Optimizer's own signature
        """Take a step with the gradient at the sample, and set the weights to the new mean."""
        for group in self.param_groups:
            rate, (beta_1, beta_2), decay = group["lr"], group["betas"], group["weight_decay"]
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, weight.grad, rate, beta_1, beta_2, decay)

    def _step(self, weight: Tensor, gradient: Tensor, rate: float, beta_1: float, beta_2: float, decay: float) -> None:
        state = self.state[weight]
        mean, precision = state.pop("mean"), state["precision"]
        state["step"] += 1
        hessian = gradient * (weight - mean) * (self.examples * precision)
        moved = (1 - beta_2) * (hessian + decay - precision)
        precision.add_(moved + moved.square() / (2 * precision))
        state["gradient"].mul_(beta_1).add_(gradient + decay * mean, alpha=1 - beta_1)
        weight.copy_(mean - rate * state["gradient"] / (1 - beta_1 ** state["step"]) / precision)
