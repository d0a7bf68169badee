"""Fits that this person asked for, under the recipe: how far each is, and a button that adds what it made."""

from collections.abc import Sequence

import streamlit as st

from ui import visitor
from ui.boundary import boundary
from ui.changes import add_change
from ui.components.pin import is_fragment_run
from ui.fit_job import FIT
from ui.job_kinds import queue
from ui.queue import Standing
from ui.words import plain, shortened

POLL_S = 1.0


def draw_fits() -> None:
    """The fits; it asks again every second only while one waits or runs."""
    mine = _mine()
    is_watched = any(one.is_active for one in mine)
    if mine:
        st.fragment(_fits, run_every=POLL_S if is_watched else None)(is_watched)


def _mine() -> Sequence[Standing]:
    return [one for one in queue().jobs(visitor.owner()) if one.row.kind == FIT.slug]


def _fits(is_watched: bool) -> None:
    with boundary("looking at the fits"):
        mine = _mine()
        if is_fragment_run() and any(one.is_active for one in mine) != is_watched:
            # Only a run of the page begins or ends the asking.
            st.rerun()
        for one in mine:
            _fit(one)


def _fit(one: Standing) -> None:
    row = one.row
    with st.container(border=True, gap="xsmall"):
        if one.is_active:
            st.progress(row.share, text=plain(f"{shortened(row.name, 30)}: {row.words}"))
            if st.button("Cancel", key=f"steerscope.fits.cancel.{row.id}"):
                queue().cancel(row.id, visitor.owner())
                st.rerun()
        elif row.state == "done":
            _done(one)
        else:
            st.caption(plain(f"{row.name}: {row.error if row.state == 'failed' else 'cancelled.'}"))
            _dismiss(one)


def _done(one: Standing) -> None:
    from analysis.spec import from_code

    made = from_code(one.row.result).interventions
    st.caption(plain(f"{one.row.name}: on the shelf."))
    with st.container(horizontal=True):
        is_of_fit = bool(made) and str(made[-1].get("kind")) == "step"
        if is_of_fit and st.button("Add to the recipe", type="primary", key=f"steerscope.fits.add.{one.row.id}"):
            queue().dismiss(one.row.id, visitor.owner())
            add_change(made[-1])
            st.rerun()
        _dismiss(one)


def _dismiss(one: Standing) -> None:
    if st.button("Dismiss", type="tertiary", key=f"steerscope.fits.dismiss.{one.row.id}"):
        queue().dismiss(one.row.id, visitor.owner())
        st.rerun()
