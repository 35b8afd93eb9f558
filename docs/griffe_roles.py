"""Show the Sphinx roles of docstrings, such as :func:`attribution_core.hydra`, as code."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":[a-z]+:`~?(?P<name>[^`]+)`")


class Roles(griffe.Extension):
    """Replace each role in a docstring by the name in it."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was just collected."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\g<name>`", obj.docstring.value)
