"""The card of the pinned latent: what it is called, its statistics, what it promotes, its examples and neighbours."""

import random
import time
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.report import Report
from ui import resources, state
from ui.boundary import boundary
from ui.changes import EDIT_LATENT, MODES, add_change
from ui.figures import latent_card as figures
from ui.figures.latent_place import Place
from ui.latent_examples import examples
from ui.numbers import say_number
from ui.sign_in import signed_in_name
from ui.words import caption, plain

if TYPE_CHECKING:
    from sae.latent_card import LatentCard

CONFIG = {"displayModeBar": False}
VISITOR = "visitor"


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
    _label(report, latent, card)


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


def _label(report: Report, latent: int, card: "LatentCard | None") -> None:
    store, digest = resources.store(), report.numbers["sae"]["digest"]
    label = card.label if card is not None else None
    if store is None:
        return

    def keep() -> None:
        from sae.dashboards import set_label

        with boundary("keeping the label"):
            set_label(store, digest, latent, words, signed_in_name() or VISITOR)

    with st.form(f"steerscope-latent-label-{latent}", border=False):
        box, save = st.columns([5, 1], vertical_alignment="bottom")
        words = box.text_input(
            "Label",
            value=label.text if label else "",
            placeholder="What does it stand for?",
            max_chars=500,
            key=f"steerscope.latent-label-{latent}",
        )
        if save.form_submit_button("Save", width="stretch"):
            keep()
            st.rerun()
    if label is not None:
        caption(f"by {label.author}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime(label.made_at))} UTC")


def draw(card: "LatentCard") -> None:
    """What the dashboard knows of the latent."""
    st.markdown(plain(figures.statistics(card)))
    if card.density > figures.DENSE:
        st.caption(":orange[:material/warning:] It fires on more than a tenth of all tokens: seldom one kind of thing.")
    for picture in filter(None, (figures.histogram(card), figures.logits(card))):
        st.plotly_chart(picture.figure, key=picture.name, config=CONFIG)
        caption(picture.caption)
    if card.n_fired and not card.promoted:
        caption(card.facts.logit_rule)
    examples(card)
    _neighbours(card)


def _neighbours(card: "LatentCard") -> None:
    if not card.neighbours:
        return
    st.markdown("##### Nearest latents")
    rows = {
        "latent": [one.latent for one in card.neighbours],
        "label": [one.label for one in card.neighbours],
        "cosine": [one.cosine for one in card.neighbours],
    }
    st.dataframe(
        rows,
        hide_index=True,
        column_config={"cosine": st.column_config.NumberColumn(format="%.2f")},
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
