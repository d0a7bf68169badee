"""Above and below every page: title and question, Share and Export, how to read it and where its numbers come from."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.report import Report
from ui import resources, state
from ui.answers import exported
from ui.boundary import boundary
from ui.numbers import say_number
from ui.words import plain

if TYPE_CHECKING:
    from analysis.lens import Lens


def draw_header(title: str) -> tuple[Any, Any]:
    """Draw the title; returns the places of the question and of the tools."""
    words, tools = st.columns([3, 1], vertical_alignment="top")
    with words:
        st.title(title, anchor=False)
        question = st.empty()
    return question, tools.container()


def draw_tools(place: Any, answers: Any) -> None:
    """Share and Export."""
    with place:
        _tools(answers)


@st.fragment
def _tools(answers: Any) -> None:
    # Opening Share reruns this fragment, so that the link has the pins of the latest click.
    with st.container(horizontal=True, horizontal_alignment="right"):
        share = st.popover("Share", icon=":material/link:", on_change="rerun", key="steerscope.share")
        export = st.popover("Export", icon=":material/download:", key="steerscope.export")
    if share.open:
        with share, boundary("keeping what is shared"):
            resources.keep_shared([answer.report.spec for answer in answers])
        share.caption("This link restores model, text, options and pins; it needs nothing that is stored here.")
        share.code(state.link(), language=None, wrap_lines=True)
    with export:
        st.caption("Every number of this view, as JSON that `analysis.report.read_report` reads.")
        st.download_button(
            "Report (JSON)",
            data=lambda: exported(answers),
            file_name=f"steerscope-{answers[0].report.spec.lens}.json",
            mime="application/json",
            on_click="ignore",
        )


def draw_how_to_read(lens: "Lens | None", report: Report, source: str) -> None:
    """The foot of a page: how to read it, the paper, the provenance of its numbers."""
    st.divider()
    if lens is not None:
        st.markdown(f"**How to read this.** {plain(lens.how_to_read)}")
        st.caption(plain(lens.paper))
    st.caption(plain(provenance(report, source)))


def provenance(report: Report, source: str) -> str:
    """Where the numbers of a Report come from, on one line."""
    facts = report.facts
    points = list(facts["hook_points"])
    where = (
        points[0] if len(points) == 1 else f"{len(points)} hook points, {points[0]} to {points[-1]}" if points else ""
    )
    revision = f"revision {facts['revision'][:12]}, " if facts["revision"] else ""
    return " · ".join(
        [
            f"{facts['model']} ({revision}fingerprint {facts['fingerprint'][:8]})",
            facts["dtype"],
            where,
            f"BOS {'first' if facts['bos'] else 'left out'}",
            f"weights {facts['processing']}",
            f"{say_number(facts['n_tokens'])} tokens",
            "read from the store" if source == "store" else "fresh run",
        ]
    )
