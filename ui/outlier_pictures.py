"""The pictures of the Outliers page as it shows them: its figures, the token strip and heat that a person presses."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from analysis.report import Report
from ui.components import heat_grid
from ui.drawn import show, show_strip
from ui.figures import outliers as figures
from ui.figures.outlier_parts import RANKED, RANKED_CAPTION, SHARES
from ui.figures.picture import Picture
from ui.numbers import marked, say_number, say_quantity
from ui.words import caption, plain


def side_by_side(pictures: Iterable[Picture]) -> None:
    """Two figures beside each other."""
    for column, picture in zip(st.columns(2), pictures, strict=False):
        with column:
            show(picture)


def strip(report: Report, pinned: int | None, on_pin: Callable[[int | None], None]) -> None:
    """The tokens, each on the heat of its highest max/median in any layer."""
    show_strip(figures.strip(report, {}), "outliers-strip", pinned, on_pin)


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
        label=figures.RATIO,
        unit="×",
        log=True,
        pinned=pinned,
        on_pin=on_pin,
    )
    caption(figures.HEAT_CAPTION)


def cell_words(report: Report, place: figures.Place) -> None:
    """The pinned cell in numbers."""
    arrays, at = report.arrays, (place.layer, place.pos)
    st.markdown(f"#### {plain(marked(report.numbers['tokens'][place.pos]))}")
    st.caption(f"position {place.pos}, after block {place.layer}")
    ratio, dim = arrays["max_over_median"][at], arrays["max_dim"][at]
    largest, median = say_number(arrays["max_abs"][at]), say_number(arrays["median_abs"][at])
    st.markdown(
        f"**{plain(say_quantity(ratio, '×'))}** the median magnitude  \n"
        f"largest {plain(largest)} in dimension {dim}, median {plain(median)}"
    )


def dimension_elsewhere(report: Report, place: figures.Place) -> None:
    """One dimension over the layers and over the tokens, or why there is none."""
    pictures = figures.dimension_elsewhere(report, place)
    if not pictures:
        caption(figures.TOO_LONG)
    side_by_side(pictures)


def spread(report: Report, layer: int) -> None:
    """How the entries after one block are spread."""
    for picture in figures.spread(report, layer):
        show(picture)


def ranked_dimensions(report: Report) -> None:
    """The dimensions that hold most of the norm."""
    rows: Sequence[Mapping[str, Any]] = report.numbers["ranked_dims"]
    percent = st.column_config.NumberColumn(format="percent")
    digits = st.column_config.NumberColumn(format="%.3g")
    st.dataframe(
        {label: [row[name] for row in rows] for name, label in RANKED.items()},
        height=290,
        hide_index=True,
        column_config={
            **{RANKED[name]: percent for name in SHARES},
            **dict.fromkeys(("kurtosis", "largest"), digits),
        },
        key="outliers-ranked",
    )
    caption(RANKED_CAPTION)


def gates(report: Report, layer: int) -> None:
    """Gate alignment of one layer's neurons, or why there is none."""
    pictures = figures.gates(report, layer)
    if not pictures:
        caption(report.numbers["gates"]["reason"])
    for picture in pictures:
        show(picture)


def layers_of_a_set(report: Report, place: figures.Place) -> None:
    """The medians over a text set's tokens, by layer."""
    *by_layer, dims = figures.of_a_set(report, place)
    side_by_side(by_layer)
    show(dims)
