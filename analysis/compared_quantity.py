"""One quantity of two Reports on common axes, and how much it changes from the left to the right."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from analysis.quantity import Quantity
from analysis.report import Report
from analysis.token_alignment import Alignment
from capture.errors import UserError

OF_A_TEXT, OF_A_SET = ("layer", "pos"), ("layer",)
ONE_ROW = Alignment((0,), (0,))
"""The rows of a text set, whose numbers are summed up over tokens."""
REMAKE = "Make the view again from its link."

Cells = Float64[np.ndarray, "layer row"]


@dataclass(frozen=True)
class Compared:
    """Both sides of a quantity over the common layers and the alignment's rows; NaN where a side has no value.

    `change` is right − left, or log2(right / left) for a quantity whose ratios count.
    """

    quantity: Quantity
    left: Cells
    right: Cells
    change: Cells

    @property
    def typical(self) -> float:
        """The median magnitude of the values that both sides have; 1 where there is none above 0."""
        both = np.isfinite(self.left) & np.isfinite(self.right)
        sizes = np.abs(np.concatenate([self.left[both], self.right[both]]))
        return float(next((size for size in (np.median(sizes), sizes.max()) if size > 0), 1.0)) if len(sizes) else 1.0

    def weight(self) -> Cells:
        """What ranks changes of different quantities, in doublings: |log2 ratio|, or log2(1 + |change| / (typical + the
        smaller magnitude of the two)), by which a small value that doubles counts little.
        """
        size = np.abs(self.change)
        if self.quantity.is_log:
            return size
        least = self.typical + np.minimum(np.abs(self.left), np.abs(self.right))
        with np.errstate(over="ignore", invalid="ignore"):
            return np.log2(least + size) - np.log2(least)

    def n_changed(self) -> int:
        """In how many places both sides have a value and not the same one."""
        both = ~(np.isnan(self.left) | np.isnan(self.right))
        return int((both & (self.left != self.right)).sum())

    def heaviest(self, n: int) -> list[tuple[int, int]]:
        """The (layer, row) of at most n changes, the heaviest first; equal ones by layer, then by row."""
        weight = np.where(np.isfinite(self.change), np.nan_to_num(self.weight()), 0.0)
        places = np.argsort(-weight, axis=None, kind="stable")[:n]
        found = [(int(place) // weight.shape[1], int(place) % weight.shape[1]) for place in places]
        return [cell for cell in found if weight[cell] > 0]


def compared_quantities(
    quantities: tuple[Quantity, ...], left: Report, right: Report, rows: Alignment, is_text_set: bool
) -> tuple[Compared, ...]:
    """All quantities that are real numbers for each layer and token, of a text set for each layer.

    Raises UserError where there is none, or where a view's arrays do not fit each other.
    """
    axes = OF_A_SET if is_text_set else OF_A_TEXT
    found = [one for one in quantities if all(_has(one, report, axes) for report in (left, right))]
    if not found:
        message = f"The {left.spec.lens} lens has no number for each layer to compare."
        raise UserError(message, "Compare views of another page.")
    for report in (left, right):
        sizes = {len(report.arrays[one.name]) for one in found}
        if len(sizes) > 1 or 0 in sizes:
            raise UserError(f"A view must have one number of layers; {sorted(sizes)} were found.", REMAKE)
    return tuple(_compared(one, left, right, rows) for one in found)


def _has(quantity: Quantity, report: Report, axes: tuple[str, ...]) -> bool:
    # Whole numbers are indices here, such as a dimension's, and their difference means nothing.
    array = report.arrays.get(quantity.name)
    if array is None or array.dtype.kind != "f" or array.ndim != len(axes):
        return False
    return quantity.axes_of(array.ndim) == axes


def _compared(quantity: Quantity, left: Report, right: Report, rows: Alignment) -> Compared:
    arrays = [one.arrays[quantity.name] for one in (left, right)]
    n_layers = min(len(array) for array in arrays)
    mine, its = (
        _placed(array, n_layers, places) for array, places in zip(arrays, (rows.left, rows.right), strict=True)
    )
    return Compared(quantity, mine, its, _change(mine, its, quantity.is_log))


def _placed(array: np.ndarray, n_layers: int, places: tuple[int | None, ...]) -> Cells:
    by_pos = array.reshape(len(array), -1)[:n_layers].astype(np.float64)
    known = [(row, place) for row, place in enumerate(places) if place is not None]
    if len(known) != by_pos.shape[1]:
        raise UserError(
            f"A view must have a number for each token; it has {by_pos.shape[1]} for {len(known)} tokens.",
            REMAKE,
        )
    cells = np.full((n_layers, len(places)), np.nan)
    cells[:, [row for row, _ in known]] = by_pos[:, [place for _, place in known]]
    return cells


def _change(left: Cells, right: Cells, is_log: bool) -> Cells:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        change = np.log2(right) - np.log2(left) if is_log else right - left
    # Equal values differ by nothing, even two zeros or two infinities; a ratio to zero is no number.
    return np.where(left == right, 0.0, np.where(np.isfinite(change), change, np.nan))


def row_of_change(one: Compared, layer: int, row: int) -> dict[str, Any]:
    """A change as plain JSON."""
    return {
        "quantity": one.quantity.name,
        "label": one.quantity.label,
        "layer": layer,
        "left": float(one.left[layer, row]),
        "right": float(one.right[layer, row]),
        "change": float(one.change[layer, row]),
        "weight": float(one.weight()[layer, row]),
    }
