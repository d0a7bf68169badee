"""Two views that wrote texts under recipes, as the steering lab does, pane beside pane.

Panes are paired by the multiple of the recipe that they are written under. Both sides keep what they have of their
panes; what is compared is where two texts part, and what each costs.

Arrays, each side's under its name, such as `left_kl`: those of `analysis.steering_lab`.

Numbers: `written` {left, right: those of the side's own view}; `pairs` [{title, left, right (numbers of panes), departs
(the first new token that differs, null for none or for a text set), n_same (texts of a set that are the same), left_kl,
right_kl}].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.quantity import Quantity
from analysis.report import Finding, Report
from analysis.steered_text import departs
from analysis.steering_lab import LENS
from capture.errors import UserError

SIDES = ("left", "right")
NUMBERS = ("panes", "tokens", "special", "texts", "sentence", "is_text_set", "n_texts", "mode")
QUANTITIES = tuple(
    Quantity(f"{side}_{one.name}", f"{one.label}, {side}", one.axes, one.unit)
    for side in SIDES
    for one in LENS.quantities
)
CLEAN = 0
"""The pane without the recipe."""


def is_written(slug: str) -> bool:
    """Whether views of this lens are compared by the texts that they wrote."""
    return slug == LENS.slug


def numbers_of_both(left: Report, right: Report) -> dict[str, Any]:
    """What is said of the panes of both; raises UserError where a view has none to compare."""
    sides = {"left": left, "right": right}
    try:
        written = {side: {name: one.numbers[name] for name in NUMBERS} for side, one in sides.items()}
        return {"written": written, "pairs": _pairs(left, right)}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(
            "A view must say what its panes wrote to be compared; one of these does not.", "Make it again."
        ) from error


def arrays_of_both(left: Report, right: Report) -> dict[str, np.ndarray]:
    """The arrays of both, under their sides."""
    names = {one.name for one in LENS.quantities}
    sides = zip(SIDES, (left, right), strict=True)
    return {f"{side}_{name}": array for side, one in sides for name, array in one.arrays.items() if name in names}


def side_of(report: Report, side: str) -> Report:
    """One side of such a comparison as a Report of its own, for what draws the panes of one view."""
    arrays = {
        name.removeprefix(f"{side}_"): array for name, array in report.arrays.items() if name.startswith(f"{side}_")
    }
    return Report(report.spec, report.facts, report.numbers["written"][side], arrays)


def _pairs(left: Report, right: Report) -> list[dict[str, Any]]:
    multiples = [[float(one) for one in report.arrays["multiple"]] for report in (left, right)]
    return [
        _pair(left, right, mine, multiples[1].index(multiple))
        for mine, multiple in enumerate(multiples[0])
        if multiple in multiples[1]
    ]


def _pair(left: Report, right: Report, mine: int, its: int) -> dict[str, Any]:
    said: dict[str, Any] = {
        "title": str(left.numbers["panes"][mine]["title"]),
        "left": mine,
        "right": its,
        "left_kl": float(left.arrays["mean_kl"][mine]),
        "right_kl": float(right.arrays["mean_kl"][its]),
    }
    if left.numbers["is_text_set"]:
        texts = zip(left.numbers["texts"], right.numbers["texts"], strict=False)
        n_same = sum(one["panes"][mine]["text"] == other["panes"][its]["text"] for one, other in texts)
        return said | {"departs": None, "n_same": n_same}
    tokens = [report.numbers["panes"][place]["tokens"] for report, place in ((left, mine), (right, its))]
    return said | {"departs": departs(*tokens), "n_same": None}


def notes_of(numbers: Mapping[str, Any]) -> list[str]:
    """What the pairs of panes say, in sentences."""
    if numbers["is_same"]:
        return ["Nothing differs in what was written."]
    sentences = [_sentence(one, numbers["is_text_set"]) for one in numbers["pairs"]]
    if len(sentences) < max(len(numbers["written"][side]["panes"]) for side in SIDES):
        sentences.append("Panes at a multiple that the other side does not have stand alone.")
    return sentences


def findings_of(numbers: Mapping[str, Any]) -> tuple[Finding, ...]:
    """One for each pair of steered panes: how much further the right recipe moves predictions than the left one."""
    steered = [one for one in numbers["pairs"] if one["left"] != CLEAN]
    made = [
        Finding(
            f"At {one['title']} predictions move by {one['left_kl']:.3g} nats a token on the left and "
            f"{one['right_kl']:.3g} on the right.",
            one["right_kl"] - one["left_kl"],
            "nats a token",
            abs(one["right_kl"] - one["left_kl"]),
            {"pane": one["right"]},
        )
        for one in steered
    ]
    return tuple(sorted(made, key=lambda finding: -finding.score))


def _sentence(pair: Mapping[str, Any], is_text_set: bool) -> str:
    name = "The clean texts" if pair["left"] == CLEAN else f"The texts at {pair['title']}"
    if is_text_set:
        return f"{name}: {pair['n_same']} are the same on both sides."
    if pair["departs"] is None:
        return f"{name} are the same."
    return f"{name} part at new token {pair['departs'] + 1}."
