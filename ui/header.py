"""Above and below every page: its title and question, how to read it and where its numbers come from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.report import Report
from ui.numbers import say_number
from ui.words import plain

if TYPE_CHECKING:
    from analysis.lens import AnyLens


def draw_header(title: str) -> tuple[Any, Any]:
    """Draw the title; returns the places of the question and of the tools."""
    words, tools = st.columns([3, 2], vertical_alignment="top")
    with words:
        st.title(title, anchor=False)
        question = st.empty()
    return question, tools.container()


def draw_how_to_read(lens: "AnyLens | None", report: Report, source: str) -> None:
    """The foot of a page: how to read it, the paper, the provenance of its numbers."""
    st.divider()
    if lens is not None:
        st.markdown(f"**How to read this.** {plain(lens.how_to_read)}")
        st.caption(plain(lens.paper))
    st.caption(plain(provenance(report, source)))


def provenance(report: Report, source: str) -> str:
    """Where the numbers of a Report come from, on one line; of a comparison, where each side's do."""
    made = [_made(facts) for facts in report.runs]
    sides = made if len(made) < 2 else [f"{name}: {one}" for name, one in zip(("left", "right"), made, strict=False)]
    read = {"store": "read from the store", "fresh": "fresh run"}.get(source, source)
    return " · ".join([*sides, read])


def _made(facts: Mapping[str, Any]) -> str:
    points = list(facts["hook_points"])
    where = (
        points[0] if len(points) == 1 else f"{len(points)} hook points, {points[0]} to {points[-1]}" if points else ""
    )
    revision = f"revision {facts['revision'][:12]}, " if facts["revision"] else ""
    said = [
        f"{facts['model']} ({revision}fingerprint {facts['fingerprint'][:8]})",
        facts["dtype"],
        where,
        f"BOS {'first' if facts['bos'] else 'left out'}",
        f"weights {facts['processing']}",
        f"{say_number(facts['n_tokens'])} tokens",
    ]
    return " · ".join(filter(None, said))
