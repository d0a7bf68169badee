"""Keys that work on every page, and the list of them."""

import streamlit as st

from ui.components.payload import source

KEYS = {
    "s": "Share",
    "e": "Export",
    "/": "go to the text, on Latents to the search",
    "[ ]": "previous and next latent",
    "r": "a random latent",
    "Esc": "cancel what runs",
    "← →": "another token or cell, where one has the focus",
    "?": "this list",
}
"""What keys.js and the pinned components do."""

_mount = st.components.v2.component("steerscope_keys", html="<span></span>", js=source("keys", "js", shared=False))


def draw_keys() -> None:
    """Listen for the keys, and offer their list."""
    with st.container(gap=None):
        with st.popover("Keys", icon=":material/keyboard:", type="tertiary", key="steerscope.keys"):
            st.markdown("  \n".join(f"`{key}` {what}" for key, what in KEYS.items()))
        _mount(data={}, key="steerscope-keys-listener")
