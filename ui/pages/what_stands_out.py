"""What stands out: the landing page, with the findings of every lens for one text."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Finding, Report
from analysis.spec import Spec
from ui import state
from ui.words import plain, said

if TYPE_CHECKING:
    from ui.shell import Context

QUESTION = "What is unusual about this model's activations on this text?"
MAX_FINDINGS = 6


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
    findings = sorted((one for report in reports for one in report.findings), key=lambda one: -one.score)
    if not findings:
        st.markdown("No lens found anything unusual in this text. A longer text, or another one, gives more to find.")
    for row in range(0, min(len(findings), MAX_FINDINGS), 2):
        for column, finding in zip(st.columns(2), findings[row : row + 2], strict=False):
            with column.container(border=True, height="stretch"):
                _card(finding, context)
    st.caption("Ranked by how far each magnitude lies from what is usual; no sentence is written by hand.")


def _card(finding: Finding, context: "Context") -> None:
    st.markdown(f"**{plain(finding.sentence)}**")
    with st.container(horizontal=True, vertical_alignment="center"):
        if finding.series:
            st.html(spark(finding.series), width="content")
        st.markdown(f"{plain(said(finding.magnitude))} {plain(finding.unit)}")
        page = context.pages.get(finding.lens)
        if page is not None:
            spec = context.spec.with_(lens=finding.lens, options={}, pins=dict(finding.place))
            st.page_link(page, label=f"Show in {page.title}", query_params=state.code_of(spec))


def spark(series: Sequence[float], width: int = 120, height: int = 32) -> str:
    """A row of bars, the tallest in full colour, as inline SVG."""
    top = max(map(abs, series)) or 1.0
    step = width / len(series)
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{height - max(1.0, abs(value) / top * height):.1f}" width="{step * 0.8:.1f}" '
        f'height="{max(1.0, abs(value) / top * height):.1f}" opacity="{1 if abs(value) == top else 0.4}"/>'
        for i, value in enumerate(series)
    )
    label = html.escape(f"{len(series)} values, largest {said(top)}")
    return (
        f'<svg role="img" aria-label="{label}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'fill="currentColor">{bars}</svg>'
    )
