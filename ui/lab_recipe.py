"""The recipe column of the steering lab: a card for each step, what can be added, and how the steps interfere."""

import streamlit as st

from analysis.spec import Spec
from ui import recipe_edit as edit
from ui import resources
from ui.adders import adders
from ui.boundary import boundary
from ui.changes import change_words
from ui.components.order import draw_order
from ui.lab_fits import draw_fits
from ui.lab_interference import draw_interference
from ui.lab_step import draw_step
from ui.words import plain

MENU = "steerscope.lab.add"


def draw_recipe(asked: Spec) -> None:
    """The view's recipe, to be edited; only in words while the engine is not loaded yet."""
    with st.container(key="steerscope-recipe", gap="small"):
        if not resources.is_warm():
            for recipe in asked.interventions:
                st.caption(plain(change_words(recipe)))
            return
        if not asked.interventions:
            st.caption("The recipe is empty: both texts are the model's own. Add a vector to steer the right one.")
        for place, recipe in enumerate(asked.interventions):
            draw_step(place, recipe, len(asked.interventions), asked)
        draw_fits()
        with st.container(gap=None):
            _add(asked)
            if len(asked.interventions) > 1:
                draw_order(len(asked.interventions), edit.move)
        with boundary("comparing the steps"):
            draw_interference(asked)


def _add(asked: Spec) -> None:
    offered = {one.TITLE: one for one in adders()}
    # With another recipe it is another menu, so that it closes once something was added.
    key = f"steerscope-lab-add-{len(asked.interventions)}"
    with st.popover("Add", icon=":material/add:", width="stretch", key=key):
        title = st.selectbox("What", list(offered), key=MENU)
        with boundary("offering what to add"):
            offered[str(title)].draw(asked)
