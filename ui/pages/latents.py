"""Latents: which latents of an SAE fire on a text, and what each of them is."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Report
from ui import latent_pictures as pictures
from ui import state
from ui.figures import latents as figures
from ui.figures.latent_place import shown
from ui.frozen import bounded
from ui.style import AFTER_SIDE
from ui.words import caption

if TYPE_CHECKING:
    from ui.shell import Context


def render(report: Report, context: "Context") -> None:
    """The Latents page of one text or of a text set."""
    caption(f"{figures.about(report)} {report.numbers['sentence']}")
    if report.spec.text_set:
        _text_set(report)
    else:
        _one_text(report)


@st.fragment
@bounded
def _one_text(report: Report) -> None:
    """Everything that a pin changes: a click redraws this and nothing else."""
    place = shown(report, state.pins())
    pictures.strip(report, place, lambda pos: state.pin(pos=pos))
    main, side = st.columns([4, 5], gap="medium")
    with main:
        pictures.token_latents(report, place, lambda latent: state.pin(latent=latent))
        after_side = st.container(key=AFTER_SIDE)
    with side:
        for picture in figures.of_a_latent(report, place):
            pictures.show(picture)
    with after_side:
        pictures.show(figures.reconstruction(report, place))


@st.fragment
@bounded
def _text_set(report: Report) -> None:
    for column, picture in zip(st.columns(2), figures.of_a_set(report), strict=True):
        with column:
            pictures.show(picture)
