"""Parts of an exported view that are no plotly figure: token strip, tables, sentences."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Strip:
    """Tokens as they were written, each on the heat of its value; `values` has one for each, NaN for none."""

    tokens: tuple[str, ...]
    values: np.ndarray
    label: str
    unit: str = ""
    pinned: int | None = None
    is_log: bool = False
    is_diverging: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of plain values under their columns' names."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Sentences:
    """Sentences under one heading; nothing in them is markup."""

    title: str
    lines: tuple[str, ...]
