"""Stages that a model does not allow, reported before anything runs: each with its reason, by the layer's name."""

from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.models.plain import plain_copy
from attribution_core.preparation.prepare import Prepared
from attribution_core.scoring.stages import STAGES, Stage, dependents_of
from attribution_core.scoring.trial import require_working
from attribution_core.training import Recipe

WORKS = "works"


def supported_measures(
    model: nn.Module, inputs: Tensor, recipe: Recipe | None = None, parameters: str = "head"
) -> dict[str, str]:
    """Return what can be measured on a module, and what cannot and why.

    Args:
        model: Any module that returns ``[examples, outputs]``; it is not changed.
        inputs: Two examples, ``[2, ...]``; zeros will do.
        recipe: How it is to be trained, for contributions; by default as a run trains.
        parameters: What F-SI linearizes, as in :class:`ScoreConfig`.

    Returns:
        The title of each stage that depends on the model, with ``"works"`` or the reason, which names the layer.
    """
    used = recipe or Recipe()
    depending = [stage for stage in STAGES if type(stage).require_model is not Stage.require_model]
    try:
        model = plain_copy(model, tuple(inputs.shape[1:]), type(model).__name__)
    except InputError as error:
        return {stage.title: str(error) for stage in depending}
    return {stage.title: _result(stage, model, inputs, used, parameters) for stage in depending}


def skip_reasons(prepared: Prepared) -> dict[str, str]:
    """Return why a run will skip each stage, by its name, as far as that is known beforehand; empty where it will not.

    It tries every kind of derivative, so that a run asks once.

    Raises:
        InputError: The model cannot be trained, or does not allow an essential stage or one that was asked for.
    """
    _require_trainable(prepared.initial_model)
    require_working(prepared)
    reasons: dict[str, str] = {}
    for stage in STAGES:
        try:
            reasons[stage.name] = reasons.get(stage.needs, "") or stage.why_skipped(prepared)
        except InputError as error:
            if stage.essential:
                raise InputError(_with_what_works(prepared, str(error))) from error
            raise
    return reasons


def skipped_titles(reasons: dict[str, str]) -> dict[str, str]:
    """Return the titles of what a run will not have with the reasons, from the reasons by the stages' names.

    A stage that only lacks the results of a skipped one stands in its title.
    """
    return {
        _with_dependents(stage): reasons[stage.name]
        for stage in STAGES
        if reasons[stage.name] and not reasons.get(stage.needs)
    }


def _with_dependents(stage: Stage) -> str:
    titles = [stage.title, *(other.title for other in dependents_of(stage))]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"


def _result(stage: Stage, model: nn.Module, inputs: Tensor, recipe: Recipe, parameters: str) -> str:
    try:
        stage.require_model(model, inputs, recipe, parameters)
    except InputError as error:
        return str(error)
    return WORKS


def _require_trainable(model: nn.Module) -> None:
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    if frozen:
        raise InputError(
            f"Every parameter of a scored model must be trainable, but {frozen[0]} is frozen (requires_grad=False): "
            "freeze the first layers with --train head or last-block instead."
        )


def _with_what_works(prepared: Prepared, reason: str) -> str:
    """Return the reason against an essential stage in one sentence with what could be measured in another way."""
    config = prepared.config
    parameters = "all" if config.parameters == "head" else config.parameters
    measures = supported_measures(prepared.initial_model, prepared.two_inputs, config.recipe, parameters)
    working = [name for name, result in measures.items() if result == WORKS]
    return f"{reason.rstrip('.')}; what works on it then: {', '.join(working) or 'nothing'}."
