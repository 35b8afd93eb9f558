"""The stages of a scoring run, a file each. Adding a file adds its stage: nothing else lists them.

``STAGES`` holds one object of each, in the order in which a run writes them.
"""

import importlib
import pkgutil

from attribution_core.scoring.stages.base import ScoringRun, Stage

__all__ = ["STAGES", "ScoringRun", "Stage", "dependents_of", "find_stages"]


def find_stages() -> list[Stage]:
    """Import the modules of this package and return one object of each stage in them, in order."""
    stages: list[Stage] = []
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(found.name)
        own = (value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__)
        stages += [each() for each in own if isinstance(each, type) and issubclass(each, Stage) and each is not Stage]
    return sorted(stages, key=lambda stage: stage.order)


STAGES: list[Stage] = find_stages()


def dependents_of(stage: Stage) -> list[Stage]:
    """Return the stages that are skipped where this one is."""
    return [other for other in STAGES if other.needs == stage.name]
