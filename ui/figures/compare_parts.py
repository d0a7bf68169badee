"""What the Compare page says beside its figures: the aligned tokens, tables, and the notes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.report import Report
from ui.figures import compare_written as written
from ui.figures.compare_place import change_by_token, shown, unit_of_change
from ui.figures.part import Sentences, Strip, Table
from ui.numbers import marked, say_number

CHANGES_CAPTION = (
    "The change is right − left, or for ratios the number of doublings. Ranked in doublings, in which a small value "
    "counts little."
)
CHANGED = ("left", "right", "change")
MAX_ROWS = 24
NONE = "–"


def strip(report: Report, pins: Mapping[str, Any]) -> Strip | None:
    """The tokens of both texts in order, each on the heat of its change; a text set has none."""
    if written.is_of_written(report):
        return None
    place = shown(report, pins)
    if place.row is None:
        return None
    about = report.numbers["quantities"][place.quantity]
    values, _ = change_by_token(report, place)
    label = f"change of the {about['label']}, heaviest layer"
    tokens = tuple(report.numbers["tokens"])
    return Strip(tokens, values, label, unit_of_change(about), place.row, is_diverging=True)


def tables(report: Report) -> tuple[Table, ...]:
    """What changed most, cut where it gets long, what was asked differently, and the findings of both sides."""
    if written.is_of_written(report):
        return written.totals_of_both(report), asked_differently(report), findings_beside(report)
    every = changes(report)
    return replace(every, rows=every.rows[:MAX_ROWS]), asked_differently(report), findings_beside(report)


def changes(report: Report) -> Table:
    """The heaviest changes of every quantity; a text set's have no token."""
    places = ("block",) if report.numbers["is_text_set"] else ("token", "position", "block")
    rows = tuple(_change(row, places) for row in report.numbers["changes"])
    return Table("What changed most", ("quantity", *places, *CHANGED), rows, CHANGES_CAPTION)


def _change(row: Mapping[str, Any], places: tuple[str, ...]) -> tuple[str, ...]:
    said = {"block": str(row["layer"])}
    if row["token"] is not None:
        said |= {"token": marked(row["token"]), "position": _position(row["left_pos"], row["right_pos"])}
    return (row["label"], *(said[name] for name in places), *(say_number(row[name]) for name in CHANGED))


def _position(left: int, right: int) -> str:
    return f"{left}" if left == right else f"{left} | {right}"


def asked_differently(report: Report) -> Table:
    """Where the two Specs and the ways they were run are not the same."""
    rows = tuple((row["what"], row["left"], row["right"]) for row in report.numbers["differences"])
    return Table("Asked differently", ("what", "left", "right"), rows)


def findings_beside(report: Report) -> Table:
    """The findings of both sides that measure the same, beside each other."""
    rows = tuple((row["left"] or NONE, row["right"] or NONE) for row in report.numbers["findings"])
    return Table("Findings side by side", ("left", "right"), rows)


def sentences(report: Report) -> tuple[Sentences, ...]:
    """What a person must know to read the comparison."""
    said = Sentences("What is compared", tuple(report.numbers["notes"]))
    return (said, *written.texts_of_both(report)) if written.is_of_written(report) else (said,)
