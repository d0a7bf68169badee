"""Sparsity law: how the share of active neurons changes over training, with the law fitted to the checkpoints."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from ui import resources, state
from ui.drawn import show
from ui.figures import sparsity_law as figures
from ui.widgets import option_widget
from ui.words import caption, plain

if TYPE_CHECKING:
    from ui.shell import Context

TEXT_SET = "tour"


def ask(asked: Spec) -> bool:
    """Whether there are many texts and a model that a person opened: the law needs both, and may read a folder."""
    if not resources.is_allowed(asked.model):
        caption("This link names a model that nobody opened here yet. If you trust it, open it in the sidebar.")
        return False
    if asked.text_set:
        return True
    st.markdown(
        "The law is measured on every checkpoint of a training run, with the perplexity of many texts: one sentence is "
        "too few. Choose a text set in the sidebar, or start with the tour's."
    )
    st.button("Measure on the text set tour", type="primary", on_click=state.change, kwargs={"text_set": TEXT_SET})
    return False


def render(report: Report, context: "Context") -> None:
    """The points, the law, the published curves, the layers and the table."""
    for option in context.lens.options if context.lens else ():
        option_widget(option, state.session().asked)
    st.markdown(f"**{plain(report.numbers['trend'])}**  \n{plain(report.numbers['sentence'])}")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        show(figures.law(report))
    with right:
        show(figures.layers(report))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("### Beside the published laws")
        show(figures.published(report))
    with right:
        for table in figures.tables(report):
            st.markdown(f"### {table.title}")
            columns = zip(table.columns, zip(*table.rows, strict=True), strict=True)
            st.dataframe({name: list(cells) for name, cells in columns}, hide_index=True, key=f"law-{table.title}")
            caption(table.caption)
