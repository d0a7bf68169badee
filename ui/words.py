"""Foreign text on the screen: nothing that was typed, linked or generated acts as markup."""

import re

import streamlit as st

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:<>&@=/])")


def plain(text: str) -> str:
    """The text for a Streamlit Markdown field, with every mark escaped, so that it is shown as it was written."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def shortened(text: str, n_chars: int = 60) -> str:
    """The text on one line, cut with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= n_chars else f"{line[: n_chars - 1].rstrip()}…"


def caption(words: str) -> None:
    """The line under a picture."""
    st.caption(plain(words))
