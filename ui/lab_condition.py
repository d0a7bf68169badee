"""The condition of a step: which side of which threshold opens it, and whether this view's text does."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.spec import Spec
from ui import recipe_edit as edit
from ui import resources, state
from ui.boundary import boundary
from ui.numbers import say_number
from ui.words import plain

if TYPE_CHECKING:
    from steering.recipe import Step

MAX_KEPT = 64


def draw_condition(place: int, step: "Step", asked: Spec) -> None:
    """Comparison and threshold as widgets, the similarity of the prompt, and a way out; nothing without a condition."""
    one = step.condition
    if one is None:
        return
    st.caption(plain(f"Condition at {one.at}, {one.pooled} of the prompt"))
    comparator, threshold, out = st.columns([3, 4, 2], vertical_alignment="bottom")
    with comparator:
        st.segmented_control(
            "Holds where similarity",
            [">", "<"],
            required=True,
            **state.bind(
                f"lab.{place}.comparator", one.comparator, edit.within_setter(place, "condition", "comparator")
            ),
        )
    with threshold:
        st.number_input(
            "Threshold",
            -1.0,
            1.0,
            step=0.01,
            format="%.4f",
            **state.bind(f"lab.{place}.threshold", one.threshold, edit.within_setter(place, "condition", "threshold")),
        )
    with out:
        st.button(
            "",
            icon=":material/close:",
            help="Act whatever the prompt is",
            key=f"steerscope.lab.{place}.uncondition",
            on_click=edit.set_fields,
            args=(place,),
            kwargs={"condition": None},
        )
    with boundary("reading the condition on this text"):
        _tell(step, asked)


def _tell(step: "Step", asked: Spec) -> None:
    if not asked.text:
        return
    assert step.condition is not None  # a card without one does not come here
    found = _similarity(asked.model, asked.dtype, asked.text, asked.bos, step.condition.recipe())
    holds = step.condition.is_met(found)
    st.caption(plain(f"This prompt: {say_number(found)}, so the step {'acts' if holds else 'does not act'}."))


@st.cache_data(show_spinner=False, max_entries=MAX_KEPT)
def _similarity(model: str, dtype: str, text: str, bos: bool, recipe: dict[str, object]) -> float:
    from steering.methods.cast_condition import Condition

    session = resources.load(model, dtype)
    return Condition.from_recipe(recipe).similarity_of(session, session.tokens(text, bos))
