"""Shows the token strip and the heat grid alone, as a page would: each in a fragment, the pins kept outside."""

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

st.set_page_config(page_title="components", layout="wide")
pins = st.session_state.setdefault("pins", {"token": None, "cell": None, "script_runs": 0})
pins["script_runs"] += 1
long = "long" in st.query_params
tokens = TEXT * 35 if long else TEXT
n_layers = 48 if long else 6
generator = np.random.default_rng(0)
grid = np.exp(generator.normal(size=(n_layers, len(tokens)))).astype(np.float32)
grid[:, 0] = 300.0
grid[1, 2] = np.nan
if st.button("pin token 3"):
    pins["token"] = 3


@st.fragment
def strip() -> None:
    kept = token_strip(
        tokens, grid[2], key="strip", label="Largest over median", unit="×", pinned=pins["token"], log=True
    )
    pins["token"] = kept
    st.write(f"token {kept}, script runs {pins['script_runs']}")


@st.fragment
def cells() -> None:
    names = [str(layer) for layer in range(n_layers)]
    kept = heat_grid(
        grid, names, tokens, key="grid", label="Largest over median", unit="×", log=True, pinned=pins["cell"]
    )
    pins["cell"] = kept
    st.write(f"cell {kept}, script runs {pins['script_runs']}")


strip()
cells()
token_strip(
    tokens, generator.normal(size=len(tokens)), key="signed", label="Signed", unit="nats", pinned=None, diverging=True
)
