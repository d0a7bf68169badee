"""The words of the Outliers page: definitions, sinks, massive tokens, and what an edit changed."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from ui import charts
from ui.numbers import say_number, token_label
from ui.widgets import option_widget
from ui.words import caption, plain

MAX_SENTENCES = 6


def criteria(report: Report) -> None:
    """What each definition says: what it found, or how near the nearest came."""
    st.markdown("### What the definitions say")
    # A kept view has the criteria of its day, and shows them without importing those of today.
    for _, verdict in sorted(report.numbers["criteria"].items()):
        mark = ":orange-badge[found]" if verdict["found"] else ":gray-badge[none]"
        st.markdown(
            f"{mark} **{plain(verdict['title'])}**  \n{plain(verdict['sentence'])}",
            help=f"{plain(verdict['criterion'])}  \n{plain(verdict['paper'])}",
        )


def sinks_and_massive_tokens(report: Report) -> None:
    """Heads that give position 0 much of their attention, and the tokens with the largest activations."""
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("### Attention sinks")
        _sentences(report.numbers["sinks"], "No head gives position 0 more than 30% of its attention on average.")
    with right:
        st.markdown("### Most extreme tokens")
        _sentences(report.numbers["massive_tokens"], "No token stands out.")


def _sentences(rows: Sequence[Mapping[str, Any]], where_none: str) -> None:
    lines = [f"- {plain(row['sentence'])}" for row in rows[:MAX_SENTENCES]]
    if len(rows) > MAX_SENTENCES:
        lines.append(f"- and {len(rows) - MAX_SENTENCES} more, in the exported Report")
    st.markdown("\n".join(lines) or plain(where_none))


def what_if(report: Report, options: Sequence[Any], asked: Spec) -> None:
    """The switch, and what the model did with the entries changed."""
    st.markdown("### What if")
    for column, option in zip(st.columns([2, 2, 3]), reversed(options), strict=False):
        with column:
            option_widget(option, asked)
    effect, sentence = report.numbers["what_if"], report.numbers.get("what_if_sentence")
    if sentence:
        st.markdown(plain(sentence))
    if effect is None and not sentence:
        caption("Set what a criterion finds to zero or to its mean, and see what the model does without it.")
    if effect is not None:
        _effect(effect, report.numbers["tokens"])


def _effect(effect: Mapping[str, Any], tokens: Sequence[str]) -> None:
    entries, loss, kl = st.columns(3)
    entries.metric("Entries changed", say_number(effect["n_entries"]))
    loss.metric(
        "Loss, nats per token",
        say_number(effect["loss_edited"]),
        f"{effect['delta_loss_nats']:+.3g} against {effect['loss_clean']:.3g}",
        delta_color="off",
        delta_arrow="off",
    )
    kl.metric("KL from clean, nats per token", say_number(effect["kl_nats"]))
    if effect.get("per_token_kl"):
        st.html(tinted(tokens, effect["per_token_kl"]))
        caption("The text, each token tinted by how far the prediction made at it moves (KL, nats).")
    clean, edited = st.columns(2)
    with clean:
        text_box("clean", charts.CLEAN, effect.get("text_prefix", ""), effect["text_clean"])
    with edited:
        text_box(
            f"entries set to {effect['choice']}", charts.STEERED, effect.get("text_prefix", ""), effect["text_edited"]
        )
    if effect.get("generation"):
        caption(f"How the model writes on: {effect['generation']}.")


def text_box(title: str, colour: str, prefix: str, written: str) -> None:
    """A text that was written on, what it goes on from in a fainter ink."""
    st.html(
        f'<div style="border-left:3px solid {colour};padding:2px 12px">'
        f'<div style="font-size:.85rem;opacity:.75">{html.escape(title)}</div>'
        f'<div style="white-space:pre-wrap"><span style="opacity:.6">{html.escape(prefix)}</span>'
        f"{html.escape(written)}</div></div>"
    )


def tinted(tokens: Sequence[str], values: Sequence[float]) -> str:
    """Tokens as HTML, each on a tint as strong as its share of the largest value; the value shows on hover."""
    top = max(values, default=0.0) or 1.0
    red, green, blue = (int(charts.STEERED[at : at + 2], 16) for at in (1, 3, 5))
    spans = "".join(
        f'<span title="{html.escape(say_number(value))} nats" '
        f'style="background:rgba({red},{green},{blue},{0.5 * value / top:.2f});border-radius:3px">'
        f"{token_label(token)}</span>"
        for token, value in zip(tokens, values, strict=False)
    )
    return f'<div style="font-family:monospace;line-height:1.9;overflow-wrap:anywhere">{spans}</div>'
