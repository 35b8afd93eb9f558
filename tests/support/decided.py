"""What a log of decisions says."""

from attribution_core.runs import DecisionLog


def actions(log: DecisionLog) -> dict[str, str]:
    """The decision in force of each id."""
    current = log.current()
    return dict(zip(current["id"], current["action"], strict=True))
