"""Which place of a comparison is pinned, and what its values are called and coloured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.quantity import DOUBLINGS
from analysis.report import Report
from ui import charts

COLOURS = {"left": charts.CLEAN, "right": charts.STEERED}


@dataclass(frozen=True)
class Shown:
    """Which place of a comparison is pinned; a text set has no rows."""

    quantity: int
    layer: int
    row: int | None

    def value(self, report: Report, array: str) -> float:
        """The value of one of the Report's arrays at this place."""
        cells = report.arrays[array][self.quantity, self.layer]
        return float(cells if self.row is None else cells[self.row])


def shown(report: Report, pins: Mapping[str, Any]) -> Shown:
    """The pinned place; what is not pinned, or not there, is where the heaviest change of the quantity is."""
    quantities = [one["name"] for one in report.numbers["quantities"]]
    rows = report.numbers["changes"]
    wanted = pins.get("quantity")
    heaviest = rows[0]["quantity"] if rows else quantities[0]
    quantity = quantities.index(wanted if wanted in quantities else heaviest)
    first = next((row for row in rows if row["quantity"] == quantities[quantity]), {"layer": 0, "pos": 0})
    shape = report.arrays["change"].shape
    layer = _index(pins.get("layer"), shape[1], first["layer"])
    return Shown(quantity, layer, None if len(shape) == 2 else _index(pins.get("pos"), shape[2], first["pos"]))


def _index(value: Any, size: int, default: int) -> int:
    is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size
    return value if is_index else default


def unit_of_change(about: Mapping[str, Any]) -> str:
    """The unit of a quantity's change."""
    return DOUBLINGS if about["is_log"] else str(about["unit"])


def change_by_token(report: Report, place: Shown) -> tuple[np.ndarray, tuple[float, float]]:
    """Each row's change where it is largest in any layer, NaN for none; and the ends of its colour range."""
    change = report.arrays["change"][place.quantity]
    layer = np.abs(np.nan_to_num(change)).argmax(axis=0)
    heaviest = np.take_along_axis(change, layer[None], axis=0)[0]
    end = float(np.abs(np.nan_to_num(heaviest)).max(initial=0.0))
    return heaviest, (-end, end)
