"""Steering lab: a recipe, what the model writes under it beside the clean text, and what that costs."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from ui import resources, state
from ui.components.pin import is_fragment_run
from ui.drawn import show_beside
from ui.figures import steering_lab as figures
from ui.frozen import bounded, warm_up_soon
from ui.lab_cost import draw_cost
from ui.lab_export import draw_export
from ui.lab_panes import draw_panes
from ui.lab_prompt import draw_prompt
from ui.lab_reach import reaches_page
from ui.lab_recipe import draw_recipe
from ui.lab_tour import take_lab_tour

if TYPE_CHECKING:
    from ui.shell import Context

TITLE = "Steering lab"
EMPTY = (
    "The recipe is empty: add a change on the left, or start with the tour's example, a vector that turns the bundled "
    "model's stories happy or sad."
)
WIDTHS = (5, 9, 5)
"""Of the recipe, the panes, and what they cost."""


def ask(asked: Spec) -> bool:
    """Whether there is a recipe to write under."""
    if asked.interventions or state.session().kept is not None:
        return True
    recipe, panes = st.columns(WIDTHS[:2], gap="small")
    with recipe:
        draw_recipe(asked)
    with panes:
        st.markdown(EMPTY)
        st.button("Fill the lab with the tour's example", type="primary", on_click=take_lab_tour)
    if not resources.is_warm():
        warm_up_soon()
    return False


def wait(context: "Context") -> None:
    """The page while its first text is written."""
    _lab(None, context, state.session().asked)


def render(report: Report, context: "Context") -> None:
    """The page with its last answer."""
    _lab(report, context, state.session().asked)
    show_beside(figures.kl_by_token(report), figures.totals(report), "steering-totals")


@st.fragment
@bounded
def _lab(report: Report | None, context: "Context", drawn: Spec) -> None:
    """Recipe, panes and cost; `drawn` is what was asked for when the page was drawn.

    A move of a slider draws this alone, and the rest of the page follows once its text is there.
    """
    asked = state.session().asked
    if is_fragment_run() and reaches_page(drawn, asked):
        st.rerun()
    recipe, panes, cost = st.columns(WIDTHS, gap="small")
    with recipe:
        draw_recipe(asked)
    with panes:
        draw_panes(report)
        if context.lens is not None:
            draw_prompt(asked, context.lens)
    with cost:
        draw_cost(asked, report)
        draw_export(asked)
