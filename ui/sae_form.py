"""The form that starts the training of an SAE, and the recipe that it makes."""

from dataclasses import asdict, fields
from typing import Any

import streamlit as st

from analysis.text_set import read_text_set
from capture.errors import UserError
from capture.hook_point import HookPoint
from sae.row_choice import RowChoice
from sae.sae_recipe import TRAINED_KINDS, SaeRecipe
from sae.shelf import trained_folder
from ui import resources, visitor
from ui.boundary import boundary
from ui.job_forms import check_name, check_text_folder
from ui.job_kinds import TRAIN_SAE, queue
from ui.words import plain

SITES = ("resid_post", "resid_pre", "mlp_out", "attn_out", "mlp_in", "mlp_post")
RECIPE, ROWS = SaeRecipe(), RowChoice()


def train_sae_form() -> None:
    """Ask for a model, a place in it, a folder of text and a size, and put the training into the queue."""
    with st.form("steerscope.train_sae", border=True):
        st.markdown("**Train an SAE**")
        st.caption(
            "Latents of a model at one hook point, learnt from text. It goes on after a restart, and what it makes is "
            f"on the shelf of SAEs, in {plain(str(trained_folder()))}."
        )
        chosen = {**_place(), **_size(), **_rows()}
        if st.form_submit_button(
            "Start", type="primary", icon=":material/play_arrow:", key="steerscope.train_sae.start"
        ):
            with boundary("starting the training"):
                queue().submit(TRAIN_SAE, sae_training_recipe(**chosen), visitor.owner(), f"SAE {chosen['name']}")
                st.caption("It is in the queue: the sidebar shows how far it is.")


def _place() -> dict[str, Any]:
    name, model, layer, site = st.columns([3, 3, 1, 2])
    return {
        "name": name.text_input("Name of the SAE", placeholder="my-sae", max_chars=40),
        "model": model.selectbox("Model to read", resources.allowed_models()),
        "layer": layer.number_input("Block", 0, 999, 2, help="Counted from 0."),
        "site": site.selectbox("Site", SITES, help="Which activation of the block."),
        "text": st.text_input(
            "Folder of text to learn from",
            placeholder="/path/to/folder",
            help="Its .txt files, UTF-8; those whose names end in heldout, valid, validation or test are left out.",
        ),
    }


def _size() -> dict[str, Any]:
    kind, d_sae, k, m_rows = st.columns(4)
    return {
        "kind": kind.selectbox("Kind", TRAINED_KINDS, help="TopK keeps k latents a token; the others k on average."),
        "d_sae": d_sae.number_input("Latents, d_sae", 1, 1_000_000, RECIPE.d_sae),
        "k": k.number_input("k", 1, 10_000, RECIPE.k, help="Latents kept for a token."),
        "m_rows": m_rows.number_input("Rows, M", 0.001, 10_000.0, RECIPE.total_rows / 1e6, 0.1, help="Tokens in all."),
    }


def _rows() -> dict[str, Any]:
    skip, massive = st.columns(2, vertical_alignment="bottom")
    return {
        "skip_first": skip.toggle(
            "Leave out position 0", ROWS.skip_first, help="The BOS token: an attention sink, the same in every text."
        ),
        "massive_ratio": massive.number_input(
            "Leave out rows beyond this multiple of the median norm",
            *(0.0, 1e6, ROWS.massive_ratio),
            help="0 leaves none out. A few massive tokens cost latents and FVU everywhere else.",
        ),
    }


def sae_training_recipe(
    name: str,
    model: str,
    layer: int,
    site: str,
    text: str,
    kind: str,
    d_sae: int,
    k: int,
    m_rows: float,
    skip_first: bool,
    massive_ratio: float,
) -> dict[str, Any]:
    """The recipe of a training job; raises UserError for what cannot be."""
    out = trained_folder() / check_name(name)
    if out.exists():
        raise UserError(f"An SAE called {name!r} is here already.", "Choose another name, or press Go on at its job.")
    if not resources.is_allowed(model):
        raise UserError(f"The model {model[:80]!r} was not opened here yet.", "Open it in the sidebar of a page.")
    total_rows = round(m_rows * 1e6)
    batch_rows = min(RECIPE.batch_rows, max(2, total_rows // 2))
    recipe = SaeRecipe(kind=kind, d_sae=d_sae, k=k, total_rows=total_rows, batch_rows=batch_rows)
    recipe.check()
    rows = RowChoice(skip_first=skip_first, massive_ratio=massive_ratio)
    return {
        "model": model,
        "hook": str(HookPoint(layer, site)),
        "text": str(check_text_folder(text)),
        "out": str(out),
        "recipe": _changed(recipe, RECIPE),
        "rows": _changed(rows, ROWS),
        "first_text": read_text_set("tour").texts[0],
    }


def _changed(given: Any, default: Any) -> dict[str, Any]:
    """The fields that are not as the command line has them by itself."""
    return {
        one.name: value for one in fields(given) if (value := asdict(given)[one.name]) != getattr(default, one.name)
    }
