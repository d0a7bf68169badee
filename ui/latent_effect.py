"""What a latent does: to the next token when it is set to zero, and on a text of one's own."""

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from ui import resources
from ui.boundary import boundary
from ui.components import token_strip
from ui.figures.latent_place import Place, along_text
from ui.latent_card import recipe_of
from ui.numbers import marked, say_number
from ui.words import caption, plain

if TYPE_CHECKING:
    from steering.next_token import Effect, Moved

KEPT = 200


def effect(report: Report, place: Place) -> None:
    """The switch for the effect of the latent's ablation on the prediction made at the pinned token."""
    assert place.pos is not None  # a text has tokens
    assert place.latent is not None  # a card is drawn of a latent
    st.markdown("##### Without it")
    token = plain(marked(report.numbers["tokens"][place.pos]))
    if not st.toggle(
        f"Show what the model expects after {token} without latent {place.latent}",
        help="The latent is set to 0 at that token, what the SAE does not explain is kept, and the rest is run again.",
        key="latents-effect",
    ):
        return
    here = along_text(report, place.latent)[place.pos]
    if not here > 0:
        caption("It does not fire on this token, so that setting it to 0 changes nothing.")
        return
    with boundary("running the model without this latent"):
        _tell(ablated(report.spec, recipe_of(report, place.latent, "ablate", 0.0) | {"from_pos": place.pos}))


@st.cache_data(show_spinner="Running the model twice", max_entries=KEPT, hash_funcs={Spec: Spec.digest})
def ablated(spec: Spec, recipe: dict[str, Any]) -> "Effect":
    """The effect on the token after position `from_pos`: nothing before it is changed, and nothing after it is run."""
    from capture.intervention import operator_from_recipe
    from steering.next_token import next_token_effect

    session = resources.load(spec.model, spec.dtype)
    tokens = session.tokens(spec.text, spec.bos)[: int(recipe["from_pos"]) + 1]
    others = tuple(operator_from_recipe(dict(one)) for one in spec.interventions)
    return next_token_effect(session, tokens, operator_from_recipe(recipe), others)


def _tell(found: "Effect") -> None:
    st.markdown(f"The prediction moves by **{plain(say_number(found.kl_nats))} nats** (KL from with it to without it).")
    percent = st.column_config.NumberColumn(format="%.2f %%", help="Probability of the token")
    logit = st.column_config.NumberColumn(format="%.2f")
    st.dataframe(
        _table((*found.lost, *reversed(found.gained))),
        hide_index=True,
        key="latents-effect-table",
        column_config={"with": percent, "without": percent, "logit with": logit, "logit without": logit},
    )
    caption("The tokens that lose most of their probability without it, then those that gain.")


def _table(rows: "tuple[Moved, ...]") -> dict[str, list[Any]]:
    return {
        "next token": [marked(one.token) for one in rows],
        "with": [100 * one.share for one in rows],
        "without": [100 * one.share_changed for one in rows],
        "logit with": [one.logit for one in rows],
        "logit without": [one.logit_changed for one in rows],
    }


def own_text(report: Report, latent: int) -> None:
    """A box for a text of one's own, and the latent's value on each of its tokens."""
    st.markdown("##### On your own text")
    text = st.text_input(
        "Text",
        placeholder="Type a sentence and press Enter",
        key="latents-own-text",
        label_visibility="collapsed",
        max_chars=4000,
    )
    if not text or not text.strip():
        return
    with boundary("encoding your text"):
        found = _report_on(report, text)
        values = along_text(found, latent)
        token_strip(
            found.numbers["tokens"],
            values,
            key="latents-own-strip",
            label=f"value of latent {latent}",
            unit="",
            pinned=None,
            span=(0.0, max(1e-6, float(np.nan_to_num(values).max()))),
        )
        n = int((np.nan_to_num(values) > 0).sum())
        caption(f"It fires on {n} of {found.numbers['n_counted']} tokens.")


def _report_on(report: Report, text: str) -> Report:
    from analysis.pipeline import run

    asked = report.spec.with_(text=text, text_set="", fingerprint="", pins={})
    return run(asked, resources.load, resources.store()).report
