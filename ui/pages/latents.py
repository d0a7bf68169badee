"""Latents: which latents of an SAE fire on a text, and what each of them is."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from ui import latent_card as card
from ui import latent_effect as effects
from ui import latent_pictures as pictures
from ui import state
from ui.figures import latents as figures
from ui.figures.latent_place import Place, latents_at, shown
from ui.frozen import bounded
from ui.latent_dashboard import card_of, dashboard_of, offer_dashboard, rows_of
from ui.latent_table import all_latents
from ui.sae_shelf import choose_sae
from ui.style import AFTER_SIDE
from ui.words import caption

if TYPE_CHECKING:
    from ui.shell import Context


def ask(asked: Spec) -> None:
    """Which SAE; of a kept view it is the one it was made with."""
    if state.session().kept is None:
        choose_sae(asked, asked.fingerprint)


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
    place = shown(report, state.pins())
    if place.pos is not None:
        pictures.strip(report, place, lambda pos: state.pin(pos=pos))
    main, side = st.columns([1, 1], gap="medium")
    with main:
        if place.pos is None:
            for picture in figures.of_a_set(report):
                pictures.show(picture)
        else:
            _token(report, place)
    with side:
        if place.latent is None:
            caption(pictures.NONE_HERE)
        else:
            _card(report, place)


def _token(report: Report, place: Place) -> None:
    assert place.pos is not None  # a text has tokens
    here = [latent for latent, _ in latents_at(report, place.pos)]
    pictures.token_latents(report, place, rows_of(dashboard_of(report), here))
    with st.container(key=AFTER_SIDE):
        for picture in (*figures.of_a_latent(report, place), figures.reconstruction(report, place)):
            pictures.show(picture)


def _card(report: Report, place: Place) -> None:
    facts = dashboard_of(report)
    found = card_of(facts, place.latent)
    card.head(report, place, found)
    if found is None:
        card.nothing_yet(facts.share if facts else None)
    else:
        card.draw(found)
    if place.pos is not None:
        effects.effect(report, place)
    assert place.latent is not None  # a card is drawn of a latent
    effects.own_text(report, place.latent)


@st.fragment
@bounded
def _table(report: Report) -> None:
    facts = dashboard_of(report)
    if facts is not None:
        all_latents(report, facts)
