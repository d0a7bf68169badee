"""Quantity: what one array of a Report holds; tables, comparisons and axis titles are made from it."""

from dataclasses import dataclass

SET_HAS_NO = "pos"
"""The axis that a text set's arrays lack: they are summed up over tokens."""
DOUBLINGS = "doublings"
"""The unit of log2 of a ratio."""


@dataclass(frozen=True)
class Quantity:
    """An array by name, in words, with the names of its axes for a single text, such as ("layer", "pos")."""

    name: str
    label: str
    axes: tuple[str, ...]
    unit: str = ""
    is_log: bool = False
    """Whether ratios rather than differences are compared, and pictures have a log scale."""

    def axes_of(self, n_axes: int) -> tuple[str, ...]:
        """The axes of an array of that many; raises ValueError where they are neither a text's nor a text set's."""
        for axes in (self.axes, tuple(axis for axis in self.axes if axis != SET_HAS_NO)):
            if len(axes) == n_axes:
                return axes
        raise ValueError(f"{self.name} has the axes {self.axes}, and an array has {n_axes}.")
