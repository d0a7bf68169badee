"""Who is at the browser: the name that signed in, else a random id that the browser keeps."""

import re

import streamlit as st

from ui import state
from ui.components.payload import source
from ui.job_kinds import queue
from ui.sign_in import signed_in_name

_ID = re.compile(r"[0-9a-f]{32}")

_mount = st.components.v2.component(
    "steerscope_visitor", html="<span></span>", js=source("visitor", "js", shared=False)
)


def owner() -> str:
    """Whose jobs these are. An id is known to its browser alone: it is never shown and never in a link."""
    name = signed_in_name()
    return f"name {name}" if name else f"browser {state.session().visitor}"


def recognise() -> None:
    """Ask the browser for the id that it keeps, and take over the jobs asked for before it answered."""
    if signed_in_name():
        return
    before = owner()
    found = _mount(data={"id": state.session().visitor}, key="steerscope-visitor", on_id_change=lambda: None)["id"]
    if isinstance(found, str) and _ID.fullmatch(found) and found != state.session().visitor:
        state.session().visitor = found
        queue().claim(before, owner())
