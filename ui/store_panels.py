"""What the store keeps: how much room it takes, what of each kind, the kept views, and whether keeping has paid."""

import datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.link import Link
from ui import resources, state
from ui.boundary import boundary
from ui.numbers import say_bytes, say_number
from ui.words import caption, plain, shortened

if TYPE_CHECKING:
    from capture.store import KeptView
    from capture.store_timings import Saving

KINDS = {
    "report": ("Reports", "The numbers of views, opened again without running. The oldest go first."),
    "view": ("Kept views", "What was shared by short link. Never removed for want of room."),
    "statistics": ("Statistics", "Where a measurement that was stopped goes on."),
    "capture": ("Captures", "Whole activations, where a script asked to keep them."),
    "dashboard": ("Dashboards", "Statistics and examples of an SAE's latents. Labels are kept apart, for good."),
    "tuning": ("Tunings", "The points of auto-tune's sweeps: one that was stopped goes on from them."),
}
MAX_VIEWS = 50
LIST_PX = 320
GB = 1e9
NOTHING = "–"


def room() -> None:
    """How large the file is against its limit, with what changes either."""
    store = resources.store()
    held = sum(one.n_bytes for one in store.contents())
    share = min(1.0, held / store.limit_bytes)
    words = f"{say_bytes(held)} kept of {say_bytes(store.limit_bytes)} · file of {say_bytes(store.file_bytes())}"
    st.progress(share, text=plain(words))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input(
            "Limit, GB",
            0.01,
            1000.0,
            step=0.5,
            format="%.2f",
            width=160,
            help="Beyond it, what was not used for longest is removed; never what was shared.",
            **state.bind("store.limit", max(0.01, round(store.limit_bytes / GB, 2)), _set_limit),
        )
        if st.button("Compact", icon=":material/compress:", help="Rewrite the file without the room of what is gone."):
            with boundary("compacting the store"), st.spinner("Rewriting the file"):
                before, after = store.compact()
                gained = f"it had {say_bytes(before)}" if after < before else "there was no room to gain"
                st.toast(f"The file has {say_bytes(after)}; {gained}.")
        with st.popover("Clear", icon=":material/delete:", key="steerscope.clear"):
            _clear()


def _set_limit(limit_gb: float | None) -> None:
    if limit_gb is not None:
        with boundary("setting the limit"):
            resources.store().limit_bytes = round(limit_gb * GB)


def _clear() -> None:
    kinds = {one.kind: one for one in resources.store().contents()}
    kind = st.radio("What to remove", list(kinds), format_func=lambda kind: KINDS[kind][0])
    chosen = kinds[kind]
    links = " Their links open no longer." if kind == "view" else ""
    st.caption(plain(f"{say_number(chosen.n)} of them, {say_bytes(chosen.n_bytes)}. This cannot be undone.{links}"))
    if st.button(f"Remove all {KINDS[kind][0].lower()}", disabled=not chosen.n, type="primary"):
        with boundary("clearing the store"):
            resources.store().clear(kind)
            st.rerun()


def kept() -> None:
    """One row for each kind."""
    rows = resources.store().contents()
    table = {
        "kind": [KINDS[one.kind][0] for one in rows],
        "objects": [one.n for one in rows],
        "size": [say_bytes(one.n_bytes) for one in rows],
        "last used": [when(one.last_used) for one in rows],
        "what it is": [KINDS[one.kind][1] for one in rows],
    }
    used = st.column_config.DatetimeColumn("last used", format="distance")
    wide = st.column_config.TextColumn("what it is", width="large")
    columns = {"last used": used, "what it is": wide}
    st.dataframe(table, hide_index=True, placeholder=NOTHING, column_config=columns)


def when(seconds: float | None) -> datetime.datetime | None:
    """A time in seconds since 1970 as a table shows it."""
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def kept_views(pages: dict[str, Any]) -> None:
    """The views that short links open, the newest first."""
    views = resources.store().views()
    st.markdown("### Kept views")
    if not views:
        caption("None yet: Share on any page keeps its view and gives a short link to it.")
        return
    with st.container(height=LIST_PX if len(views) > 6 else "content", border=False, gap="xxsmall"):
        for view in views[:MAX_VIEWS]:
            _view(view, pages)
    if len(views) > MAX_VIEWS:
        caption(f"and {len(views) - MAX_VIEWS} older ones; the SQL box lists all objects.")


def _view(view: "KeptView", pages: dict[str, Any]) -> None:
    page = pages.get(view.lens)
    words = plain(shortened(view.text, 60) or view.id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if page is None:
            st.markdown(words, width="stretch")
        else:
            query = Link(id=view.id).query()
            st.page_link(page, label=f"{words} · {page.title}", width="stretch", query_params=query)
        st.caption(plain(f"{view.made[:16]} · {say_bytes(view.n_bytes)}"), width="content")
        with st.popover("", icon=":material/delete:", type="tertiary", key=f"steerscope.forget.{view.id}"):
            st.caption("Its short link opens no longer.")
            if st.button("Forget this view", key=f"steerscope.forget.{view.id}.yes"):
                with boundary("forgetting a view"):
                    resources.store().forget_view(view.id)
                    st.rerun()


def savings() -> None:
    """Whether reading beat running, by shape."""
    found = resources.store().savings()
    st.markdown("### Reading against running")
    if not found:
        caption("What reading a Report took beside making it. Nothing was timed yet: open a view.")
        return
    table = {
        "what": [_shapes(one) for one in found],
        "reading, ms": [None if one.read_s is None else 1000 * one.read_s for one in found],
        "running, ms": [None if one.run_s is None else 1000 * one.run_s for one in found],
        "quicker": [one.wins or "not known yet" for one in found],
        "times read / run": [f"{one.n_reads} / {one.n_runs}" for one in found],
    }
    columns = {name: st.column_config.NumberColumn(name, format="%.2f") for name in ("reading, ms", "running, ms")}
    st.dataframe(table, hide_index=True, placeholder=NOTHING, column_config=columns)
    caption(
        "Medians of the last few times, without loading the model. A stored Report is always read, so that its numbers "
        "stay; kept captures are read only where that was quicker."
    )


def _shapes(one: "Saving") -> str:
    """What was read and what was run; of a Report they are one."""
    return one.run_shape if one.read_shape == one.run_shape else f"{one.read_shape} | {one.run_shape}"
