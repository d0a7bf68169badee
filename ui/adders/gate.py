"""Puts a condition (CAST) before a step: it acts only on prompts on one side of a threshold."""

import streamlit as st

from analysis.spec import Spec
from ui import recipe_edit as edit
from ui.boundary import boundary
from ui.step_words import STEP
from ui.vector_choice import choose_vectors
from ui.words import shortened

TITLE, ORDER = "Gate", 50


def draw(asked: Spec) -> None:
    """Which condition, before which step."""
    from steering.shelf import CONDITION
    from steering.shelf_step import condition_from_shelf

    steps = {n: one for n, one in enumerate(asked.interventions) if one.get("kind") == STEP}
    if not steps:
        st.caption("A gate stands before a step: add a vector or a latent first.")
        return
    one = choose_vectors(asked, "steerscope.add.gate", lambda one: one.manifest.get("method") == CONDITION, "Condition")
    if one is None:
        st.caption("A condition is fitted like a vector, by the method CAST condition, on pairs of prompts.")
        return
    place = st.selectbox(
        "Before",
        list(steps),
        format_func=lambda n: f"{n + 1} {shortened(str(steps[n].get('name')), 40)}",
        key="steerscope.add.gate.place",
    )
    if st.button("Gate this step", type="primary", width="stretch", key="steerscope.add.gate.go"):
        with boundary("adding the gate"):
            edit.set_fields(int(place or 0), condition=condition_from_shelf(one.digest).recipe())
            st.rerun()
