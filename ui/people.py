"""What is a person's own at the foot of the rail: the views they looked at, their jobs, their name."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from analysis.spec import Spec
from ui import state
from ui.boundary import boundary
from ui.sign_in import draw_person
from ui.tray import draw_tray
from ui.words import plain, shortened

MAX_RECENT = 8


def draw_own(pages: Mapping[str, Any]) -> None:
    """The foot of the rail, drawn after the page, so that it knows what the page asked for."""
    with st.sidebar, boundary("drawing the sidebar"):
        note_view()
        _recent(pages)
        draw_tray(pages)
        draw_person()


def note_view() -> None:
    """Put what is on screen first among this session's last views."""
    session = state.session()
    if session.shown is None:
        return
    key = state.answer_key(session.shown)
    others = [spec for spec in session.recent if state.answer_key(spec) != key]
    session.recent = [session.shown, *others][:MAX_RECENT]


def _recent(pages: Mapping[str, Any]) -> None:
    before = [spec for spec in state.session().recent[1:] if spec.lens in pages]
    if not before:
        return
    with st.popover("Recent", icon=":material/history:", width="stretch", key="steerscope.recent"):
        for spec in before:
            page = pages[spec.lens]
            st.page_link(page, label=f"{plain(_subject(spec))} · {page.title}", query_params=state.code_of(spec))


def _subject(spec: Spec) -> str:
    return shortened(spec.text_set or spec.text or "view", 40)
