"""Plan of which parameters are differentiated, by layer factors if these are correct, otherwise by torch.func."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from attribution_core.errors import InputError
from attribution_core.gradients.layers import has_factors, refuse_unfit
from attribution_core.gradients.outputs import require_own_outputs
from attribution_core.gradients.per_example import layer_factors
from attribution_core.gradients.sketch import Coordinates
from attribution_core.models import evaluation_mode
from attribution_core.models.watching import passed

# Relative tolerance. Factors of a parameter that also acts outside its layer are wrong by far more than TF32 rounding.
AGREEMENT = 1e-2


@dataclass(frozen=True)
class ParameterPlan:
    """Which parameters are differentiated, and how.

    Attributes:
        coordinates: Chosen coordinates of each parameter, by name, in the model's order.
        layers: Layers that are differentiated through factors, by name.
        rest: Names of the parameters that are differentiated by torch.func.
        kept_energy: Trace of the sketched kernel divided by that of the exact one, 0 to 1; None without a Kronecker
            sketch.
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
        """Return the plan for some of its parameters."""
        prefixes = {name.rpartition(".")[0] for name in names}
        return replace(
            self,
            coordinates={name: chosen for name, chosen in self.coordinates.items() if name in names},
            layers={name: layer for name, layer in self.layers.items() if name in prefixes},
            rest=[name for name in self.rest if name in names],
        )


def select_parameters(model: nn.Module, parameters: str = "all") -> list[str]:
    """Return the parameter names for ``"all"``, ``"head"`` (the last layer with parameters) or a regular expression.

    Raises:
        InputError: The regular expression is invalid or matches nothing, or the model has no parameters.
    """
    names = [name for name, _ in model.named_parameters()]
    if not names:
        raise InputError("The model has no parameters, so there is nothing to differentiate.")
    if parameters == "all":
        return names
    if parameters == "head":
        prefix = names[-1].rpartition(".")[0]
        return [name for name in names if name.rpartition(".")[0] == prefix]
    try:
        chosen = [name for name in names if re.search(parameters, name)]
    except re.error as error:
        raise InputError(f"parameters is not a valid regular expression: {parameters!r}, {error}.") from error
    if not chosen:
        raise InputError(f"No parameter's name matches {parameters!r}; the model has {', '.join(names[:6])}, ...")
    return chosen


def plan_parameters(
    model: nn.Module, inputs: Tensor, parameters: str = "all", dimension: int | None = None, seed: int = 0
) -> ParameterPlan:
    """Decide how to differentiate each chosen parameter, by passing one and two inputs through the model.

    A layer's factors are used if the layer is of a kind that has them, runs once in a pass, and its factors give the
    same gradient as autograd. Layers used twice, tied weights, and weights that are also used outside their layer are
    therefore differentiated by torch.func.

    Args:
        model: The model.
        inputs: Inputs ``[n, ...]``; the first two are passed through the model.
        parameters: As in :func:`select_parameters`.
        dimension: Number of random coordinates kept of each parameter tensor; None keeps all.
        seed: Seed of that choice.

    Raises:
        InputError: The parameters do not exist, or an example has no gradient of its own in the model.
    """
    chosen = select_parameters(model, parameters)  # before anything runs
    two = as_inputs(inputs[:2], next(model.parameters()))
    with evaluation_mode(model):
        refuse_unfit(model)
        require_own_outputs(model, two)
        if parameters == "head":
            head = last_layer(model, two)
            chosen = [name for name, _ in model.named_parameters() if name.rpartition(".")[0] == head]
        layers = _layers_with_factors(model, two, chosen)
    generator = torch.Generator().manual_seed(seed)
    sizes = {name: value.numel() for name, value in model.named_parameters()}
    if dimension is None:  # a permutation of millions of coordinates would take seconds
        coordinates = {name: Coordinates(torch.arange(sizes[name]), sizes[name]) for name in chosen}
    else:
        coordinates = {name: Coordinates.choose(sizes[name], dimension, generator) for name in chosen}
    return ParameterPlan(coordinates, layers, [name for name in chosen if name.rpartition(".")[0] not in layers])


def as_inputs(inputs: Tensor, example: Tensor) -> Tensor:
    """Move inputs to the device of a parameter, and to its dtype unless they are indices."""
    return inputs.to(device=example.device, dtype=example.dtype if inputs.is_floating_point() else None)


def _layers_with_factors(model: nn.Module, two: Tensor, chosen: list[str]) -> dict[str, nn.Module]:
    """Return the layers of the chosen parameters whose factors are correct, by name."""
    names = dict.fromkeys(name.rpartition(".")[0] for name in chosen)
    # A hook may compute a layer's weight from parameters of other names, which no factor gives.
    unusual = {name.rpartition(".")[0] for name in chosen if name.rpartition(".")[2] not in ("weight", "bias")}
    modules = {name: model.get_submodule(name) for name in names if name not in unusual}
    layers = {name: module for name, module in modules.items() if has_factors(module)}
    once, once_with_two = _single_uses(model, two[:1]), _single_uses(model, two)
    layers = {name: layer for name, layer in layers.items() if layer in once and layer in once_with_two}
    disagreeing = _disagreeing(model, two, layers)
    return {name: layer for name, layer in layers.items() if name not in disagreeing}


def last_layer(model: nn.Module, inputs: Tensor) -> str:
    """Return the name of the layer with parameters that ends last in a pass, whatever the order of registration.

    Layers that hold others with parameters are passed over, unless there are no others.
    """
    layers = {name.rpartition(".")[0]: None for name, _ in model.named_parameters()}
    inner = [name for name in layers if not any(other.startswith(f"{name}.") for other in layers) and name]
    with torch.no_grad():
        _, results = passed(model, inputs)
    ended = [name for name in results if name in inner]
    return ended[-1] if ended else list(layers)[-1]


def _single_uses(model: nn.Module, inputs: Tensor) -> set[nn.Module]:
    """Return the modules that run once, with examples along the first axis of their input and output."""
    uses: Counter[nn.Module] = Counter()
    examples_first: set[nn.Module] = set()

    def hook(module: nn.Module, arguments: tuple, output: object) -> None:
        uses[module] += 1
        both = (*arguments[:1], output)
        if len(both) == 2 and all(isinstance(each, Tensor) and each.shape[:1] == inputs.shape[:1] for each in both):
            examples_first.add(module)

    handles = [module.register_forward_hook(hook) for module in model.modules()]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {module for module in examples_first if uses[module] == 1}


def _disagreeing(model: nn.Module, inputs: Tensor, layers: dict[str, nn.Module]) -> set[str]:
    """Return the layers whose factors do not sum to autograd's gradient, for a random mixture of outputs."""
    with torch.no_grad():
        shape = model(inputs).shape
    mixture = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()))
    _, factors = layer_factors(model, inputs, layers, mixture)
    free = {name: value.detach().requires_grad_() for name, value in model.named_parameters()}
    with torch.enable_grad():
        total = (functional_call(model, free, (inputs,)) * mixture).sum()
    expected = dict(zip(free, torch.autograd.grad(total, list(free.values()), materialize_grads=True), strict=True))
    # A gradient that is zero up to rounding (the bias of attention keys) never agrees to a relative tolerance.
    rounding = 100 * torch.finfo(mixture.dtype).eps * max(float(each.abs().max()) for each in expected.values())
    wrong = set()
    for layer in factors:
        for kind, name in layer.parameters():
            if name in expected:
                error = (layer.jacobian(kind).sum(dim=(0, 1)) - expected[name].flatten()).abs().max()
                if not error <= AGREEMENT * expected[name].abs().max() + rounding:
                    wrong.add(layer.name)
    return wrong
