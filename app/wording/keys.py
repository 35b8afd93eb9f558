"""The keys of each page, as the overlay that ``?`` opens lists them, and the hint that its first visit shows."""

from __future__ import annotations

_TILES = {"← → ↑ ↓": "go from tile to tile", "Enter": "open the tile"}
_DECIDE = {"k": "keep", "d": "drop", "r": "relabel to the suggestion", "u": "undo"}
_ENLARGE = {"z": "show the picture at full size; there, + - zoom and the arrows move it"}
_DIGITS = {"0 to 9": "relabel to this class, where there are at most ten"}
_EVERYWHERE = {"Tab": "go to the next control", "?": "show these keys"}

# Page -> key -> what it does.
KEYS: dict[str, dict[str, str]] = {
    "browse": {
        **_TILES,
        "Space": "select the tile",
        "Esc": "select nothing, then close the details",
        **_DECIDE,
        "t": "tag",
        "v": "show two to four selected tiles side by side",
        "i": "open or close the details of the tile",
        **_ENLARGE,
    },
    "example": {"← →": "previous or next example", "b": "back", **_ENLARGE, **_DECIDE, **_DIGITS},
    "review": {**_DECIDE, **_DIGITS, "s": "skip", **_ENLARGE},
    "map": {
        "← → ↑ ↓": "in the map: go to the nearest point in that direction; among tiles: to the next tile",
        "Enter": "open the point or the tile",
        "Esc": "leave the point",
    },
    "overview": _TILES,
    "classes": _TILES,
    "training": _TILES,
    "summarize": _TILES,
}

# Page -> what a first visit does not show by itself.
HINTS: dict[str, str] = {
    "overview": "Click a bar of the histogram or a count under Health of the data to see its examples.",
    "browse": "Arrow keys show the details of a tile. Ctrl-click or Space selects, to drop, keep, relabel or tag.",
    "example": "Click an influencer to go on from it; b goes back the way you came. Sliders change time and damping.",
    "map": "The lasso above the plot selects what you draw around. After a click on the plot the wheel zooms.",
    "classes": "Click a cell of the confusion matrix for the mistakes in it and the training examples that cause them.",
    "training": "Click a point to open the example, or draw around several. The slider moves along the training.",
    "summarize": "Move the cut to see which examples go first and what their removal costs.",
    "review": "d drops, k keeps, r takes the suggestion, u undoes: keys are answered as fast as you press them.",
    "trust": "Verify retrains the model without some examples and compares: it says how far to trust the scores.",
    "compare": "Choose another run of the same data to see which scores changed, and what a decision did.",
}


def keys_of(page: str) -> dict[str, str]:
    """Return what the keys of a page do, those that every page has last."""
    return {**KEYS.get(page, {}), **_EVERYWHERE}
