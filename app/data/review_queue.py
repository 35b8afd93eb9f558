"""A queue of examples that another page hands over to Review."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import navigation, session

_KEY = "handed to review"  # session key of the queue
CHOICE = "the set that was handed over"  # option of Review's menu beside the scores


@dataclass(frozen=True)
class Queue:
    """Examples to review.

    Attributes:
        run_id: Run of the examples.
        source: Name of the page that handed them over.
        score: Measure to show on their tiles.
        rows: Positions in ``run.examples``, in the order of review.
    """

    run_id: str
    source: str
    score: str
    rows: list[int]


def hand_over(run: Run, source: str, score: str, rows: list[int]) -> NoReturn:
    """Open Review with these rows as its queue."""
    st.session_state[_KEY] = Queue(run.id, source, score, rows)
    st.session_state["review score"] = CHOICE
    navigation.go("review", run)


def handed_over(run: Run) -> Queue | None:
    """Return the queue handed over to Review for this run in this session, if any."""
    queue = st.session_state.get(_KEY)
    return queue if queue is not None and queue.run_id == run.id else None


def title(queue: Queue) -> str:
    """Return the name of a queue, such as "40 from Summarize"."""
    return f"{len(queue.rows):,} from {queue.source}"


def members(run: Run, queue: Queue) -> pd.DataFrame:
    """Return the rows of ``session.examples(run)`` in the order of the queue."""
    return session.examples(run).iloc[queue.rows]
