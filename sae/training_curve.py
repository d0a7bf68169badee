"""The curve of a training while it grows: a file beside the SAE, one line of figures for each point."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from capture.written_file import replace_file

CURVE = "curve.jsonl"
Point = Mapping[str, float]
"""The figures of one step: step, loss, aux_loss, fvu, l0, dead_share."""


def write_curve(folder: Path, points: Sequence[Point]) -> None:
    """The whole curve in place of what was there: a run that goes on has fewer points than it had before its stop."""
    replace_file(folder / CURVE, "".join(f"{json.dumps(dict(point))}\n" for point in points).encode())


def add_point(folder: Path, point: Point) -> None:
    """One more point at the end."""
    with (folder / CURVE).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(dict(point))}\n")


def read_curve(folder: Path) -> list[dict[str, float]]:
    """The points so far; none where there is no curve yet. A line that is being written is left out."""
    try:
        lines = (folder / CURVE).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [point for point in map(_point, lines) if point]


def _point(line: str) -> dict[str, float]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "fvu" in found else {}


def figures_words(point: Point) -> str:
    """The figures of a step as a person would say them."""
    parts = (f"FVU {point['fvu']:.3f}", f"L0 {point['l0']:.1f}", f"dead {point['dead_share']:.1%}")
    return f"{', '.join(parts)}, loss {point['loss']:.3f}"
