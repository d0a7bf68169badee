"""The figures of two views that wrote texts, beside each other: drawn from the Report of their comparison."""

import numpy as np

from analysis.report import Report
from ui.curves import Curve, curves
from ui.figures import steering_lab
from ui.figures.compare_place import COLOURS
from ui.figures.part import Sentences, Table
from ui.figures.picture import Picture

DASHES = ("solid", "dash", "dot")
"""Of the steered panes in order, on both sides."""


def is_of_written(report: Report) -> bool:
    """Whether a comparison is of written texts."""
    return "written" in report.numbers


def side_of(report: Report, side: str) -> Report:
    """One side of the comparison as a Report of its own."""
    from analysis import compare_written

    return compare_written.side_of(report, side)


def kl_of_both(report: Report) -> Picture:
    """How far each side's recipe moves predictions along its own texts."""
    shown = []
    for side, colour in COLOURS.items():
        one = side_of(report, side)
        kl, titles = one.arrays["kl"], [str(pane["title"]) for pane in one.numbers["panes"]]
        steps = np.arange(1, kl.shape[1] + 1)
        shown += [
            Curve(f"{side} {titles[pane]}", steps, kl[pane], colour, dash=DASHES[pane - 1])
            for pane in range(1, len(kl))
        ]
    drawn = curves(shown, x="new token", y=f"{steering_lab.KL} ({steering_lab.UNIT})")
    caption = (
        "How far the recipe of each side moves the prediction that each new token was drawn from, along that side's "
        "own texts."
    )
    return Picture("compare-kl", "What each recipe moves, token by token", caption, drawn)


def totals_of_both(report: Report) -> Table:
    """What each pane of either side costs."""
    tables = {side: steering_lab.totals(side_of(report, side)) for side in COLOURS}
    rows = tuple((side, *row) for side, table in tables.items() for row in table.rows)
    first = tables["left"]
    return Table(first.title, ("side", *first.columns), rows, first.caption)


def texts_of_both(report: Report) -> tuple[Sentences, ...]:
    """What either side wrote, pane by pane."""
    found = []
    for side in COLOURS:
        *texts, _ = steering_lab.sentences(side_of(report, side))
        found += [Sentences(f"{side.capitalize()}, {one.title}", one.lines) for one in texts]
    return tuple(found)
