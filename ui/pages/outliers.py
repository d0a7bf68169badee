"""Outliers: where single activations are far above the rest, token by token and layer by layer."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from analysis.report import Report
from ui import outlier_pictures as pictures
from ui import outlier_words as words
from ui import state
from ui.style import AFTER_SIDE

if TYPE_CHECKING:
    from ui.shell import Context


def render(report: Report, context: "Context") -> None:
    """The Outliers page of one text or of a text set."""
    if report.spec.text_set:
        _text_set(report, context)
    else:
        _one_text(report, context)
    words.criteria(report)
    words.sinks_and_massive_tokens(report)
    words.what_if(report, context.lens.options if context.lens else (), state.session().asked)


@st.fragment
def _one_text(report: Report, context: "Context") -> None:
    """Everything that a pin changes: a click redraws this and nothing else."""
    ratio = report.arrays["max_over_median"]
    highest = np.unravel_index(int(ratio.argmax()), ratio.shape)
    layer = context.pinned("layer", ratio.shape[0], int(highest[0]))
    pos = context.pinned("pos", ratio.shape[1], int(highest[1]))
    pictures.strip(report, pos, lambda chosen: state.pin(pos=chosen, dim=None))
    main, side = st.columns([5, 3], gap="medium")
    with main:
        pictures.heat(report, (layer, pos), _pin_cell)
        dims = report.arrays["top_dims"][layer, pos].tolist()
        dim = context.pinned("dim", report.arrays["channel_norms_raw"].shape[1], dims[0])
        after_side = st.container(key=AFTER_SIDE)
    with side:
        pictures.cell_words(report, layer, pos)
        _choose_dimension(dims, dim)
        pictures.top_dimensions(report, layer, pos, dim)
    with after_side:
        pictures.dimension_elsewhere(report, layer, pos, dim)
    _layer_pictures(report, layer)


def _pin_cell(cell: tuple[int, int] | None) -> None:
    layer, pos = cell or (None, None)
    state.pin(layer=layer, pos=pos, dim=None)


def _choose_dimension(dims: list[int], dim: int) -> None:
    offered = dims if dim in dims else [dim, *dims]
    st.pills(
        "Dimension",
        offered,
        required=True,
        help="Which dimension the two pictures below follow.",
        **state.bind("pin.dim", dim, lambda chosen: state.pin(dim=chosen)),
    )


def _layer_pictures(report: Report, layer: int) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown(f"### Spread after block {layer}")
        pictures.distribution(report, layer)
    with right:
        st.markdown("### Loudest dimensions")
        pictures.ranked_dimensions(report)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("### Before and after rotation")
        pictures.rotation(report, layer)
    with right:
        st.markdown("### Gate alignment")
        pictures.gates(report, layer)


@st.fragment
def _text_set(report: Report, context: "Context") -> None:
    n_layers = len(report.arrays["max_over_median"])
    layer = context.pinned("layer", n_layers, n_layers - 1)
    bound = state.bind("pin.layer", layer, lambda chosen: state.pin(layer=chosen))
    st.select_slider("Layer", list(range(n_layers)), **bound)
    pictures.layers_of_a_set(report, layer)
    _layer_pictures(report, layer)
