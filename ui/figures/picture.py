"""Picture: one figure of a view with its words, for the page and for every export."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Picture:
    """`name` is its file name and key, `title` and `caption` are words as they were written, not escaped."""

    name: str
    title: str
    caption: str
    figure: "Figure"
