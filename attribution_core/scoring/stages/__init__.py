"""The stages of a scoring run, a file each. Adding a file adds its stage: nothing else lists them.

``STAGES`` holds one object of each, in the order in which a run writes them.
"""

import importlib
import pkgutil

from attribution_core.scoring.stages.base import ScoringRun, Stage

__all__ = ["STAGES", "ScoringRun", "Stage"]


def _found() -> list[Stage]:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return sorted((stage() for stage in Stage.__subclasses__()), key=lambda stage: stage.order)


STAGES: list[Stage] = _found()
