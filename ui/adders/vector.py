"""Adds vectors of the shelf: added as their method does, or as a direction that is clamped or replaced."""

import streamlit as st

from analysis.spec import Spec
from ui.boundary import boundary
from ui.changes import add_change
from ui.vector_choice import choose_layers, choose_vectors

TITLE, ORDER = "Vector", 10
USES = {"": "add", "clamp_direction": "clamp", "replace_direction": "replace"}


def draw(asked: Spec) -> None:
    """Which vectors, of which layers, and what for."""
    from steering.shelf import CONDITION
    from steering.shelf_step import is_direction

    one = choose_vectors(asked, "steerscope.add.vector", lambda one: one.manifest.get("method") != CONDITION)
    if one is None:
        return
    layers = choose_layers(one, "steerscope.add.vector.layers")
    use, value = "", 0.0
    if is_direction(one):
        use = str(
            st.segmented_control(
                "Use",
                list(USES),
                default="",
                required=True,
                format_func=lambda use: USES[use],
                help="Add it; or put a value in place of what the activation has along it (replace), or of what is "
                "positive there (clamp).",
                key="steerscope.add.vector.use",
            )
        )
    if use:
        value = float(st.number_input("Value", value=0.0, step=1.0, format="%.4g", key="steerscope.add.vector.value"))
    if st.button("Add to the recipe", type="primary", width="stretch", key="steerscope.add.vector.go"):
        with boundary("adding the vector"):
            _add(one.digest, use, layers, value)


def _add(digest: str, use: str, layers: list[int], value: float) -> None:
    from steering.shelf_step import step_from_shelf

    add_change(step_from_shelf(digest, use, layers, value=value).recipe())
    st.rerun()
