"""The curve of a training while it grows: a file beside what is trained, one line of figures for each point."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from capture.written_file import replace_file

CURVE = "curve.jsonl"
Point = Mapping[str, float]
"""The figures of one step; `step` and `loss` are among them."""
SAE_FIGURES = {"fvu": "FVU {:.3f}", "l0": "L0 {:.1f}", "dead_share": "dead {:.1%}", "loss": "loss {:.3f}"}
"""What each point of an SAE's curve has, and how it is said."""


def write_curve(folder: Path, points: Sequence[Point]) -> None:
    """The whole curve in place of what was there: a run that goes on has fewer points than it had before its stop."""
    replace_file(folder / CURVE, "".join(f"{json.dumps(dict(point))}\n" for point in points).encode())


def add_point(folder: Path, point: Point) -> None:
    """One more point at the end."""
    with (folder / CURVE).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(dict(point))}\n")


def read_curve(folder: Path, figures: Collection[str] = ()) -> list[dict[str, float]]:
    """The points so far that have these figures; none where there is no curve yet.

    A line that is being written is left out.
    """
    try:
        lines = (folder / CURVE).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    wanted = {"step", "loss", *figures}
    return [point for line in lines if (point := _point(line, wanted))]


def _point(line: str, wanted: set[str]) -> dict[str, float]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and wanted <= set(found) else {}


def figures_words(point: Point, figures: Mapping[str, str]) -> str:
    """Those of the figures that a point has, each as it is said."""
    return ", ".join(words.format(point[name]) for name, words in figures.items() if name in point)
