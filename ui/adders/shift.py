"""Adds what tuning did to another model's logits: two models by name, one after the tuning and one before it."""

import streamlit as st

from analysis.spec import Spec
from ui import resources
from ui.boundary import boundary
from ui.changes import add_change

TITLE, ORDER = "Logits of two other models", 70


def draw(asked: Spec) -> None:
    """Which two models, both with the tokens of the one that is steered."""
    names = _names()
    tuned = st.selectbox("Tuned model", names, key="steerscope.add.shift.tuned", help="Its logits are added.")
    untuned = st.selectbox(
        "The same model untuned",
        names,
        index=min(1, len(names) - 1),
        key="steerscope.add.shift.untuned",
        help="Its logits are taken off: what is left is what the tuning did (RAST, arXiv 2506.15710).",
    )
    if st.button("Add the shift", type="primary", width="stretch", key="steerscope.add.shift.go"):
        with boundary("adding the logit shift"):
            _add(asked, str(tuned), str(untuned))


def _names() -> list[str]:
    """Every model that may be loaded here, and the checkpoints that lie in its folder."""
    from capture.model_source import checkpoint_folders
    from capture.models import model_folder

    found = []
    for name in resources.allowed_models():
        folder = model_folder(name)
        found += [name, *(f"{name}@{one}" for one in (checkpoint_folders(folder) if folder else ()))]
    return found


def _add(asked: Spec, tuned: str, untuned: str) -> None:
    from steering.method import method_named
    from steering.methods.logit_shift import pair_of
    from steering.recipe import step_of
    from steering.token_scope import TokenScope

    step = step_of(pair_of(tuned, untuned), method_named("logit_shift"), f"{tuned} − {untuned}", scope=TokenScope())
    for change in step.changes:
        # Two models of other tokens are refused here, and not once the text is written.
        change.for_model(resources.load(asked.model, asked.dtype))
    add_change(step.recipe())
    st.rerun()
