"""Preference and utility odds over the strength in the steering lab: the curves, their law, and what it leaves open."""

from typing import TYPE_CHECKING

import streamlit as st

from steering.proxies import NOTATION, proxy
from ui.odds_picture import odds_figure
from ui.proxy_words import formula_words
from ui.words import caption, plain

if TYPE_CHECKING:
    from steering.tuning import Tuning

BEHIND = ("dynamics", "preference", "utility")
CONFIG = {"displayModeBar": False}


def draw_odds(tuning: "Tuning | None", unit: str) -> None:
    """The curves of a tuning's layer with a sentence; nothing before there are any. `unit` is that of the strength."""
    from steering.odds_curve import odds_words

    if tuning is None or tuning.odds is None:
        return
    with st.container(gap="xxsmall", key="steerscope-odds"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown("**Preference and utility**", width="content")
            with st.popover("proxy", type="tertiary", help="How it is computed"):
                for name in BEHIND:
                    st.markdown(formula_words(proxy(name)))
                caption(NOTATION)
        st.plotly_chart(odds_figure(tuning.odds), key="steerscope-odds-curve", config=CONFIG)
        for words in odds_words(tuning.odds, unit):
            st.markdown(f":small[:gray[{plain(words)}]]")
