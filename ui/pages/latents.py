"""Latents: which latents of an SAE fire on a text, and what each of them is."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from ui import latent_card as card
from ui import latent_effect as effects
from ui import latent_pictures as pictures
from ui import resources, state
from ui.drawn import show
from ui.figures import latents as figures
from ui.figures.latent_place import Place, latents_at, shown
from ui.frozen import bounded
from ui.latent_dashboard import card_of, dashboard_of, offer_dashboard, rows_of
from ui.latent_examples import examples
from ui.latent_table import all_latents, redraw_where_stale
from ui.sae_shelf import choose_sae
from ui.words import caption

if TYPE_CHECKING:
    from sae.latent_card import LatentCard
    from ui.shell import Context


def ask(asked: Spec) -> None:
    """Which SAE; of a kept view it is the one it was made with."""
    if state.session().kept is None:
        known = asked.fingerprint or resources.known_fingerprint(asked.model, asked.dtype)
        choose_sae(asked, known)


def render(report: Report, context: "Context") -> None:
    """The Latents page of one text or of a text set."""
    caption(f"{figures.about(report)} {report.numbers['sentence']}")
    offer_dashboard(report)
    _places(report)
    _table(report)


@st.fragment
@bounded
def _places(report: Report) -> None:
    """Everything that a pin changes: a click redraws this and nothing else."""
    redraw_where_stale()
    place, facts = shown(report, state.pins()), dashboard_of(report)
    if place.pos is not None:
        pictures.strip(report, place, lambda pos: state.pin(pos=pos))
    found = card_of(facts, place.latent)
    main, side = st.columns([1, 1], gap="medium")
    with main:
        if place.pos is None:
            for picture in figures.of_a_set(report):
                show(picture)
        else:
            _token(report, place)
    with side:
        if place.latent is None:
            caption(pictures.NONE_HERE)
            return
        card.head(report, place, found)
        if found is None:
            card.nothing_yet(facts.share if facts else None)
        else:
            card.draw(found)
    _below(report, place, found)


def _token(report: Report, place: Place) -> None:
    assert place.pos is not None  # a text has tokens
    here = [latent for latent, _ in latents_at(report, place.pos)]
    pictures.token_latents(report, place, rows_of(dashboard_of(report), here))


def _below(report: Report, place: Place, found: "LatentCard | None") -> None:
    """What takes the width of the page: examples beside directions, then what the latent does."""
    if found is not None:
        left, right = st.columns([3, 2], gap="medium")
        with left:
            examples(found)
        with right:
            card.directions(found)
    left, right = st.columns(2, gap="medium")
    with left:
        if place.pos is not None:
            effects.effect(report, place)
    with right:
        assert place.latent is not None  # a card is drawn of a latent
        effects.own_text(report, place.latent)
    if place.pos is not None:
        with st.expander("What the SAE leaves out, token by token"):
            show(figures.reconstruction(report, place))


@st.fragment
@bounded
def _table(report: Report) -> None:
    redraw_where_stale()
    facts = dashboard_of(report)
    if facts is not None:
        all_latents(report, facts)
