"""The curve of a hypernetwork's training while it grows: a file beside it, one line of figures for each point."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from capture.written_file import replace_file

CURVE = "curve.jsonl"
Point = Mapping[str, float]
"""step, loss, and gain_ and other_ of held_in and held_out: nats per token by which texts that no fit sees became
likelier, under the vector of their own concept and under that of another one."""


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
    return found if isinstance(found, dict) and "step" in found and "loss" in found else {}


def figures_words(point: Point) -> str:
    """The figures of a point as a person would say them."""
    names = {"gain_held_in": "held-in gain", "gain_held_out": "held-out gain"}
    said = [f"{words} {point[name]:+.3f}" for name, words in names.items() if name in point]
    return ", ".join([f"loss {point['loss']:.3f}", *said])
