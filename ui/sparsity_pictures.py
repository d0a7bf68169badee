"""The pictures of the Sparsity page as it shows them: its figures, the strip and heat that a person presses, tables."""

from collections.abc import Callable, Iterable

import streamlit as st

from analysis.report import Report
from ui.components import heat_grid
from ui.drawn import show, show_strip
from ui.figures import sparsity as figures
from ui.figures import sparsity_parts as parts
from ui.figures.part import Table
from ui.figures.picture import Picture
from ui.numbers import marked, say_number, say_quantity
from ui.words import caption, plain


def side_by_side(pictures: Iterable[Picture], widths: tuple[int, int] = (3, 2)) -> None:
    """Two figures beside each other, each under its title."""
    for column, picture in zip(st.columns(widths, gap="medium"), pictures, strict=False):
        with column:
            st.markdown(f"### {plain(picture.title)}")
            show(picture)


def strip(report: Report, pinned: int | None, on_pin: Callable[[int | None], None]) -> None:
    """The tokens, each on the share of neurons that it keeps."""
    show_strip(parts.strip(report, {}), "sparsity-strip", pinned, on_pin)


def heat(report: Report, place: figures.Place, on_pin: Callable[[tuple[int, int] | None], None]) -> None:
    """Layers by tokens, of a set layers by texts."""
    values = 100 * figures.columns_of(report)
    heat_grid(
        values,
        [str(layer) for layer in range(len(values))],
        figures.column_names(report),
        key="sparsity-heat",
        label=figures.KEPT,
        unit="%",
        log=False,
        pinned=(place.layer, place.pos),
        on_pin=on_pin,
        column_axis="text" if report.spec.text_set else "position",
    )
    caption(figures.heat_caption(report))


def cell_words(report: Report, place: figures.Place) -> None:
    """The pinned cell in numbers."""
    arrays, layer = report.arrays, place.layer
    name = f"text {place.pos}" if report.spec.text_set else marked(figures.column_names(report)[place.pos])
    st.markdown(f"#### {plain(name)}")
    st.caption(f"block {layer}" if report.spec.text_set else f"position {place.pos}, block {layer}")
    kept = 100 * float(figures.columns_of(report)[layer, place.pos])
    mean = 100 * float(arrays["activation_ratio"][layer])
    threshold = f"threshold {say_number(float(arrays['threshold'][layer]))}" if len(arrays["threshold"]) else ""
    st.markdown(
        f"**{plain(say_quantity(kept, '%'))}** of the block's neurons kept  \n"
        f"the block keeps {plain(say_quantity(mean, '%'))} on average, "
        f"{plain(threshold or 'each expert by its own threshold')}"
    )


def table(shown: Table, height: int | None = None) -> None:
    """A table with its caption."""
    cells = zip(*shown.rows, strict=True) if shown.rows else ([] for _ in shown.columns)
    columns = {name: list(column) for name, column in zip(shown.columns, cells, strict=True)}
    st.dataframe(columns, hide_index=True, key=f"sparsity-{shown.title}", **({"height": height} if height else {}))
    caption(shown.caption)


def downloads(report: Report) -> None:
    """The thresholds as files."""
    if not report.numbers["is_searched"]:
        return
    with st.container(horizontal=True):
        st.download_button(
            "Thresholds (JSON)",
            parts.thresholds_json(report),
            "thresholds.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
            help="With the model, the budget, and the rule by which they are applied.",
        )
        st.download_button(
            "List (text)",
            parts.thresholds_list(report),
            "thresholds.txt",
            "text/plain",
            icon=":material/download:",
            on_click="ignore",
            help="One number a layer, as the paper's own tools take them.",
        )
