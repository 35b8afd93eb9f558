"""Compare: not built yet."""

from __future__ import annotations

from samplescope_app import parts, state


def main() -> None:
    """The page."""
    run = state.scored_run()
    parts.header(run, "Compare")


main()
