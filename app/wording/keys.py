"""The keys of each page, as the overlay that ``?`` opens lists them."""

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


def keys_of(page: str) -> dict[str, str]:
    """Return what the keys of a page do, those that every page has last."""
    return {**KEYS.get(page, {}), **_EVERYWHERE}
