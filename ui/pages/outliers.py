"""Outliers: where single activations are far above the rest, token by token and layer by layer."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Report
from ui import outlier_pictures as pictures
from ui import outlier_words as words
from ui import state
from ui.drawn import show
from ui.figures import outliers as figures
from ui.frozen import bounded
from ui.style import AFTER_SIDE

if TYPE_CHECKING:
    from ui.shell import Context


def render(report: Report, context: "Context") -> None:
    """The Outliers page of one text or of a text set."""
    if report.spec.text_set:
        _text_set(report)
    else:
        _one_text(report)
    words.criteria(report)
    words.sinks_and_massive_tokens(report)
    words.what_if(report, context.lens.options if context.lens else (), state.session().asked)


@st.fragment
@bounded
def _one_text(report: Report) -> None:
    """Everything that a pin changes: a click redraws this and nothing else."""
    place = figures.shown(report, state.pins())
    pictures.strip(report, place.pos, lambda chosen: state.pin(pos=chosen, dim=None))
    main, side = st.columns([5, 3], gap="medium")
    with main:
        pictures.heat(report, (place.layer, place.pos), _pin_cell)
        after_side = st.container(key=AFTER_SIDE)
    with side:
        pictures.cell_words(report, place)
        _choose_dimension(place)
        show(figures.top_dimensions(report, place))
    with after_side:
        pictures.dimension_elsewhere(report, place)
    _layer_pictures(report, place.layer)


def _pin_cell(cell: tuple[int, int] | None) -> None:
    layer, pos = cell or (None, None)
    state.pin(layer=layer, pos=pos, dim=None)


def _choose_dimension(place: figures.Place) -> None:
    offered = place.offered if place.dim in place.offered else (place.dim, *place.offered)
    st.pills(
        "Dimension",
        offered,
        required=True,
        help="Which dimension the two pictures below follow.",
        **state.bind("pin.dim", place.dim, lambda chosen: state.pin(dim=chosen)),
    )


def _layer_pictures(report: Report, layer: int) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown(f"### Spread after block {layer}")
        pictures.spread(report, layer)
    with right:
        st.markdown("### Loudest dimensions")
        pictures.ranked_dimensions(report)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("### Before and after rotation")
        pictures.side_by_side(figures.rotation(report, layer))
    with right:
        st.markdown("### Gate alignment")
        pictures.gates(report, layer)


@st.fragment
@bounded
def _text_set(report: Report) -> None:
    place = figures.shown(report, state.pins())
    bound = state.bind("pin.layer", place.layer, lambda chosen: state.pin(layer=chosen))
    st.select_slider("Layer", list(range(len(report.arrays["max_over_median"]))), **bound)
    pictures.layers_of_a_set(report, place)
    _layer_pictures(report, place.layer)
