"""What a module of figures made, on the screen: a picture with its caption, a strip of tokens that can be pinned."""

from collections.abc import Callable

import streamlit as st

from ui.components import token_strip
from ui.figures.part import Strip
from ui.figures.picture import Picture
from ui.words import caption

CONFIG = {"displayModeBar": False}


def show(picture: Picture | None) -> None:
    """A figure and its caption; nothing where there is none."""
    if picture is None:
        return
    st.plotly_chart(picture.figure, key=picture.name, config=CONFIG)
    caption(picture.caption)


def show_strip(strip: Strip | None, key: str, pinned: int | None, on_pin: Callable[[int | None], None]) -> None:
    """The tokens, each on its heat; pinning is kept by the caller."""
    assert strip is not None  # only a Report without tokens has none
    token_strip(
        strip.tokens,
        strip.values,
        key=key,
        label=strip.label,
        unit=strip.unit,
        pinned=pinned,
        on_pin=on_pin,
        log=strip.is_log,
        diverging=strip.is_diverging,
    )
