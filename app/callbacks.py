"""Callbacks of widgets run to their end.

Streamlit stops a script for a message that waits wherever the script calls Streamlit. Its callbacks are no exception:
a click is lost if another message, such as of a tile that got the focus, comes just before its callback or within it.
That befell one click in thirty beside such messages on a busy machine. There is no option against it, which others
miss, too (https://github.com/streamlit/streamlit/issues/10578), so this module holds the app's one use of Streamlit's
inner parts: a script counts as not running until its callbacks have run. What comes meanwhile is answered right after
them.
"""

from __future__ import annotations

from typing import Any

from streamlit.runtime.state.safe_session_state import SafeSessionState


def protect() -> None:
    """Have every callback of this process run to its end."""
    call_callbacks = SafeSessionState.on_script_will_rerun

    def protected(state: SafeSessionState, *args: Any, **options: Any) -> None:
        runner = state._yield_callback.__self__  # type: ignore[attr-defined]
        runner._execing = False
        try:
            call_callbacks(state, *args, **options)
        finally:
            runner._execing = True

    setattr(SafeSessionState, "on_script_will_rerun", protected)  # noqa: B010 (mypy refuses the assignment)
