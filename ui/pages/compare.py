"""Compare: two views side by side, their tokens aligned, and what changed between them."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from ui import compare_words as words
from ui import state
from ui.compare_links import SIDES, link_boxes
from ui.compare_written import draw_written
from ui.components import heat_grid, token_strip
from ui.figures import compare as figures
from ui.figures.compare_place import Shown, change_by_token, shown, unit_of_change
from ui.figures.compare_written import is_of_written
from ui.frozen import bounded
from ui.style import AFTER_SIDE
from ui.words import caption

if TYPE_CHECKING:
    from ui.shell import Context

QUESTION = "What differs between two views: texts, models, options or interventions?"
IS_OF_ONE_TEXT = False
CONFIG = {"displayModeBar": False}


def ask(asked: Spec) -> bool:
    """The two link boxes; whether there are two views to compare."""
    return link_boxes(asked)


def render(report: Report, context: "Context") -> None:
    """The comparison: its sentences, the pinned place, and the tables."""
    words.notes(report)
    if is_of_written(report):
        words.asked_differently(report)
        draw_written(report)
        return
    _places(report)
    st.markdown("### What changed most")
    words.changes(report)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("### Asked differently")
        words.asked_differently(report)
    with right:
        st.markdown("### Findings side by side")
        words.findings_beside(report)


@st.fragment
@bounded
def _places(report: Report) -> None:
    """Everything that a pin changes: a click redraws this and nothing else."""
    labels = {one["name"]: one["label"] for one in report.numbers["quantities"]}
    place = shown(report, state.pins())
    chosen = list(labels)[place.quantity]
    bound = state.bind("pin.quantity", chosen, lambda name: state.pin(quantity=name))
    st.selectbox("Quantity", list(labels), format_func=lambda name: labels[name], **bound)
    if place.row is not None:
        _strips(report, place)
    main, side = st.columns([5, 3], gap="medium")
    with main:
        if place.row is None:
            _layer_slider(report, place)
        else:
            _heat(report, place)
        after_side = st.container(key=AFTER_SIDE)
    with side:
        words.cell(report, place)
        words.findings(report)
    with after_side:
        by_layer = figures.layers(report, place)
        st.plotly_chart(by_layer.figure, key=by_layer.name, config=CONFIG)
        caption(by_layer.caption)


def _strips(report: Report, place: Shown) -> None:
    """The tokens of each side on the heat of their change; those that only it has carry no value."""
    heaviest, span = change_by_token(report, place)
    about = report.numbers["quantities"][place.quantity]
    for side in SIDES:
        rows = [row for row, pos in enumerate(report.numbers[f"{side}_pos"]) if pos is not None]
        token_strip(
            [report.numbers["tokens"][row] for row in rows],
            heaviest[rows],
            key=f"compare-strip-{side}",
            label=f"{side.capitalize()}: change of the {about['label']}, heaviest layer",
            unit=unit_of_change(about),
            pinned=rows.index(place.row) if place.row in rows else None,
            on_pin=lambda chosen, rows=rows: state.pin(pos=None if chosen is None else rows[chosen]),
            diverging=True,
            span=span,
            max_height=96,
        )


def _heat(report: Report, place: Shown) -> None:
    about = report.numbers["quantities"][place.quantity]
    values = report.arrays["change"][place.quantity]
    heat_grid(
        values,
        [str(layer) for layer in range(len(values))],
        report.numbers["tokens"],
        key="compare-heat",
        label=f"change of the {about['label']}",
        unit=unit_of_change(about),
        log=False,
        diverging=True,
        pinned=(place.layer, place.row),
        on_pin=_pin_cell,
        column_axis="row",
    )
    caption(figures.heat_caption(about))


def _pin_cell(cell: tuple[int, int] | None) -> None:
    layer, row = cell or (None, None)
    state.pin(layer=layer, pos=row)


def _layer_slider(report: Report, place: Shown) -> None:
    """Of text sets there is nothing by token: one layer is chosen instead."""
    layers = list(range(report.arrays["change"].shape[1]))
    bound = state.bind("pin.layer", place.layer, lambda chosen: state.pin(layer=chosen))
    st.select_slider("Layer", layers, disabled=len(layers) < 2, **bound)
