"""The card of the pinned latent: what it is called, its statistics, what it promotes, its examples and neighbours."""

import random
import time
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.report import Report
from ui import resources, state
from ui.boundary import boundary
from ui.changes import EDIT_LATENT, MODES, add_change
from ui.drawn import show
from ui.figures import latent_card as figures
from ui.figures.latent_place import Place
from ui.frozen import is_cold
from ui.latent_dashboard import labels_of
from ui.numbers import say_number
from ui.sign_in import signed_in_name
from ui.words import caption, plain

if TYPE_CHECKING:
    from sae.latent_card import LatentCard

VISITOR = "visitor"
MAX_LABEL = 500


def head(report: Report, place: Place, card: "LatentCard | None") -> None:
    """The latent's name, the way to others, and what puts it among the changes."""
    latent, d_sae = place.latent, int(report.numbers["sae"]["d_sae"])
    assert latent is not None  # a card is drawn of a latent
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown(f"#### Latent {latent}", width="content")
        _step("previous", ":material/chevron_left:", "Previous latent ([)", (latent - 1) % d_sae)
        _step("next", ":material/chevron_right:", "Next latent (])", (latent + 1) % d_sae)
        _step("random", ":material/casino:", "A random latent (r)", random.randrange(d_sae))
        _recipe(report, place, card)
    _label(report, latent)


def _step(name: str, icon: str, words: str, latent: int) -> None:
    st.button(
        "",
        icon=icon,
        help=words,
        key=f"steerscope-latent-{name}",
        on_click=lambda: state.pin(latent=latent),
    )


def recipe_of(report: Report, latent: int, mode: str, value: float) -> dict[str, Any]:
    """The change of a latent of the Report's SAE, from the first position that the SAE was trained on."""
    sae = report.numbers["sae"]
    return {
        "kind": EDIT_LATENT,
        "at": sae["hook_point_out"] or sae["hook_point"],
        "sae": sae["digest"],
        "latent": latent,
        "mode": mode,
        "value": value,
        "strength": 1.0,
        "from_pos": int(report.numbers["from_pos"]),
    }


def usual_value(report: Report, latent: int, card: "LatentCard | None") -> float:
    """A value that the latent has somewhere: its largest in the dashboard, else in this text, else 1."""
    if card is not None and card.max > 0:
        return float(f"{card.max:.3g}")
    here = report.arrays["fired_max"][report.arrays["fired"] == latent]
    return float(f"{here[0]:.3g}") if len(here) else 1.0


def _recipe(report: Report, place: Place, card: "LatentCard | None") -> None:
    latent = place.latent
    assert latent is not None
    with st.popover("Change it", icon=":material/add:", key="steerscope-latent-change"):
        st.caption("Every forward pass of this view is made with the latent changed; the SAE's error stays.")
        mode = st.segmented_control(
            "How", list(MODES), default="add", required=True, format_func=lambda one: MODES[one], key="latents-mode"
        )
        value = st.number_input(
            "Value",
            value=usual_value(report, latent, card),
            step=1.0,
            format="%.3g",
            disabled=mode == "ablate",
            key=f"latents-value-{latent}",
        )
        # The whole page has other numbers then, and a callback would leave the fragment alone drawn anew.
        if st.button("Add to changes", type="primary", width="stretch"):
            add_change(recipe_of(report, latent, str(mode), 0.0 if mode == "ablate" else float(value or 0.0)))
            st.rerun()


def _label(report: Report, latent: int) -> None:
    store, digest = resources.store(), report.numbers["sae"]["digest"]
    if store is None or is_cold():
        return
    label = labels_of(report).get(latent)
    with st.form(f"steerscope-latent-label-{latent}", border=False):
        box, save = st.columns([4, 1], vertical_alignment="bottom")
        words = box.text_input(
            "Label",
            value=label.text if label else "",
            placeholder="What does it stand for?",
            max_chars=MAX_LABEL,
            key=f"steerscope.latent-label-{latent}",
        )
        is_saved = save.form_submit_button("Save", width="stretch")
    if is_saved:
        from sae.dashboards import set_label

        with boundary("keeping the label"):
            set_label(store, digest, latent, words or "", signed_in_name() or VISITOR)
            st.rerun()
    if label is not None:
        caption(f"by {label.author}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime(label.made_at))} UTC")


def draw(card: "LatentCard") -> None:
    """Its statistics and how its values spread."""
    st.markdown(plain(figures.statistics(card)))
    if card.density > figures.DENSE:
        st.caption(":orange[:material/warning:] It fires on more than a tenth of all tokens: seldom one kind of thing.")
    show(figures.histogram(card))


def directions(card: "LatentCard") -> None:
    """What its direction promotes, and the latents whose directions are nearest."""
    if card.n_fired or card.promoted:
        st.markdown("##### Promotes and suppresses")
    show(figures.logits(card))
    if card.n_fired and not card.promoted:
        caption(card.facts.logit_rule)
    _neighbours(card)


def _neighbours(card: "LatentCard") -> None:
    if not card.neighbours:
        return
    st.markdown("##### Nearest latents")
    rows = {
        "latent": [one.latent for one in card.neighbours],
        "cosine": [one.cosine for one in card.neighbours],
        "label": [one.label for one in card.neighbours],
    }
    st.dataframe(
        rows,
        hide_index=True,
        height=250,
        column_config={
            "latent": st.column_config.NumberColumn(format="%d"),
            "cosine": st.column_config.NumberColumn(format="%.2f"),
        },
        **state.bind_table(
            f"latent-neighbours-{card.latent}", lambda row: state.pin(latent=card.neighbours[row].latent)
        ),
    )
    caption("By the cosine of decoder directions; click one for its card.")


def nothing_yet(share: float | None) -> None:
    """Why there is no card."""
    caption(
        "No dashboard has seen this latent yet: statistics, examples and promoted tokens come with one."
        if share is None
        else f"The dashboard has seen {say_number(100 * share)} % of its text; this latent's card comes with it."
    )
