"""The token strip: a text's tokens on their heat, one of them pinned."""

import re
from collections.abc import Callable, Collection, Sequence

import numpy as np
import streamlit as st
from numpy.typing import ArrayLike

from ui.components.payload import colours, encode_floats, source, span_of, texts
from ui.components.pin import as_index, settle

SPECIAL = re.compile(r"<\|.*\|>|</?s>|<(bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>|\[(CLS|SEP|PAD|MASK|UNK)\]")

_mount = st.components.v2.component(
    "steerscope_token_strip",
    html=source("token_strip", "html", shared=False),
    css=source("token_strip", "css"),
    js=source("token_strip", "js"),
)


def token_strip(
    tokens: Sequence[str],
    values: ArrayLike | None,
    *,
    key: str,
    label: str,
    unit: str,
    pinned: int | None,
    on_pin: Callable[[int | None], None] | None = None,
    log: bool = False,
    diverging: bool = False,
    special: Collection[int] | None = None,
    span: tuple[float, float] | None = None,
    max_height: int = 168,
) -> int | None:
    """Shows the tokens, each on the heat of its value, and returns the position pinned after this run, None for none.

    `values` is one number a token, NaN for "no value", or None for no heat at all. `pinned` is kept by the caller: a
    press on a token (or an arrow key) pins another, a press on the pinned one unpins. `on_pin` is given the new pin to
    keep, and then the enclosing fragment is drawn again; without it the caller keeps what is returned and calls
    st.rerun(scope="fragment") itself. `special` are the positions drawn with an outline (None: those that look like
    special tokens). `span` fixes the ends of the colour range. `key` must not contain two underscores in a row.
    Raises ValueError if there is not one value a token.
    """
    numbers = None if values is None else np.asarray(values, dtype=np.float32)
    if numbers is not None and numbers.shape != (len(tokens),):
        raise ValueError(f"token_strip needs one value a token, got shape {numbers.shape} for {len(tokens)} tokens")
    marked = {i for i, token in enumerate(tokens) if SPECIAL.fullmatch(token)} if special is None else set(special)
    shown = as_index(pinned, len(tokens))
    data = {
        "tokens": texts(tokens),
        "values": None if numbers is None else encode_floats(numbers),
        "special": [position in marked for position in range(len(tokens))],
        "label": label,
        "unit": unit,
        "pinned": shown,
        "log": log,
        "diverging": diverging,
        "palette": colours(diverging),
        "span": span_of(span),
        "max_height": max_height,
    }
    event = _mount(data=data, key=key, on_pin_change=lambda: None)["pin"]
    return settle(as_index(event.get("position"), len(tokens)), on_pin) if isinstance(event, dict) else shown
