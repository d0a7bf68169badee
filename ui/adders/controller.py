"""Adds a controller of the shelf: it reads the prompt, and patches what is written after it as much as it says."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.spec import Spec
from ui import resources
from ui.boundary import boundary
from ui.changes import add_change

if TYPE_CHECKING:
    from steering.shelf import Shelved

TITLE, ORDER = "Controller", 60


def draw(asked: Spec) -> None:
    """Which controller, at which strength."""
    offered = {one.digest: one for one in controllers_for(asked)}
    if not offered:
        st.caption("No controller on the shelf was trained on this model: train one on the page Controllers.")
        return
    digest = st.selectbox(
        "Controller",
        list(offered),
        format_func=lambda digest: f"{offered[digest].name} · acts on {offered[digest].facts.get('target')}",
        key="steerscope.add.controller",
    )
    one = offered[str(digest)]
    usual = float(one.facts.get("alpha", 1.0))
    strength = st.number_input(
        "Strength α",
        value=usual,
        step=usual / 4,
        format="%.4g",
        help="Times s and w, which it reads from the prompt.",
        key=f"steerscope.add.controller.alpha.{one.digest}",
    )
    st.caption("Pages that read a text take it all as the prompt, so nothing is patched there.")
    if st.button("Add to the recipe", type="primary", width="stretch", key="steerscope.add.controller.go"):
        with boundary("adding the controller"):
            _add(one.digest, float(strength))


def controllers_for(asked: Spec) -> "list[Shelved]":
    """Controllers of this model's weights."""
    from steering.shelf import shelved

    fingerprint = asked.fingerprint or resources.known_fingerprint(asked.model, asked.dtype)
    known = shelved("controllers")
    exact = [one for one in known if one.fits(fingerprint)]
    return exact or [one for one in known if not fingerprint and one.facts.get("model") == asked.model]


def _add(digest: str, strength: float) -> None:
    from steering.controller_folder import shelved_controller
    from steering.methods.controller import change_by

    _, controller = shelved_controller(digest)
    add_change(change_by(digest, controller, strength).recipe())
    st.rerun()
