"""Adds a latent of an SAE: raised, clamped or set to 0, what the SAE does not explain kept as it is."""

from typing import Any

import streamlit as st

from analysis.spec import Spec
from sae.shelf import Shelved
from ui import resources
from ui.boundary import boundary
from ui.changes import EDIT_LATENT, MODES, add_change
from ui.recipe_edit import as_step
from ui.sae_shelf import offered_saes

TITLE, ORDER = "SAE latent", 20
FROM_POS = 1


def draw(asked: Spec) -> None:
    """Which latent of which SAE, and what to do with it."""
    fingerprint = asked.fingerprint or resources.known_fingerprint(asked.model, asked.dtype)
    offered = {one.digest: one for one in offered_saes(fingerprint, asked.model)}
    if not offered:
        st.caption("No SAE on the shelf is of this model: train or open one on the Store & jobs page.")
        return
    digest = st.selectbox("SAE", list(offered), format_func=lambda one: offered[one].name, key="steerscope.add.sae")
    sae = offered[str(digest)]
    latent = st.number_input(
        "Latent", 0, sae.facts.d_sae - 1, 0, help="The Latents page shows what each is.", key="steerscope.add.latent"
    )
    modes = ["add"] if sae.facts.is_transcoder else list(MODES)
    mode = st.segmented_control(
        "How", modes, default="add", required=True, format_func=lambda one: MODES[one], key="steerscope.add.latent.mode"
    )
    value = st.number_input(
        "Value", value=4.0, step=1.0, format="%.4g", disabled=mode == "ablate", key="steerscope.add.latent.value"
    )
    if st.button("Add to the recipe", type="primary", width="stretch", key="steerscope.add.latent.go"):
        with boundary("adding the latent"):
            add_change(latent_step(sae, int(latent or 0), str(mode), 0.0 if mode == "ablate" else float(value or 0.0)))
            st.rerun()


def latent_step(sae: Shelved, latent: int, mode: str, value: float) -> dict[str, Any]:
    """A step that edits one latent, from position 1 on: SAEs are seldom trained on position 0."""
    change = {
        "kind": EDIT_LATENT,
        "at": sae.facts.hook_point_out or sae.facts.hook_point,
        "sae": sae.digest,
        "latent": latent,
        "mode": mode,
        "value": value,
        "strength": 1.0,
        "from_pos": FROM_POS,
        "ranges": [[0, None]],
    }
    return as_step(change) | {"name": f"latent {latent} {MODES[mode]}{'' if mode == 'ablate' else f' {value:g}'}"}
