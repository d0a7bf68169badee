"""The job tray at the foot of the rail: the visitor's own jobs, how far each is, and how each ended."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.spec import Spec, from_code
from capture.errors import UserError
from ui import resources, state, visitor
from ui.boundary import boundary
from ui.components.pin import is_fragment_run
from ui.job import Followed
from ui.job_kinds import TRAIN_SAE, queue
from ui.numbers import say_number
from ui.queue import Standing
from ui.training_picture import draw_training_curve
from ui.words import plain, shortened

POLL_S = 1.0
NAME_CHARS = 34
NAME_PX = 184
"""Leaves room for the button beside it in a sidebar of its usual width."""
NOTICES = {"done": ("is done.", ":material/check_circle:"), "failed": ("failed.", ":material/error:")}


def draw_tray(pages: Mapping[str, Any]) -> None:
    """The tray; it asks again every second only while something of the visitor's waits or runs."""
    is_watched = not queue().is_ready or any(one.is_active for one in queue().jobs(visitor.owner()))
    st.fragment(_tray, run_every=POLL_S if is_watched else None)(pages, is_watched)


def _tray(pages: Mapping[str, Any], is_watched: bool) -> None:
    with boundary("looking at the jobs"):
        head = st.container(gap=None)
        with head:
            visitor.recognise()
        mine = queue().jobs(visitor.owner())
        is_active = not queue().is_ready or any(one.is_active for one in mine)
        if is_fragment_run() and is_active != is_watched:
            # Only a run of the page begins or ends the asking.
            st.rerun()
        if is_active:
            resources.spare_collector()
        _tell_ends(mine)
        n_others = queue().n_others(visitor.owner())
        if not mine and not n_others:
            return
        head.caption("Jobs")
        with st.container(key="steerscope-tray", gap="small"):
            for standing in mine:
                _job(standing, pages)
        if n_others:
            st.caption(f"{n_others} {'job' if n_others == 1 else 'jobs'} of others")


def _tell_ends(mine: Sequence[Standing]) -> None:
    """A notice for each job that ended since the last look; what the page shows itself needs none."""
    session = state.session()
    ended = {one.row.id: one.row for one in mine if not one.is_active}
    followed = session.job.id if isinstance(session.job, Followed) else ""
    for row in ended.values():
        if session.told is not None and row.id not in session.told | {followed} and row.state in NOTICES:
            words, icon = NOTICES[row.state]
            st.toast(f"{plain(shortened(row.name, NAME_CHARS))} {words}", icon=icon)
    session.told = set(ended)


def _job(standing: Standing, pages: Mapping[str, Any]) -> None:
    if standing.is_active:
        _active(standing)
    elif standing.row.state == "done":
        _done(standing, pages)
    else:
        _stopped(standing)


def _active(standing: Standing) -> None:
    row = standing.row
    with st.container(gap=None):
        with _line():
            st.markdown(_name(standing), width=NAME_PX)
            _button("Cancel", ":material/close:", queue().cancel, standing)
        if row.state == "running":
            st.progress(row.share)
        left = say_left(standing.left_s)
        words = row.words.partition(", FVU")[0] if row.kind == TRAIN_SAE else row.words
        st.caption(plain(f"{left}: {words}" if left else words))
        if row.kind == TRAIN_SAE:
            draw_training_curve(Path(json.loads(row.recipe)["out"]), f"steerscope.tray.curve.{row.id}")


def _done(standing: Standing, pages: Mapping[str, Any]) -> None:
    with _line():
        spec = _spec_of(standing)
        if spec is not None and spec.lens in pages:
            # A person had the model made, or chose it, on this server.
            resources.allow(spec.model)
            st.page_link(
                pages[spec.lens],
                label=plain(shortened(standing.row.name, NAME_CHARS)),
                icon=":material/check:",
                query_params=state.code_of(spec),
                width=NAME_PX,
            )
        else:
            st.markdown(f":material/check: {_name(standing)}", width=NAME_PX)
        _button("Dismiss", ":material/close:", queue().dismiss, standing)


def _stopped(standing: Standing) -> None:
    """A failed job with its sentence, or a cancelled one."""
    is_failed = standing.row.state == "failed"
    with st.container(gap=None):
        with _line():
            st.markdown(f"{':red[:material/error:]' if is_failed else ''} {_name(standing)}", width=NAME_PX)
            _button("Dismiss", ":material/close:", queue().dismiss, standing)
        st.caption(plain(standing.row.error if is_failed else "Cancelled."))
        words = "Try again" if is_failed else "Go on"
        _button(words, ":material/refresh:", queue().again, standing, label=words)


def _line() -> Any:
    return st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="xsmall")


def _name(standing: Standing) -> str:
    return f":small[{plain(shortened(standing.row.name, NAME_CHARS))}]"


def _button(words: str, icon: str, act: Any, standing: Standing, label: str = "") -> None:
    st.button(
        label,
        icon=icon,
        type="tertiary",
        help=None if label else words,
        key=f"steerscope.tray.{words}.{standing.row.id}",
        on_click=act,
        args=(standing.row.id, visitor.owner()),
    )


def _spec_of(standing: Standing) -> Spec | None:
    """The view that a job made; None where a newer program wrote a code that this one cannot read."""
    try:
        return from_code(standing.row.result)
    except UserError:
        return None


def say_left(left_s: float | None) -> str:
    """How long it still takes, as a person would say it; "" where that is not known."""
    if left_s is None:
        return ""
    if left_s < 60:
        return f"{max(1, round(left_s))} s left"
    if left_s < 3600:
        return f"{round(left_s / 60)} min left"
    return f"{say_number(round(left_s / 3600, 1))} h left"
