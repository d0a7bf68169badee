"""What a module of figures made, on the screen: pictures and tables with captions, strips of tokens to be pinned."""

from collections.abc import Callable

import streamlit as st

from ui.components import token_strip
from ui.figures.part import Strip, Table
from ui.figures.picture import Picture
from ui.words import caption

CONFIG = {"displayModeBar": False}


def show(picture: Picture | None) -> None:
    """A figure and its caption; nothing where there is none."""
    if picture is None:
        return
    st.plotly_chart(picture.figure, key=picture.name, config=CONFIG)
    caption(picture.caption)


def show_beside(picture: Picture, table: Table, key: str) -> None:
    """A figure and a table side by side under their titles; `key` is the table's."""
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown(f"### {picture.title}")
        show(picture)
    with right:
        st.markdown(f"### {table.title}")
        columns = zip(table.columns, zip(*table.rows, strict=True), strict=True)
        st.dataframe({name: list(cells) for name, cells in columns}, hide_index=True, key=key)
        caption(table.caption)


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
