"""The visitor's own jobs as a table: what the tray shows, and when each began and ended."""

import streamlit as st

from ui import visitor
from ui.job_kinds import queue
from ui.store_panels import NOTHING, when
from ui.words import caption


def jobs() -> None:
    """One row for each job, the newest first."""
    rows = [standing.row for standing in reversed(queue().jobs(visitor.owner()))]
    if not rows:
        caption("No job yet. A text set that is asked for on a page becomes one, and so does a training from below.")
        return
    table = {
        "name": [row.name for row in rows],
        "kind": [row.kind for row in rows],
        "state": [row.state for row in rows],
        "done": [row.share for row in rows],
        "asked for": [when(row.made_at) for row in rows],
        "ended": [when(row.ended_at) for row in rows],
        "what it says": [row.error or row.words for row in rows],
    }
    columns = {
        "done": st.column_config.ProgressColumn("done", min_value=0.0, max_value=1.0, format="percent"),
        "asked for": st.column_config.DatetimeColumn("asked for", format="distance"),
        "ended": st.column_config.DatetimeColumn("ended", format="distance"),
        "what it says": st.column_config.TextColumn("what it says", width="large"),
    }
    st.dataframe(table, hide_index=True, placeholder=NOTHING, column_config=columns)
    caption("The tray in the sidebar cancels, dismisses and opens them.")
