"""What stands out: the landing page, with the findings of every lens for one text."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Finding, Report
from analysis.spec import Spec
from ui import state
from ui.figures import what_stands_out as figures
from ui.numbers import say_number
from ui.outlier_pictures import strip
from ui.words import plain

if TYPE_CHECKING:
    from ui.shell import Context

QUESTION = figures.QUESTION
MAX_FINDINGS = 6
MAX_OF_A_LENS = 3
"""So that no lens fills the page alone."""
STRIP_LENS = "outliers"


def ask(asked: Spec) -> None:
    """The text, large, where a newcomer looks first."""
    st.text_input(
        "Type a sentence and press Enter",
        disabled=bool(asked.text_set),
        placeholder="Type a sentence",
        **state.bind("home_text", asked.text, lambda text: state.change(text=text or "")),
    )


def render(reports: Sequence[Report], context: "Context") -> None:
    """The findings with the highest scores, six at most, each with a small picture and a link to its place."""
    _tokens(reports, context)
    findings = chosen(reports)
    if not findings:
        st.markdown("No lens found anything unusual in this text. A longer text, or another one, gives more to find.")
    for row in range(0, len(findings), 2):
        for column, finding in zip(st.columns(2), findings[row : row + 2], strict=False):
            with column.container(border=True, height="stretch"):
                _card(finding, context)
    st.caption(
        f"Ranked by how far each magnitude lies from what is usual, at most {MAX_OF_A_LENS} of a page; no sentence is "
        "written by hand."
    )


def chosen(reports: Sequence[Report]) -> list[Finding]:
    """The findings to show, the highest score first."""
    best = (sorted(report.findings, key=lambda one: -one.score)[:MAX_OF_A_LENS] for report in reports)
    return sorted((one for found in best for one in found), key=lambda one: -one.score)[:MAX_FINDINGS]


def _tokens(reports: Sequence[Report], context: "Context") -> None:
    """The text, token by token; a press opens the lens whose heat it wears, with that token pinned."""
    report = next((one for one in reports if one.spec.lens == STRIP_LENS and one.numbers["tokens"]), None)
    if report is None:
        return

    def open_there(pos: int | None) -> None:
        spec = context.spec.with_(lens=STRIP_LENS, options={}, pins={} if pos is None else {"pos": pos})
        st.switch_page(context.pages[STRIP_LENS], query_params=state.code_of(spec))

    strip(report, None, open_there)


def _card(finding: Finding, context: "Context") -> None:
    st.markdown(f"**{plain(finding.sentence)}**")
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            if finding.series:
                st.html(spark(finding.series), width="content")
            st.markdown(f"{plain(say_number(finding.magnitude))} {plain(finding.unit)}", width="content")
        page = context.pages.get(finding.lens)
        if page is not None:
            spec = context.spec.with_(lens=finding.lens, options={}, pins=dict(finding.place))
            st.page_link(page, label=f"Show in {page.title}", width="content", query_params=state.code_of(spec))


def spark(series: Sequence[float], step_px: int = 6, height_px: int = 32) -> str:
    """A row of bars, the tallest in full colour, that a screen reader names by its length and largest value."""
    top = max(map(abs, series)) or 1.0
    bars = "".join(
        f'<i style="width:{step_px - 2}px;height:{max(1.0, abs(value) / top * height_px):.0f}px;'
        f'background:currentColor;opacity:{1 if abs(value) == top else 0.35}"></i>'
        for value in series
    )
    label = html.escape(f"{len(series)} values, largest {say_number(top)}")
    return (
        f'<div role="img" aria-label="{label}" '
        f'style="display:flex;align-items:flex-end;gap:2px;height:{height_px}px">{bars}</div>'
    )
