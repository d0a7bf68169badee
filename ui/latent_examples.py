"""The examples of a latent's card: where it fires, with the tokens around, each tinted by its value."""

import html
from typing import TYPE_CHECKING

import streamlit as st

from ui import charts
from ui.numbers import say_number, token_label
from ui.words import caption, plain

if TYPE_CHECKING:
    from sae.latent_card import Example, ExampleGroup, LatentCard

GROUPS = {"top": "Top", "quantile": "By value", "random": "Random"}
N_SHOWN = 12


def examples(card: "LatentCard") -> None:
    """Top, quantile and random examples, one kind at a time."""
    kinds = [kind for kind in GROUPS if card.group(kind)]
    if not kinds:
        return
    st.markdown("##### Examples")
    chosen = st.segmented_control(
        "Which",
        kinds,
        default=kinds[0],
        required=True,
        format_func=lambda kind: GROUPS[kind],
        label_visibility="collapsed",
        key="latents-examples",
    )
    groups = card.group(str(chosen)) or card.group(kinds[0])
    for group in groups:
        _group(group, card.max, is_titled=len(groups) > 1)
    caption("Tint: the latent's value, over its largest. Of near-identical contexts one is kept. Hover for the value.")


def _group(group: "ExampleGroup", largest: float, is_titled: bool) -> None:
    if is_titled:
        ends = f"{say_number(group.low)} to {say_number(group.high)}"
        st.caption(plain(f"{group.title}: values {ends}, {group.n_firing:,} tokens"))
    st.html("".join(context(one, largest) for one in group.examples[:N_SHOWN]))


def context(example: "Example", largest: float) -> str:
    """One example as HTML: its value, then its tokens, each on a tint as strong as its share of the largest value."""
    red, green, blue = (int(charts.STEERED[at : at + 2], 16) for at in (1, 3, 5))
    # A line may end after any token.
    spans = "<wbr>".join(
        f'<span title="{html.escape(say_number(value))}" style="background:rgba({red},{green},{blue},'
        f"{0.6 * min(1.0, max(value, 0.0) / (largest or 1.0)):.2f});border-radius:3px"
        f'{";font-weight:700" if place == example.peak else ""}">{token_label(text)}</span>'
        for place, (text, value) in enumerate(zip(example.texts, example.values, strict=True))
    )
    look = "display:flex;gap:12px;align-items:baseline;padding:3px 0;border-bottom:1px solid rgba(128,136,148,.2)"
    return (
        f'<div style="{look}">'
        f'<span style="opacity:.7;min-width:3.2em;text-align:right">{html.escape(say_number(example.value))}</span>'
        f'<span style="font-family:monospace;line-height:1.7;overflow-wrap:anywhere">{spans}</span></div>'
    )
