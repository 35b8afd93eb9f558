"""Gradients of single examples' losses in parameters without factors: attention, tokens, reused or tied weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from attribution_core.errors import InputError, first_sentence, is_out_of_memory
from attribution_core.models.runtime import differentiable_attention
from attribution_core.training import as_outputs, loss_values

# Bytes that the gradients formed at a time may take.
_BYTES = 256 * 2**20


def rest_gradients(
    model: nn.Module, names: Sequence[str], inputs: Tensor, targets: Tensor, loss: str, num_outputs: int
) -> Tensor:
    """Return the gradient of each example's loss in the named parameters, ``[b, numel]``, by ``torch.func``.

    Args:
        model: The model, used in its current mode, in which it must not mix examples.
        names: Names of the parameters.
        inputs: Inputs ``[b, ...]``, on the model's device.
        targets: Their targets.
        loss: The loss.
        num_outputs: Number of the model's outputs.

    Raises:
        InputError: The model has an operation that ``torch.func`` does not support.
    """
    every = {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}
    chosen = {name: every[name] for name in names}
    if loss != "cross_entropy":  # vmap cannot inspect classes
        targets = as_outputs(targets, num_outputs).to(inputs.dtype)

    def one_loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss_values(functional_call(model, every | weights, (x[None],)), y[None], loss)[0]

    size = sum(value.numel() * value.element_size() for value in chosen.values())
    try:
        with differentiable_attention():
            found = vmap(grad(one_loss), in_dims=(None, 0, 0), chunk_size=max(1, _BYTES // size))(
                chosen, inputs, targets
            )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"Parameter {names[0]!r} has no per-example gradient, neither by factors nor by torch.func "
            f"({first_sentence(error)}): write that operation by others, or call hydra with "
            'objective="mean" or "class".'
        ) from error
    return torch.cat([value.reshape(len(value), -1) for value in found.values()], dim=1)
