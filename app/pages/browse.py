"""Browse: every training example as a tile, filtered and sorted."""

from __future__ import annotations

from samplescope_app.data import filters, navigation
from samplescope_app.panels import example_grid, filter_bar, header
from samplescope_app.wording import labels

_EXPLANATION = (
    "Every training example as a tile, with its score and the share of the examples that score less or the same, its "
    "{label}, and the prediction where it differs (≠)."
)


def main() -> None:
    """The page."""
    run = navigation.scored_run()
    header.draw(run, "Browse", _EXPLANATION.format(label=labels.noun(run)), filters.current(run).score)
    filter_bar.draw(run)
    example_grid.draw(run)


main()
