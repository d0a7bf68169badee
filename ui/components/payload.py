"""What the browser is sent: numbers as base64 float32, and the source files of a component."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ui.charts import DIVERGING, SEQUENTIAL

FOLDER = Path(__file__).parent


def encode_floats(values: ArrayLike) -> str:
    """The values as little-endian float32 in base64, row by row; NaN stays NaN and is shown as "no value"."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def source(name: str, ending: str, shared: bool = True) -> str:
    """The text of a component's file, after that of the part both components share."""
    names = ["heat", name] if shared else [name]
    return "\n".join((FOLDER / f"{part}.{ending}").read_text(encoding="utf-8") for part in names)


def colours(diverging: bool) -> list[str]:
    """The palette's stops, lowest value first."""
    return list(DIVERGING if diverging else SEQUENTIAL)


def span_of(span: Sequence[float] | None) -> list[float] | None:
    """The two ends of the colour range, where they are fixed from outside."""
    return None if span is None else [float(end) for end in span]


def texts(names: Iterable[object]) -> list[str]:
    """Each name as a string that JSON and UTF-8 can carry: a lone surrogate becomes U+FFFD."""
    return [str(name).encode("utf-16", "surrogatepass").decode("utf-16", "replace") for name in names]
