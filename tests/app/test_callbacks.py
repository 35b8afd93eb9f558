"""A click is not lost to a message that arrives while it is being answered."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.testing.v1 import AppTest

from samplescope_app import callbacks


def script() -> None:
    import streamlit as st
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    def count(interrupted: bool) -> None:
        if interrupted:
            get_script_run_ctx().script_requests.request_rerun(RerunData())
        st.session_state["count"] = st.session_state.get("count", 0) + 1

    st.button("Alone", on_click=count, args=(False,))
    st.button("Interrupted", on_click=count, args=(True,))
    st.caption(f"{st.session_state.get('count', 0)} clicks")


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[RerunData]:
    """Messages that arrive just before the callbacks; the app's protection ends with the test."""
    messages: list[RerunData] = []
    original = SafeSessionState.on_script_will_rerun

    def interrupted(state: SafeSessionState, *args: Any, **options: Any) -> None:
        if messages:
            context = get_script_run_ctx()
            assert context is not None
            assert context.script_requests is not None
            context.script_requests.request_rerun(messages.pop())
        original(state, *args, **options)

    monkeypatch.setattr(SafeSessionState, "on_script_will_rerun", interrupted)
    callbacks.protect()
    return messages


def test_a_click_is_not_lost_to_a_message_that_comes_before_or_within_its_callback(late: list[RerunData]):
    app = AppTest.from_function(script).run()
    app.button[0].click().run()
    assert app.caption[0].value == "1 clicks"
    app.button[1].click().run()
    assert app.caption[0].value == "2 clicks"
    late.append(RerunData())
    app.button[0].click().run()
    assert late == []
    assert app.caption[0].value == "3 clicks"
    assert not app.exception
