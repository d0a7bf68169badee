"""Shows the token strip and the heat grid as a page does: in a fragment, the pins kept outside."""

import numpy as np
import streamlit as st

from ui.components import heat_grid, token_strip

HOSTILE = "<img src=x onerror=window.hacked=1>"
TEXT = [
    "<s>",
    "Once",
    " upon",
    " a",
    " time",
    " there",
    " was",
    " a",
    HOSTILE,
    ".",
    "\n",
    " Die",
    " ",
    "שלום",
    "<0xF0>",
]
SCALE = {"label": "Largest over median", "unit": "×", "log": True}

st.set_page_config(page_title="components", layout="wide")
kept = st.session_state.setdefault("kept", {"token": None, "cell": None, "page_runs": 0})
kept["page_runs"] += 1
is_long = "long" in st.query_params
tokens = TEXT * 34 + [" x", " y"] if is_long else TEXT
n_layers = 48 if is_long else 6
generator = np.random.default_rng(0)
grid = np.exp(generator.normal(size=(n_layers, len(tokens)))).astype(np.float32)
grid[:, 0] = 300.0
grid[1, 2] = np.nan
grid[3, 4] = 12_400.0
if st.button("pin token 3"):
    kept["token"] = 3
if st.button("unpin all"):
    kept.update(token=None, cell=None)


@st.fragment
def parts() -> None:
    st.text(f"pinned token {kept['token']}, cell {kept['cell']}, page runs {kept['page_runs']}")
    token_strip(
        tokens, grid[1], key="strip", pinned=kept["token"], on_pin=lambda token: kept.update(token=token), **SCALE
    )
    names = [str(layer) for layer in range(n_layers)]
    heat_grid(grid, names, tokens, key="grid", pinned=kept["cell"], on_pin=lambda cell: kept.update(cell=cell), **SCALE)


parts()
signed = generator.normal(size=len(tokens))
returned = token_strip(tokens, signed, key="signed", label="Signed", unit="nats", pinned=None, diverging=True)
st.text(f"signed strip returned {returned}")
