"""A set of examples that one page hands to Review as its queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import navigation, session

_KEY = "handed to review"  # of the session
CHOICE = "the set that was handed over"  # among the scores that Review ranks suspects by


@dataclass(frozen=True)
class Queue:
    """What was handed over.

    Attributes:
        run_id: Whose examples they are.
        source: Name of the page that they come from.
        score: The measure that stands on their tiles.
        rows: Positions in ``run.examples``, the first to be reviewed first.
    """

    run_id: str
    source: str
    score: str
    rows: list[int]


def hand_over(run: Run, source: str, score: str, rows: list[int]) -> NoReturn:
    """Goes to Review with these rows as its queue."""
    st.session_state[_KEY] = Queue(run.id, source, score, rows)
    st.session_state["review score"] = CHOICE
    navigation.go("review", run)


def handed_over(run: Run) -> Queue | None:
    """The queue that this session's Review was given for a run, if any."""
    queue = st.session_state.get(_KEY)
    return queue if queue is not None and queue.run_id == run.id else None


def title(queue: Queue) -> str:
    """For people."""
    return f"{len(queue.rows):,} from {queue.source}"


def members(run: Run, queue: Queue) -> pd.DataFrame:
    """Rows of ``state.examples(run)``, in the queue's order."""
    return session.examples(run).iloc[queue.rows]
