"""A kept view on screen: its numbers are those that were shared; no model is loaded, and nothing is run."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from analysis.view_file import ViewFile
from ui import resources, state
from ui.boundary import boundary
from ui.components.pin import is_fragment_run
from ui.words import plain

SOURCE = "kept view"
SHOWN_FIRST_S = 1.5
"""Importing holds up the threads that serve the browser, so that the page and its parts go first."""
REMEDY = "The file may be of another version or not be whole: press Run it now to make its numbers again."
Given = ParamSpec("Given")


def drawing(part: str) -> AbstractContextManager[None]:
    """The error boundary of a page's part: of a kept view it says that its numbers may be made again."""
    if state.session().shown_kept is None:
        return boundary(f"drawing {part}")
    return boundary(f"drawing {part}", REMEDY)


def bounded(draw: Callable[Given, None]) -> Callable[Given, None]:
    """What a fragment draws, inside the boundary: Streamlit tells a fragment's errors itself, and in other words."""

    @wraps(draw)
    def told(*given: Given.args, **named: Given.kwargs) -> None:
        with drawing("a part of this page"):
            draw(*given, **named)

    return told


@dataclass(frozen=True)
class Kept:
    """A Report of a kept view in the place of an `analysis.pipeline.Answer`, whose module takes seconds to import."""

    report: Report
    source: str = SOURCE
    notice: str = ""


def kept_answers(view: ViewFile, asked: Spec) -> tuple[Kept, ...]:
    """The Reports of a kept view, which is on screen from now on, with the pins that are asked for."""
    answers = tuple(Kept(report) for report in view.reports)
    state.keep_frozen(asked, answers)
    state.show(asked, view)
    return answers


def draw_banner(view: ViewFile) -> None:
    """Say that the numbers are frozen, since when, and what has changed since; offer to run the view today."""
    at = plain(str(view.made.get("at", ""))[:16])
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            when = f" of {at} UTC" if at else ""
            st.caption(f":material/ac_unit: **Kept view**{when} · frozen numbers", width="content")
            st.button("Run it now", on_click=state.run_now, help="Leave the kept view and compute its numbers today.")
        if not is_cold():
            with boundary("looking for what has changed"):
                _changes(view)


def _changes(view: ViewFile) -> None:
    from analysis.shared_view import changes_since

    for sentence in changes_since(view, resources.known_fingerprints(view.reports)):
        st.caption(f":material/history: {plain(sentence)}")


def is_cold() -> bool:
    """Whether a kept view is shown by a server that has not yet imported what knows its lens."""
    return state.session().kept is not None and not resources.is_warm()


def finish_cold_view() -> None:
    """Import what was left out so that the page came at once, and draw the page again with it."""
    if is_cold():
        warm_up_soon()


@st.fragment(run_every=SHOWN_FIRST_S)
def warm_up_soon() -> None:
    """Import what measuring needs once the page is on screen, and draw it again."""
    if is_fragment_run():
        resources.warm_up()
        st.rerun()
