"""Two views that wrote texts on the Compare page: their panes side by side on one heat, what each costs, and the KL."""

from collections.abc import Iterable

import numpy as np
import streamlit as st

from analysis.report import Report
from ui.components import text_panes
from ui.drawn import show_beside
from ui.figures import compare_written as figures
from ui.figures.compare_place import COLOURS
from ui.figures.steering_lab import KL, UNIT
from ui.lab_panes import draw_texts_of_set, panes_of, prompt_of


def draw_written(report: Report) -> None:
    """The panes of both sides, and below them their numbers."""
    sides = {side: figures.side_of(report, side) for side in COLOURS}
    for column, (side, one) in zip(st.columns(2, gap="medium"), sides.items(), strict=True):
        with column:
            if one.numbers["is_text_set"]:
                draw_texts_of_set(one)
            else:
                _panes(side, one, _span(sides.values()))
    show_beside(figures.kl_of_both(report), figures.totals_of_both(report), "compare-totals")


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
