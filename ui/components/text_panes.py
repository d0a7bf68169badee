"""Text panes: the same prompt written on several times side by side, each token on its heat, one of them pinned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import ArrayLike

from ui.components.payload import colours, encode_floats, source, span_of, texts
from ui.components.pin import as_index, settle

Place = tuple[int, int]
Ranked = Sequence[tuple[str, float]]
"""Token texts with their log-probabilities in nats, the likeliest first."""

_mount = st.components.v2.component(
    "steerscope_text_panes",
    html=source("text_panes", "html", shared=False),
    css=source("text_panes", "css"),
    js=source("text_panes", "js"),
)


@dataclass(frozen=True)
class Pane:
    """One text as it is shown: its new tokens, and where they are known their heat and the likeliest ones.

    `logprobs` has for each token its own log-probability, clean and steered where the pane is steered; `tops` the
    likeliest tokens of the clean and of the steered model, the latter None for a clean pane. `special` says which
    tokens are no text.
    """

    title: str
    colour: str
    tokens: Sequence[str]
    words: str = ""
    heat: ArrayLike | None = None
    special: Sequence[bool] = ()
    departs: int | None = None
    logprobs: Sequence[Sequence[float]] | None = None
    tops: Sequence[tuple[Ranked, Ranked | None]] | None = None


def text_panes(
    panes: Sequence[Pane],
    prompt: Sequence[tuple[str, bool]],
    *,
    key: str,
    label: str,
    unit: str,
    span: tuple[float, float] | None,
    is_live: bool = False,
    is_stale: bool = False,
    pinned: Place | None = None,
    on_pin: Callable[[Place | None], None] | None = None,
) -> Place | None:
    """Shows the panes behind the end of their prompt, and returns the (pane, step) pinned after this run.

    `prompt` has its tokens, and whether each is no text. `span` are the ends of the heat, the same for all panes; None
    for no heat. `is_live` says that more tokens come, `is_stale` that what is shown is to be replaced. The pin is kept
    as `token_strip` says.
    """
    shown = _place(pinned, panes)
    data = {
        "panes": [_as_data(pane) for pane in panes],
        "prompt": texts(token for token, _ in prompt),
        "prompt_special": [is_special for _, is_special in prompt],
        "label": label,
        "unit": unit,
        "palette": colours(False),
        "span": span_of(span),
        "is_live": is_live,
        "is_stale": is_stale,
        "pinned": shown,
    }
    event = _mount(data=data, key=key, on_pin_change=lambda: None)["pin"]
    return settle(_place(event.get("place"), panes), on_pin) if isinstance(event, dict) else shown


def _place(place: object, panes: Sequence[Pane]) -> Place | None:
    """The (pane, step) where there is such a token, else None: neither a browser nor a link is to be trusted."""
    if not isinstance(place, list | tuple) or len(place) != 2:
        return None
    pane = as_index(place[0], len(panes))
    step = None if pane is None else as_index(place[1], len(panes[pane].tokens))
    return None if pane is None or step is None else (pane, step)


def _as_data(pane: Pane) -> dict[str, Any]:
    heat = None if pane.heat is None else np.asarray(pane.heat, np.float32)
    if heat is not None and heat.shape != (len(pane.tokens),):
        raise ValueError(f"a pane needs one heat a token, got shape {heat.shape} for {len(pane.tokens)} tokens")
    return {
        "title": pane.title,
        "colour": pane.colour,
        "words": pane.words,
        "tokens": texts(pane.tokens),
        "special": list(pane.special) or [False] * len(pane.tokens),
        "kl": None if heat is None else encode_floats(heat),
        "departs": pane.departs,
        "logprobs": pane.logprobs,
        "tops": None if pane.tops is None else [_tops(*one) for one in pane.tops],
    }


def _tops(clean: Ranked, steered: Ranked | None) -> dict[str, Any]:
    return {"clean": _ranked(clean), "steered": None if steered is None else _ranked(steered)}


def _ranked(side: Ranked) -> list[list[Any]]:
    named = texts(text for text, _ in side)
    return [[text, float(value)] for text, (_, value) in zip(named, side, strict=True)]
