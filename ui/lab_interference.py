"""How the steps of the recipe interfere: cosines of their directions, and couples whose order matters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec, canonical_json
from ui import resources
from ui.cosine_heat import cosine_heat
from ui.numbers import say_number
from ui.step_words import place_words
from ui.words import caption, plain, shortened

if TYPE_CHECKING:
    from steering.interference import Interference, OrderEffect, Overlap

MAX_KEPT = 32
CLOSE = 0.3
"""Cosine from which two directions are said to overlap."""
MAX_SAID = 6
CONFIG = {"displayModeBar": False}
DEFAULT_TEXT = "Once upon a time"
"""What order effects are tried on where the view has no text of its own."""


def draw_interference(asked: Spec) -> None:
    """Sentences and a heat of cosines; nothing for a recipe of fewer than two entries."""
    if len(asked.interventions) < 2:
        return
    found = _found(asked.model, asked.dtype, asked.text or DEFAULT_TEXT, asked.bos, canonical_json(asked.interventions))
    names = [f"{n + 1} {one.get('name') or one.get('kind')}" for n, one in enumerate(asked.interventions)]
    st.markdown("##### Interference")
    for one in found.orders[:MAX_SAID]:
        st.caption(f":orange[:material/warning:] {plain(order_words(one))}")
    if len(found.orders) > MAX_SAID:
        caption(f"and at {len(found.orders) - MAX_SAID} more hook points")
    for overlap in found.overlaps:
        _overlap(overlap, names)
    if not found.orders:
        caption("The order of these steps does not matter: both orders give the same activations on this text.")


@st.cache_data(show_spinner=False, max_entries=MAX_KEPT)
def _found(model: str, dtype: str, text: str, bos: bool, recipe: str) -> "Interference":
    from analysis.plain_json import read_json
    from capture.intervention import operator_from_recipe
    from steering.interference import interference

    session = resources.load(model, dtype)
    return interference(session, [operator_from_recipe(one) for one in read_json(recipe)], session.tokens(text, bos))


def order_words(one: "OrderEffect") -> str:
    """What swapping two steps would change."""
    return (
        f"{one.first + 1} then {one.second + 1} is not {one.second + 1} then {one.first + 1}: at "
        f"{place_words([one.at])} they differ by {say_number(one.size)}, {say_number(100 * one.share)} % of the "
        "activation's length."
    )


def _overlap(overlap: "Overlap", names: Sequence[str]) -> None:
    between = pairs_between(overlap)
    for first, second, cosine in between[:MAX_SAID]:
        if abs(cosine) >= CLOSE:
            st.caption(plain(f"{first + 1}·{second + 1} = {say_number(cosine)} cosine, {overlap.space}"))
    if len({arrow.step for arrow in overlap.arrows}) < 2:
        return
    labels = [f"{shortened(names[one.step], 18)}, {place_words([one.at])}" for one in overlap.arrows]
    with st.expander(plain(f"Cosines, {overlap.space}")):
        figure = cosine_heat(overlap.cosine.numpy(), overlap.gram.numpy(), labels)
        st.plotly_chart(figure, key=f"steerscope-cosines-{overlap.space}", config=CONFIG)
        caption("Cosine of each couple of directions; hover for their dot product, as the vectors are stored.")


def pairs_between(overlap: "Overlap") -> list[tuple[int, int, float]]:
    """For each couple of steps the cosine of largest size between a direction of one and one of the other."""
    found: dict[tuple[int, int], float] = {}
    for i, one in enumerate(overlap.arrows):
        for j, other in enumerate(overlap.arrows[:i]):
            couple: Any = tuple(sorted((one.step, other.step)))
            cosine = float(overlap.cosine[i, j])
            if one.step != other.step and abs(cosine) > abs(found.get(couple, 0.0)):
                found[couple] = cosine
    return sorted(((a, b, cosine) for (a, b), cosine in found.items()), key=lambda row: -abs(row[2]))
