"""Which parts of a run a model allows, told before anything runs: each with its reason, by the layer's name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters
from attribution_core.gradients.jacobian import function_gradients
from attribution_core.gradients.plan import as_inputs
from attribution_core.methods.hydra.contributions import refuse_for_hydra
from attribution_core.methods.linearized.build import head_of
from attribution_core.models import evaluation_mode
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import Prepared
from attribution_core.scoring.stages.base import skipped_by_choice
from attribution_core.scoring.stages.contributions import why_skipped
from attribution_core.scoring.stages.influence import why_influence_skipped
from attribution_core.training import Recipe

WORKS = "works"
# As people call them, which the command line prints.
INFORMATION = "F-SI, SI and NTK influence"
CONTRIBUTIONS = "contributions to training"
SENSITIVITIES = "sensitivities"
INFLUENCE = "influence functions"
EMBEDDINGS = "embeddings, near-duplicates and the map"


def supported_measures(
    model: nn.Module, inputs: Tensor, recipe: Recipe | None = None, parameters: str = "head"
) -> dict[str, str]:
    """What can be measured on a module, and what can't be and why.

    Args:
        model: Any module that gives ``[examples, outputs]``; nothing of it changes.
        inputs: Two examples, ``[2, ...]``; zeros will do.
        recipe: How it is to be trained, for contributions; by default as a run trains.
        parameters: What F-SI linearises, as in :class:`ScoreConfig`.

    Returns:
        Each kind of measure with ``"works"``, or the reason, which names the layer.
    """
    recipe = recipe or Recipe()
    checks: dict[str, Callable[[], object]] = {
        INFORMATION: lambda: _require_information(model, inputs, parameters),
        CONTRIBUTIONS: lambda: refuse_for_hydra(model, inputs, recipe),
        SENSITIVITIES: lambda: _require_gradients(model, inputs, "all"),
        INFLUENCE: lambda: _require_gradients(model, inputs, "all"),
        EMBEDDINGS: lambda: head_of(model, inputs),
    }
    return {name: _told(check) for name, check in checks.items()}


def skipped_parts(prepared: Prepared) -> dict[str, str]:
    """What a run will not have, as far as that is known beforehand, with the reasons.

    Raises:
        InputError: The model does not allow F-SI, around which a run is made, or a part that was asked for.
    """
    config, model = prepared.config, prepared.build(prepared.config.seed)
    _require_trainable(model)
    inputs = torch.zeros(2, *prepared.input_shape, device=prepared.device)
    measures = supported_measures(model, inputs, config.recipe, config.parameters)
    if measures[INFORMATION] != WORKS:
        raise InputError(_with_what_works(model, inputs, config, measures))
    reasons = {
        CONTRIBUTIONS: why_skipped(config, model, inputs),
        SENSITIVITIES: skipped_by_choice(config, config.sensitivity, SENSITIVITIES) or _but(measures[SENSITIVITIES]),
        INFLUENCE: why_influence_skipped(config, model) or _but(measures[INFLUENCE]),
        EMBEDDINGS: _but(measures[EMBEDDINGS]),
    }
    for part, choice in ((SENSITIVITIES, config.sensitivity), (INFLUENCE, config.influence)):
        if choice not in ("auto", "off") and _but(measures[part]):
            raise InputError(measures[part])
    return {part: reason for part, reason in reasons.items() if reason}


def _told(check: Callable[[], object]) -> str:
    try:
        check()
    except InputError as error:
        return str(error)
    return WORKS


def _but(told: str) -> str:
    return "" if told == WORKS else told


def _require_information(model: nn.Module, inputs: Tensor, parameters: str) -> None:
    if parameters == "head":
        head_of(model, inputs)
    else:
        _require_gradients(model, inputs, parameters)


def _require_gradients(model: nn.Module, inputs: Tensor, parameters: str) -> None:
    """Raises InputError, with the layer's name, where an example has no gradient in these parameters."""
    plan = plan_parameters(model, inputs, parameters)
    with evaluation_mode(model):
        function_gradients(model, as_inputs(inputs[:1], next(model.parameters())), plan.rest)


def _require_trainable(model: nn.Module) -> None:
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    if frozen:
        raise InputError(
            f"{frozen[0]} is frozen (requires_grad=False), and every parameter of a model that is scored counts: "
            "freeze what comes first with --train head or last-block instead."
        )


def _with_what_works(model: nn.Module, inputs: Tensor, config: ScoreConfig, measures: dict[str, str]) -> str:
    """The reason against F-SI in one sentence with what there would be in another way."""
    reason = measures[INFORMATION].rstrip(".")
    if config.parameters == "head":
        measures = supported_measures(model, inputs, config.recipe, "all")
    working = [name for name, told in measures.items() if told == WORKS]
    last = next((name.rpartition(".")[0] for name, _ in reversed(list(model.named_parameters()))), "")
    layer = f"its last layer with parameters is {last!r}, {type(model.get_submodule(last)).__name__}"
    return f"{reason} ({layer}); what works on it then: {', '.join(working) or 'nothing'}."
