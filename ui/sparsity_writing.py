"""Dense and sparsified text side by side on the Sparsity page: written at a press, and drawn token by token."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from analysis.report import Report
from ui import charts, resources, state
from ui.boundary import boundary
from ui.frozen import bounded
from ui.numbers import say_number, token_label
from ui.outlier_words import tinted
from ui.words import caption

if TYPE_CHECKING:
    from analysis.sparse_text import Written

ANSWER = "cett_ppl"


@st.fragment
@bounded
def writing(report: Report) -> None:
    """The choice of a method and its budget, and both texts once they are asked for."""
    st.markdown("### Dense and sparse text")
    if not report.numbers["is_searched"]:
        caption("The text is too short for a budget, so that nothing is switched off.")
        return
    slug, budget = _choice(report)
    is_asked = state.pins().get("write") is True
    if not is_asked:
        st.button("Write on with and without", icon=":material/edit_note:", on_click=state.pin, kwargs={"write": True})
        caption("The model goes on from the first half of the text, as it is and with its weak neurons switched off.")
        return
    if state.session().shown_kept is not None:
        caption("A kept view holds numbers and no model: press Run it now to write.")
        return
    with boundary("writing on"), st.spinner("Writing"):
        _beside(resources.written(report.spec, slug, budget, tuple(map(str, _recipes(report, slug)))), report, slug)


def _recipes(report: Report, slug: str) -> list[str]:
    from analysis.spec import canonical_json

    return [canonical_json(one) for one in report.numbers["recipes"]] if slug == ANSWER else []


def _choice(report: Report) -> tuple[str, float]:
    """The method and the budget that are pinned, out of those of the frontier."""
    arrays, methods = report.arrays, report.numbers["methods"]
    there = [methods[number] for number in sorted(set(arrays["frontier_method"].tolist()))]
    slugs = {one["slug"]: one["title"].replace("p%", f"{report.numbers['p']:g}%") for one in reversed(there)}
    pinned = state.pins().get("method")
    slug = pinned if pinned in slugs else ANSWER
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    bound = state.bind("pin.method", slug, lambda chosen: state.pin(method=chosen, budget=None))
    left.selectbox("Method", sorted(slugs, key=lambda one: one != ANSWER), format_func=slugs.__getitem__, **bound)
    number = next(n for n, one in enumerate(methods) if one["slug"] == slug)
    budgets = sorted(float(one) for one in arrays["frontier_budget"][arrays["frontier_method"] == number])
    wanted = state.pins().get("budget")
    budget = wanted if wanted in budgets else budgets[len(budgets) // 2]
    if len(budgets) > 1:
        label = "CETT target" if slug == "cett" else "Share asked to be weak"
        chosen = state.bind("pin.budget", budget, lambda one: state.pin(budget=one))
        right.select_slider(label, budgets, format_func=lambda one: f"{100 * one:g} %", **chosen)
    return slug, float(budget)


def _beside(written: "Written", report: Report, slug: str) -> None:
    dense, sparse = st.columns(2)
    with dense:
        _text("dense", charts.CLEAN, written.prefix, written.dense, written.n_same)
    with sparse:
        _text("weak neurons off", charts.STEERED, written.prefix, written.sparse, written.n_same)
    n, n_new = written.n_same, max(len(written.dense), len(written.sparse))
    said = "Both write the same" if n >= n_new else f"They part after {n} of {n_new} new tokens"
    caption(f"{said} (greedy). Below, the text itself: each token tinted by how far the prediction made at it moves.")
    st.html(tinted(written.tokens, written.kl_nats))
    caption(f"Mean KL from dense: {say_number(float(np.mean(written.kl_nats)))} nats a token.")


def _text(title: str, colour: str, prefix: Sequence[str], new: Sequence[str], n_same: int) -> None:
    """One text, token by token; new tokens from the first that differs on are underlined."""
    spans = "".join(_token(token, "opacity:.55") for token in prefix)
    spans += "".join(
        _token(token, "" if place < n_same else f"border-bottom:2px solid {colour}") for place, token in enumerate(new)
    )
    st.html(
        f'<div style="border-left:3px solid {colour};padding:2px 12px">'
        f'<div style="font-size:.85rem;opacity:.75">{html.escape(title)}</div>'
        f'<div style="font-family:monospace;line-height:1.9;overflow-wrap:anywhere">{spans}</div></div>'
    )


def _token(token: str, look: str) -> str:
    style: Any = f' style="{look}"' if look else ""
    return f"<span{style}>{token_label(token, n_chars=40)}</span>"
