"""Which parameters are differentiated, and by which route: layer factors where they are right, else torch.func."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from attribution_core.errors import InputError
from attribution_core.gradients.layers import has_factors, refuse_unfit
from attribution_core.gradients.per_example import layer_factors
from attribution_core.gradients.sketch import Coordinates
from attribution_core.models import evaluation_mode

# Factors are wrong where a parameter also acts outside its layer, and then by much more than rounding (TF32 included).
AGREEMENT = 1e-2


@dataclass(frozen=True)
class ParameterPlan:
    """Which parameters are differentiated, and how.

    Attributes:
        coordinates: Chosen coordinates of each parameter, by name, in the model's order.
        layers: Layers that go through factors, by name.
        rest: Names of the parameters that go through torch.func.
        kept_energy: Trace of the sketched kernel over that of the exact one, 0 to 1; None without such a sketch.
    """

    coordinates: dict[str, Coordinates]
    layers: dict[str, nn.Module]
    rest: list[str]
    kept_energy: float | None = None

    @property
    def width(self) -> int:
        """Number of columns of the Jacobian, p."""
        return sum(len(chosen.indices) for chosen in self.coordinates.values())

    def part(self, names: Collection[str]) -> "ParameterPlan":
        """The plan for some of its parameters."""
        prefixes = {name.rpartition(".")[0] for name in names}
        return replace(
            self,
            coordinates={name: chosen for name, chosen in self.coordinates.items() if name in names},
            layers={name: layer for name, layer in self.layers.items() if name in prefixes},
            rest=[name for name in self.rest if name in names],
        )


def select_parameters(model: nn.Module, parameters: str = "all") -> list[str]:
    """Names of the parameters meant by ``"all"``, ``"head"`` (the last layer that has any) or a regular expression.

    Raises:
        InputError: Nothing matches, or the expression is not one.
    """
    names = [name for name, _ in model.named_parameters()]
    if not names:
        raise InputError("The model has no parameters, so there is nothing to linearise.")
    if parameters == "all":
        return names
    if parameters == "head":
        prefix = names[-1].rpartition(".")[0]
        return [name for name in names if name.rpartition(".")[0] == prefix]
    try:
        chosen = [name for name in names if re.search(parameters, name)]
    except re.error as error:
        raise InputError(f"parameters is not a regular expression: {parameters!r}, {error}.") from error
    if not chosen:
        raise InputError(f"No parameter's name matches {parameters!r}; the model has {', '.join(names[:6])}, ...")
    return chosen


def plan_parameters(
    model: nn.Module, inputs: Tensor, parameters: str = "all", dimension: int | None = None, seed: int = 0
) -> ParameterPlan:
    """Decide how each chosen parameter is differentiated, by passing one and two inputs through the model.

    A layer's factors are used when the layer is of a kind that has them, runs once in a pass, and gives the gradient
    that autograd gives; so a layer used twice, tied weights, and weights that are also used outside their layer all go
    through torch.func.

    Args:
        model: The model.
        inputs: ``[n, ...]``, of which the first two are tried.
        parameters: As in :func:`select_parameters`.
        dimension: Random coordinates kept of each parameter tensor; None keeps all.
        seed: Of that choice.

    Raises:
        InputError: Parameters that do not exist, or a model in which an example has no gradient of its own.
    """
    chosen = select_parameters(model, parameters)
    with evaluation_mode(model):
        layers = _layers_with_factors(model, as_inputs(inputs[:2], next(model.parameters())), chosen)
    generator = torch.Generator().manual_seed(seed)
    sizes = {name: value.numel() for name, value in model.named_parameters()}
    coordinates = {name: Coordinates.choose(sizes[name], dimension or sizes[name], generator) for name in chosen}
    return ParameterPlan(coordinates, layers, [name for name in chosen if name.rpartition(".")[0] not in layers])


def as_inputs(inputs: Tensor, example: Tensor) -> Tensor:
    """Inputs on the device of a parameter, and in its dtype unless they are indices."""
    return inputs.to(device=example.device, dtype=example.dtype if inputs.is_floating_point() else None)


def _layers_with_factors(model: nn.Module, pair: Tensor, chosen: list[str]) -> dict[str, nn.Module]:
    """The layers of the chosen parameters whose factors can be trusted, by name."""
    refuse_unfit(model)
    names = dict.fromkeys(name.rpartition(".")[0] for name in chosen)
    layers = {name: model.get_submodule(name) for name in names if has_factors(model.get_submodule(name))}
    alone, once = _single_uses(model, pair[:1])
    together, once_in_pair = _single_uses(model, pair)
    if not torch.allclose(alone, together[:1], rtol=0.0, atol=AGREEMENT * float(together.abs().max()), equal_nan=True):
        raise InputError(
            "The outputs for an example change with its batch or from call to call, even in evaluation mode, so it has "
            "no gradient of its own: remove what mixes examples or draws random numbers."
        )
    layers = {name: layer for name, layer in layers.items() if layer in once and layer in once_in_pair}
    disagreeing = _disagreeing(model, pair, layers)
    return {name: layer for name, layer in layers.items() if name not in disagreeing}


def _single_uses(model: nn.Module, inputs: Tensor) -> tuple[Tensor, set[nn.Module]]:
    """Outputs, and the modules that run once in the pass with the examples first in what they take and give."""
    uses: Counter[nn.Module] = Counter()
    examples_first: set[nn.Module] = set()

    def hook(module: nn.Module, arguments: tuple, output: object) -> None:
        uses[module] += 1
        sides = (*arguments[:1], output)
        if len(sides) == 2 and all(isinstance(side, Tensor) and side.shape[:1] == inputs.shape[:1] for side in sides):
            examples_first.add(module)

    handles = [module.register_forward_hook(hook) for module in model.modules()]
    try:
        with torch.no_grad():
            outputs = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, {module for module in examples_first if uses[module] == 1}


def _disagreeing(model: nn.Module, inputs: Tensor, layers: dict[str, nn.Module]) -> set[str]:
    """Layers whose factors do not add up to the gradient that autograd gives, for a random mixture of outputs."""
    with torch.no_grad():
        shape = model(inputs).shape
    mixture = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()))
    _, factors = layer_factors(model, inputs, layers, mixture)
    free = {name: value.detach().requires_grad_() for name, value in model.named_parameters()}
    with torch.enable_grad():
        total = (functional_call(model, free, (inputs,)) * mixture).sum()
    expected = dict(zip(free, torch.autograd.grad(total, list(free.values()), materialize_grads=True), strict=True))
    # A gradient that is zero but for rounding (the bias of an attention's keys) agrees with nothing to a share of it.
    rounding = 100 * torch.finfo(mixture.dtype).eps * max(float(each.abs().max()) for each in expected.values())
    wrong = set()
    for layer in factors:
        for kind, name in layer.parameters():
            if name in expected:
                error = (layer.jacobian(kind).sum(dim=(0, 1)) - expected[name].flatten()).abs().max()
                if not error <= AGREEMENT * expected[name].abs().max() + rounding:
                    wrong.add(layer.name)
    return wrong
