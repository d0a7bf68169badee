"""One thing of the shelf: what it is and from what, its lengths and scores as pictures, and what to do with it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from ui import charts, state
from ui.boundary import boundary
from ui.changes import use_in_lab
from ui.curves import Curve, Mark, curves
from ui.library_export import draw_export_menu
from ui.library_recipe import draw_open, draw_sweep
from ui.library_rows import doses_of, points_of, provenance, unit_of
from ui.numbers import say_number
from ui.words import caption, plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from steering.shelf import Shelved

CONFIG = {"displayModeBar": False}
KL_BUDGET = 0.1
ELSEWHERE = {
    "controllers": ("controllers", "In the steering lab: Add, Controller."),
    "hypernetworks": ("hypernetwork", "In the steering lab: Add, Sentence."),
}
"""The page of a kind's own, and where it is used."""
KEY = "steerscope.library"


def draw_card(one: "Shelved", asked: Spec, pages: Mapping[str, Any]) -> None:
    """The card of what was chosen."""
    st.markdown(f"### {plain(one.name)}")
    _actions(one, asked, pages)
    words, pictures = st.columns([2, 3], gap="medium")
    with words:
        rows = provenance(one)
        st.table({"": list(rows), " ": [plain(value) for value in rows.values()]}, border="horizontal", hide_index=True)
    with pictures:
        if one.kind == "recipes":
            draw_sweep(one)
            return
        _lengths(one)
        _scores(one)


def _actions(one: "Shelved", asked: Spec, pages: Mapping[str, Any]) -> None:
    with st.container(horizontal=True, gap="small"):
        if one.kind == "vectors":
            _use(one, asked, pages)
        elif one.kind == "recipes":
            draw_open(one, asked, pages)
        else:
            slug, words = ELSEWHERE[one.kind]
            if slug in pages:
                st.page_link(pages[slug], icon=":material/arrow_forward:")
            st.caption(words)
        draw_export_menu(one, asked)
        if not one.is_bundled:
            _rename(one)
            _remove(one)


def _use(one: "Shelved", asked: Spec, pages: Mapping[str, Any]) -> None:
    from steering.shelf import CONDITION

    if one.manifest.get("method") == CONDITION:
        st.caption("A condition: the steering lab's Gate puts it before a step.")
        return
    help_words = "Adds a step with these vectors to the changes of this view."
    if st.button("Use in the lab", type="primary", icon=":material/science:", help=help_words, key=f"{KEY}.use"):
        with boundary("adding the step"):
            from steering.shelf_step import step_from_shelf

            use_in_lab(step_from_shelf(one.digest).recipe(), pages)


def _rename(one: "Shelved") -> None:
    with st.popover("Rename", icon=":material/edit:", key=f"{KEY}.rename"):
        name = st.text_input("New name", one.name, max_chars=60, key=f"{KEY}.name.{one.digest}")
        if st.button("Rename it", key=f"{KEY}.rename.yes") and name:
            with boundary("renaming it"):
                from steering.shelf import rename_shelved

                rename_shelved(one, name.strip())
                st.rerun()


def _remove(one: "Shelved") -> None:
    with st.popover("Remove", icon=":material/delete:", key=f"{KEY}.remove"):
        st.caption("Its copy on this machine is deleted; links that name it find it no more. This cannot be undone.")
        if st.button("Remove it for good", type="primary", key=f"{KEY}.remove.yes"):
            with boundary("removing it"):
                from steering.shelf import take_off_shelf

                take_off_shelf(one)
                state.set_option("item", "")
                st.rerun()


def _lengths(one: "Shelved") -> None:
    """How long the vectors are beside the activations there, by block."""
    lengths, norms = one.manifest.get("vector_norms"), one.manifest.get("mean_norms")
    if not isinstance(lengths, Mapping) or not lengths:
        return
    norms = norms if isinstance(norms, Mapping) else {}
    keys = one.manifest.get("hook_points")
    rows = [(at, lengths.get(key), norms.get(str(at))) for at, key in zip(points_of(one), keys or {}, strict=False)]
    if len(rows) > 1 and len({at.site for at, _, _ in rows}) == 1:
        st.plotly_chart(length_figure(rows), key=f"{KEY}-lengths", config=CONFIG)
    else:
        for at, length, norm in rows[:8]:
            beside = "" if norm is None else f", beside activations of length {say_number(norm)}"
            caption(f"At {at}: length {say_number(length or 0.0)}{beside}.")


def length_figure(rows: list[tuple[Any, Any, Any]]) -> "Figure":
    """Length of the vector and mean length of the activation by block."""
    rows = sorted(rows, key=lambda row: row[0])
    layers = [at.layer for at, _, _ in rows]
    shown = [Curve("vector", layers, [row[1] for row in rows], charts.STEERED, mode="lines+markers")]
    if all(row[2] is not None for row in rows):
        norms = [row[2] for row in rows]
        shown.append(Curve("mean activation", layers, norms, charts.CLEAN, "dash", mode="lines+markers"))
    return curves(shown, x="block", y="length", log_y=True, height=220)


def _scores(one: "Shelved") -> None:
    doses, unit = doses_of(one), unit_of(one)
    if len(doses) < 2:
        return
    st.plotly_chart(dose_figure(doses, unit), key=f"{KEY}-doses", config=CONFIG)
    st.plotly_chart(cost_figure(doses, unit), key=f"{KEY}-cost", config=CONFIG)
    caption(
        "Concept: how much likelier the wanted continuations become on pairs held out, with the middle 95 % of a "
        "bootstrap, beside the best of random and shuffled vectors. Cost: KL on neutral prompts. Both are proxies."
    )


def dose_figure(doses: list[dict[str, float]], unit: str) -> "Figure":
    """Concept score against strength, with its interval and the better of the two nulls."""
    x, mean, low, high, null = ([dose[name] for dose in doses] for name in ("strength", "mean", "low", "high", "null"))
    own = Curve("these vectors", x, mean, charts.STEERED, low=low, high=high)
    chance = Curve("best of chance", x, null, charts.CLEAN, "dash")
    return curves([own, chance], x=_strength(unit), y="concept (nats a token)", height=220)


def cost_figure(doses: list[dict[str, float]], unit: str) -> "Figure":
    """KL on neutral prompts against strength, with the budget marked."""
    x, kl = [dose["strength"] for dose in doses], [dose["kl"] for dose in doses]
    mark = Mark("y", KL_BUDGET, "budget")
    return curves(
        [Curve("KL", x, kl, charts.CLEAN)], x=_strength(unit), y="KL (nats a token)", marks=[mark], height=200
    )


def _strength(unit: str) -> str:
    return "strength (mean norms)" if unit == "relative" else "strength"
