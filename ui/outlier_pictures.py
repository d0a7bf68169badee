"""The pictures of the Outliers page, each drawn from its Report, each with its caption."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from analysis.report import Report
from ui import charts
from ui.components import heat_grid, token_strip
from ui.numbers import marked, say_number, say_quantity
from ui.words import caption, plain

CONFIG = {"displayModeBar": False}
RATIO = "largest over median magnitude"


def strip(report: Report, pinned: int | None, on_pin: Callable[[int | None], None]) -> None:
    """The tokens, each on the heat of its highest max/median in any layer."""
    highest = report.arrays["max_over_median"].max(axis=0)
    tokens = report.numbers["tokens"]
    token_strip(
        tokens,
        highest,
        key="outliers-strip",
        label=f"{RATIO}, highest layer",
        unit="×",
        pinned=pinned,
        on_pin=on_pin,
        log=True,
    )


def heat(report: Report, pinned: tuple[int, int], on_pin: Callable[[tuple[int, int] | None], None]) -> None:
    """Layers by tokens."""
    values = report.arrays["max_over_median"]
    names = [str(layer) for layer in range(len(values))]
    tokens = report.numbers["tokens"]
    heat_grid(
        values,
        names,
        tokens,
        key="outliers-heat",
        label=RATIO,
        unit="×",
        log=True,
        pinned=pinned,
        on_pin=on_pin,
    )
    caption(
        "The residual stream after each block: the largest magnitude in a token's vector over the median magnitude "
        "in it. Layer 0 is the first block; the colour is on a log scale."
    )


def cell_words(report: Report, layer: int, pos: int) -> None:
    """The pinned cell in numbers."""
    arrays = report.arrays
    st.markdown(f"#### {plain(marked(report.numbers['tokens'][pos]))}")
    st.caption(f"position {pos}, after block {layer}")
    ratio, dim = arrays["max_over_median"][layer, pos], arrays["max_dim"][layer, pos]
    largest, median = say_number(arrays["max_abs"][layer, pos]), say_number(arrays["median_abs"][layer, pos])
    st.markdown(
        f"**{plain(say_quantity(ratio, '×'))}** the median magnitude  \n"
        f"largest {plain(largest)} in dimension {dim}, median {plain(median)}"
    )


def top_dimensions(report: Report, layer: int, pos: int, dim: int) -> None:
    """The largest entries of the pinned vector."""
    dims = report.arrays["top_dims"][layer, pos].tolist()
    figure = charts.ranked_bars(
        [f"dim {one}" for one in dims],
        report.arrays["top_values"][layer, pos],
        quantity="value",
        pinned=dims.index(dim) if dim in dims else None,
    )
    st.plotly_chart(figure, key="outliers-top-dims", config=CONFIG)
    caption(f"The {len(dims)} largest entries of this token's vector, with their signs.")


def dimension_elsewhere(report: Report, layer: int, pos: int, dim: int) -> None:
    """One dimension over the layers at the pinned token, and over the tokens at the pinned layer."""
    residual = report.arrays.get("residual")
    if residual is None:
        caption("The text is too long for whole vectors to be kept; the pictures of single dimensions need up to 512.")
        return
    left, right = st.columns(2)
    with left:
        figure = charts.layer_lines({f"dim {dim}": residual[:, pos, dim]}, quantity="value", pinned=layer)
        st.plotly_chart(figure, key="outliers-dim-layers", config=CONFIG)
        caption(f"Dimension {dim} at position {pos}, after each block.")
    with right:
        figure = charts.tokens_bar(report.numbers["tokens"], residual[layer, :, dim], quantity="value", pinned=pos)
        st.plotly_chart(figure, key="outliers-dim-tokens", config=CONFIG)
        caption(f"Dimension {dim} after block {layer}, at each token.")


def distribution(report: Report, layer: int) -> None:
    """How the entries after one block are spread, and how far that is from a normal distribution."""
    residual = report.arrays.get("residual")
    if residual is None:
        return
    figure = charts.histogram_with_qq(
        residual[layer],
        report.arrays["normal_quantiles"],
        report.arrays["value_quantiles"][layer],
        quantity="entry",
    )
    st.plotly_chart(figure, key="outliers-distribution", config=CONFIG)
    caption(
        f"All entries after block {layer}. Left: how many have each value (log count). Right: their quantiles against "
        "a normal distribution's; where the points leave the dashed line the tails are heavy."
    )


RANKED = {
    "dim": "dimension",
    "norm_share": "share of norm",
    "kurtosis": "kurtosis",
    "persistence": "persistence",
    "one_sidedness": "one-sidedness",
    "max_abs": "largest",
    "layer": "at block",
}


def ranked_dimensions(report: Report) -> None:
    """The dimensions that hold most of the norm; a chosen row is the dimension to pin."""
    rows: Sequence[Mapping[str, Any]] = report.numbers["ranked_dims"]
    percent = st.column_config.NumberColumn(format="percent")
    digits = st.column_config.NumberColumn(format="%.3g")
    st.dataframe(
        {label: [row[name] for row in rows] for name, label in RANKED.items()},
        height=290,
        hide_index=True,
        column_config={
            **dict.fromkeys(("share of norm", "persistence", "one-sidedness"), percent),
            **dict.fromkeys(("kurtosis", "largest"), digits),
        },
        key="outliers-ranked",
    )
    caption(
        "Dimensions by their share of the residual stream's squared norm. Persistence: in how many layers they are "
        "among the loudest. One-sidedness: how often they have their usual sign."
    )


def gates(report: Report, layer: int) -> None:
    """Gate alignment of one layer's neurons, where the model has gates."""
    summary = report.numbers["gates"]
    if not summary["applicable"]:
        caption(summary["reason"])
        return
    cosine, amplification = report.arrays["gate_cos"][layer], report.arrays["gate_amplification"][layer]
    names = [f"neuron {neuron}" for neuron in range(len(cosine))]
    st.plotly_chart(charts.gate_scatter(cosine, amplification, names), key="outliers-gates", config=CONFIG)
    caption(
        f"Each neuron of block {layer}: the cosine of its gate and up weights against its largest magnitude over the "
        "median neuron's (log). Neurons far to a side and high up make outliers larger."
    )


def rotation(report: Report, layer: int) -> None:
    """Channel norms before and after the rotation, at one layer, and the flatness of every layer."""
    arrays = report.arrays
    left, right = st.columns(2)
    with left:
        figure = charts.before_after_lines(
            arrays["channel_norms_raw"][layer], arrays["channel_norms_rotated"][layer], quantity="channel norm"
        )
        st.plotly_chart(figure, key="outliers-norms", config=CONFIG)
        caption(f"Norms of the channels of block {layer}, sorted, as they are and after a Hadamard rotation.")
    with right:
        series = {"as is": arrays["flatness_raw"], "rotated": arrays["flatness_rotated"]}
        st.plotly_chart(
            charts.layer_lines(series, quantity="flatness", pinned=layer), key="outliers-flat", config=CONFIG
        )
        caption("Distance of the channel norms from being all equal; 0 is flat, and low precision likes it.")


def layers_of_a_set(report: Report, layer: int) -> None:
    """The medians over a text set's tokens, by layer."""
    left, right = st.columns(2)
    with left:
        series = {RATIO: report.arrays["max_over_median"]}
        st.plotly_chart(
            charts.layer_lines(series, quantity=RATIO, unit="×", pinned=layer), key="set-ratio", config=CONFIG
        )
        caption("Median over all tokens of the largest over the median magnitude of a token's vector.")
    with right:
        series = {"kurtosis": report.arrays["kurtosis"]}
        st.plotly_chart(
            charts.layer_lines(series, quantity="kurtosis", pinned=layer), key="set-kurtosis", config=CONFIG
        )
        caption("Kurtosis of all residual entries of a layer; a normal distribution has 3.")
    figure = charts.ranked_bars(
        [f"dim {dim}" for dim in report.arrays["top_dims"][layer].tolist()],
        report.arrays["top_values"][layer],
        quantity="mean value",
    )
    st.plotly_chart(figure, key="set-dims", config=CONFIG)
    caption(f"The dimensions with most norm after block {layer}: their mean over all tokens.")
