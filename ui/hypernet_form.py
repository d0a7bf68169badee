"""The form that starts the training of a hypernetwork."""

import streamlit as st

from ui import resources, visitor
from ui.adders.sentence import VARIANTS
from ui.boundary import boundary
from ui.hypernet_job import RECIPE, SLUG, hypernet_recipe
from ui.job_kinds import queue

LOSSES = {"language_model": "the model's loss on texts", "reconstruction": "imitating vectors alone"}


def train_hypernet_form() -> None:
    """Ask for a name, a model, a place in it, concepts and a length, and put the training into the queue."""
    from steering.concepts import bundled_concepts

    with st.expander("Train a hypernetwork"), st.form("steerscope.train_hypernet", border=False):
        st.caption(
            "A small network learns to turn the sentences of many concepts into vectors, through the frozen model. It "
            "goes on after a restart, and is on the shelf when it is done."
        )
        name, model, layer = st.columns([3, 3, 2])
        called = name.text_input("Name", placeholder="my-hypernetwork", max_chars=40)
        of = model.selectbox("Model to steer", resources.allowed_models())
        block = layer.number_input("Block", 0, 999, 2, help="Counted from 0; vectors are added to its output.")
        bundled, file = st.columns(2)
        named = bundled.selectbox("Concepts", [*bundled_concepts()], placeholder="none is bundled")
        path = file.text_input("or a file of concepts", placeholder="/path/to/concepts.json")
        variant, loss, steps, heads = st.columns([4, 4, 2, 2])
        reads = variant.selectbox("It", list(VARIANTS), format_func=lambda one: VARIANTS[one])
        by = loss.selectbox(
            "It learns by",
            list(LOSSES),
            format_func=lambda one: LOSSES[one],
            help="Texts of the concepts through the frozen model, or their mean differences, which is much faster.",
        )
        n_steps = steps.number_input("Steps", 1, 1_000_000, RECIPE.n_steps)
        n_heads = heads.number_input("Heads", 1, 256, RECIPE.n_heads, help="They divide the model's width.")
        if st.form_submit_button("Start", type="primary", icon=":material/play_arrow:"):
            with boundary("starting the training"):
                concepts = path.strip() or str(named or "")
                hook = f"blocks.{block}.hook_resid_post"
                recipe = hypernet_recipe(
                    called, str(of), concepts, hook, variant=str(reads), loss=str(by), n_steps=n_steps, n_heads=n_heads
                )
                queue().submit(SLUG, recipe, visitor.owner(), f"Hypernetwork {called}")
                st.caption("It is in the queue: the sidebar shows how far it is.")
