"""Two views that wrote texts on the Compare page: their panes side by side on one heat, what each costs, and the KL."""

from collections.abc import Iterable

import numpy as np
import streamlit as st

from analysis.report import Report
from ui.components import text_panes
from ui.figures import compare_written as figures
from ui.figures.compare_place import COLOURS
from ui.figures.steering_lab import KL, UNIT
from ui.lab_panes import draw_texts_of_set, panes_of, prompt_of
from ui.words import caption

CONFIG = {"displayModeBar": False}


def draw_written(report: Report) -> None:
    """The panes of both sides, and below them their numbers."""
    sides = {side: figures.side_of(report, side) for side in COLOURS}
    for column, (side, one) in zip(st.columns(2, gap="medium"), sides.items(), strict=True):
        with column:
            if one.numbers["is_text_set"]:
                draw_texts_of_set(one)
            else:
                _panes(side, one, _span(sides.values()))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        picture = figures.kl_of_both(report)
        st.markdown(f"### {picture.title}")
        st.plotly_chart(picture.figure, key=picture.name, config=CONFIG)
        caption(picture.caption)
    with right:
        table = figures.totals_of_both(report)
        st.markdown(f"### {table.title}")
        columns = zip(table.columns, zip(*table.rows, strict=True), strict=True)
        st.dataframe({name: list(cells) for name, cells in columns}, hide_index=True, key="compare-totals")
        caption(table.caption)


def _panes(side: str, one: Report, span: tuple[float, float]) -> None:
    text_panes(
        panes_of(one),
        prompt_of(one.numbers),
        key=f"compare-panes-{side}",
        label=f"{side.capitalize()}, tinted by {KL}",
        unit=UNIT,
        span=span,
    )


def _span(sides: Iterable[Report]) -> tuple[float, float]:
    """One heat for both sides, so that equal colours are equal numbers."""
    tops = [float(np.nanmax(one.arrays["kl"], initial=0.0)) for one in sides]
    return 0.0, max(tops)
