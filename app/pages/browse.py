"""Browse: the examples of a split as tiles, filtered and sorted."""

from __future__ import annotations

from samplescope_app.data import filters, navigation
from samplescope_app.panels import example_grid, filter_bar, header
from samplescope_app.wording import labels

_EXPLANATION = (
    "The examples of a split as tiles, each with its score, its percentile, its {label}, and the prediction if it "
    "differs (≠). The percentile is the share of the split's examples with this score or less. Click a tile to open "
    "it; ctrl-click or press space to select it. The arrow keys go from tile to tile and show its details; ? lists all "
    "keys."
)


def main() -> None:
    """Draw the page."""
    run = navigation.scored_run()
    header.draw(run, "Browse", _EXPLANATION.format(label=labels.noun(run)), filters.shown_score(run))
    filter_bar.draw(run)
    example_grid.draw(run)


main()
