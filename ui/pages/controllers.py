"""Controllers: steering that decides by itself when to act; one on your prompt, its scores, and training one."""

from typing import TYPE_CHECKING

import streamlit as st

from ui import state
from ui.boundary import boundary
from ui.controller_choice import draw_choice
from ui.controller_form import train_controller_form
from ui.controller_live import draw_live
from ui.controller_scores import draw_scores
from ui.words import caption

if TYPE_CHECKING:
    from ui.shell import Context

TITLE = "Controllers"
QUESTION = "When does a controller act on a prompt, how strongly, and is it better than always steering?"
IS_OF_ONE_TEXT = False
HOW_TO_READ = (
    "A controller reads the residual stream at the last token of the prompt and sets s, whether to act, and w, how "
    "much each block is patched; s · w · α times a direction is added to everything written afterwards. It is worth "
    "having where its effect on targets lies above that of constant steering at the same side effect. All scores are "
    "proxies. After Hegazy et al. 2025 (Guiding Giants), arXiv 2505.20309."
)

DIFFERENCES = {
    "": ["loss on s", "s that acts", "direction", "blocks read", "layer weights"],
    "the paper says": [
        "squared error",
        "as the network says it",
        "phrases, in the unembedding",
        "the last third",
        "learnt",
    ],
    "its code does": [
        "cross-entropy of a logit",
        "the raw logit: below 0 it steers the other way",
        "phrases, in the input embedding",
        "the last four, so that in effect one block is patched",
        "no loss reaches them; their mean is .509 in the paper",
    ],
    "here": [
        "squared error; loss bce is the other",
        "raw, clamp or sigmoid; the raw and the cut s are shown",
        "that, or a mean difference, or saved vectors",
        "the last third unless others are named; all blocks chosen are patched, on every later token",
        "left as they are (paper), held at ½ (fixed), or trained through the frozen model (trained, a loss of ours)",
    ],
}
"""Where Guiding Giants and its code disagree, and what is done here."""


def draw(context: "Context") -> None:
    """The chosen controller on a prompt, its scores, and the form that trains another."""
    asked = state.session().asked
    chosen = None
    with boundary("looking at the controllers"):
        chosen = draw_choice(asked)
    if chosen is None:
        st.info("No controller is on the shelf yet. Train one below, or import one.", icon=":material/tune:")
    else:
        with boundary("asking the controller"):
            draw_live(asked, chosen, context.pages)
        with boundary("showing the scores"):
            draw_scores(chosen)
    st.markdown("### Another one")
    with boundary("drawing the form"):
        train_controller_form()
    with st.expander("How to read this"):
        caption(HOW_TO_READ)
    with st.expander("Where the paper and its code differ"):
        st.table(DIFFERENCES, hide_index=True)
