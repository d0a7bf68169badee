"""The figures of the Compare page: drawn from a Report, on the page and in an export alike."""

from collections.abc import Mapping
from typing import Any

from analysis.report import Report
from ui import charts
from ui.figures import compare_written as written
from ui.figures.compare_parts import sentences, strip, tables
from ui.figures.compare_place import COLOURS, Shown, shown, unit_of_change
from ui.figures.heat import layers_by_tokens
from ui.figures.picture import Picture
from ui.numbers import marked

__all__ = ["pictures", "sentences", "strip", "tables"]


def pictures(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Every figure of the comparison at the pinned place."""
    if written.is_of_written(report):
        return (written.kl_of_both(report),)
    place = shown(report, pins)
    by_layer = layers(report, place)
    return (by_layer,) if place.row is None else (heat(report, place), by_layer)


def heat(report: Report, place: Shown) -> Picture:
    """Layers by aligned tokens, as an export draws them; the page has the same cells to press."""
    about = report.numbers["quantities"][place.quantity]
    quantity = f"change of the {about['label']}"
    drawn = layers_by_tokens(
        report.arrays["change"][place.quantity],
        report.numbers["tokens"],
        quantity=quantity,
        unit=unit_of_change(about),
        diverging=True,
        pinned=None if place.row is None else (place.layer, place.row),
    )
    return Picture("compare-heat", quantity.capitalize(), heat_caption(about), drawn)


def heat_caption(about: Mapping[str, Any]) -> str:
    """What the heat of a quantity shows."""
    how = "log2 of the right over the left" if about["is_log"] else "the right minus the left"
    return (
        f"Change of the {about['label']}: {how}, at each aligned token and each layer that both models have. A token "
        "that only one text has carries no value."
    )


def layers(report: Report, place: Shown) -> Picture:
    """Both sides over the layers, at the pinned token."""
    about = report.numbers["quantities"][place.quantity]
    cells = {side: report.arrays[side][place.quantity] for side in COLOURS}
    series = {side: array if place.row is None else array[:, place.row] for side, array in cells.items()}
    drawn = charts.layer_lines(series, quantity=about["label"], unit=about["unit"], pinned=place.layer)
    for trace, colour in zip(drawn.data, COLOURS.values(), strict=True):
        trace.line.color = colour
    caption = f"The {about['label']} of both text sets, by layer."
    if place.row is not None:
        token = marked(report.numbers["tokens"][place.row])
        caption = f"The {about['label']} at the token {token}, on both sides, by layer."
    return Picture("compare-layers", f"{about['label']}, by layer".capitalize(), caption, drawn)
