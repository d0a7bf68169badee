"""Compare: what differs between two views of the same lens, token by token and layer by layer.

Tokens are aligned by their texts. For each quantity of the lens that has a value for every layer and token the change
is right − left, or log2(right / left) where ratios are what counts. `weight` ranks changes of different quantities, in
doublings; `typical` is the median magnitude of the values that both sides have.

Arrays, [quantity layer pos] for texts and [quantity layer] for text sets, over the layers that both models have:
`left`, `right`, `change`; NaN where a side has no value. `pos` counts the rows of the alignment.

Numbers: `tokens` of those rows, `left_pos`, `right_pos` [position or null]; `quantities` [{name, label, unit, is_log,
typical, n_changed}]; `changes` [{quantity, label, layer, pos, token, left_pos, right_pos, left, right, change,
weight}], heaviest first; `differences` [{what, left, right}]; `findings` [{unit, left, right}], sentences or null;
`sides` [{model, text, text_set, n_layers, n_tokens, interventions}]; `lens`, `is_same`, `is_text_set`, `n_common`,
`notes`. Views that wrote texts have other arrays and numbers, which `compare_written` says: of those named above
`differences`, `findings`, `lens`, `is_same`, `is_text_set` and `notes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from math import log2
from typing import Any

import numpy as np

from analysis.compare_written import (
    QUANTITIES,
    arrays_of_both,
    findings_of,
    is_written,
    notes_of,
    numbers_of_both,
)
from analysis.compared_quantity import ONE_ROW, Compared, compared_quantities, row_of_change
from analysis.lens import Measured, Options, ReportLens, find_lens
from analysis.option import Option
from analysis.quantity import DOUBLINGS, Quantity
from analysis.report import Finding, Report
from analysis.side_difference import differences, recipe_words
from analysis.token_alignment import Alignment, align
from capture.errors import UserError

SIDES = ("left", "right")
BY_LAYER = "Both sides are of text sets: their numbers are by layer, summed up over tokens."
MAX_ROWS = 12
"""Changes listed of each quantity."""
MAX_FINDINGS = 3
"""Findings on changes; those on findings of one side come on top."""


def combine(reports: tuple[Report, ...], options: Options) -> Measured:
    """The differences of two Reports; raises UserError where they are not of the same lens and kind of text."""
    left, right = reports
    slug, is_text_set = _shared_lens(left, right), bool(left.spec.text_set)
    if is_written(slug):
        return _combine_written(left, right)
    tokens = [[] if is_text_set else _tokens(one) for one in reports]
    rows = ONE_ROW if is_text_set else align(*tokens)
    compared = compared_quantities(find_lens(slug).quantities, left, right, rows, is_text_set)
    numbers: dict[str, Any] = {
        "lens": slug,
        "is_same": left.digest() == right.digest(),
        "is_text_set": is_text_set,
        "sides": [_side(one, len(its), compared[0].quantity.name) for one, its in zip(reports, tokens, strict=True)],
        **_row_names(rows, tokens, is_text_set),
        "quantities": [_about(one) for one in compared],
        "differences": differences(left, right),
        "findings": _finding_rows(left, right),
    }
    numbers["changes"] = _changes(compared, numbers)
    numbers["notes"] = _notes(numbers)
    return Measured(numbers, _arrays(compared, is_text_set), _findings(numbers, left, right, rows))


def _combine_written(left: Report, right: Report) -> Measured:
    """The differences of two views that wrote texts."""
    numbers: dict[str, Any] = {
        "lens": left.spec.lens,
        "is_same": left.digest() == right.digest(),
        "is_text_set": bool(left.spec.text_set),
        "differences": differences(left, right),
        "findings": _finding_rows(left, right),
        **numbers_of_both(left, right),
    }
    numbers["notes"] = notes_of(numbers)
    return Measured(numbers, arrays_of_both(left, right), findings_of(numbers))


def _shared_lens(left: Report, right: Report) -> str:
    slugs = [one.spec.lens for one in (left, right)]
    if slugs[0] != slugs[1]:
        raise UserError(
            f"Both views must be of the same page; {slugs[0]} is on the left and {slugs[1]} on the right.",
            "Open the page of one with the text of the other, and take its link.",
        )
    if bool(left.spec.text_set) != bool(right.spec.text_set):
        raise UserError(
            "Both views must be of one text, or both of a text set; one of each was given.",
            "Choose a text set for both, or for neither.",
        )
    return slugs[0]


def _tokens(report: Report) -> list[str]:
    tokens = report.numbers.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens) or not tokens:
        raise UserError("A view must name its tokens to be compared; this one has none.", "Make it again.")
    return tokens


def _side(report: Report, n_tokens: int, quantity: str) -> dict[str, Any]:
    return {
        "model": str(report.facts.get("model", report.spec.model)),
        "text": report.spec.text,
        "text_set": report.spec.text_set,
        "n_layers": len(report.arrays[quantity]),
        "n_tokens": n_tokens or report.facts.get("n_tokens"),
        "interventions": [recipe_words(one) for one in report.spec.interventions],
    }


def _row_names(rows: Alignment, tokens: Sequence[Sequence[str]], is_text_set: bool) -> dict[str, Any]:
    if is_text_set:
        return {"tokens": [], "left_pos": [], "right_pos": [], "n_common": 0}
    texts = [
        tokens[0][mine] if mine is not None else tokens[1][its]  # type: ignore[index]
        for mine, its in zip(rows.left, rows.right, strict=True)
    ]
    places = {"left_pos": list(rows.left), "right_pos": list(rows.right)}
    return {"tokens": texts, **places, "n_common": sum(rows.is_common)}


def _about(one: Compared) -> dict[str, Any]:
    quantity = one.quantity
    said = {"name": quantity.name, "label": quantity.label, "unit": quantity.unit, "is_log": quantity.is_log}
    return {**said, "typical": one.typical, "n_changed": one.n_changed()}


def _changes(compared: Sequence[Compared], numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for one in compared:
        for layer, row in one.heaviest(MAX_ROWS):
            place: dict[str, Any] = {"pos": None, "token": None, "left_pos": None, "right_pos": None}
            if not numbers["is_text_set"]:
                place = {"pos": row, "token": numbers["tokens"][row]}
                place |= {name: numbers[name][row] for name in ("left_pos", "right_pos")}
            rows.append(row_of_change(one, layer, row) | place)
    return sorted(rows, key=lambda row: -row["weight"])


def _arrays(compared: Sequence[Compared], is_text_set: bool) -> dict[str, np.ndarray]:
    stacked = {name: np.stack([getattr(one, name) for one in compared]) for name in (*SIDES, "change")}
    with np.errstate(over="ignore"):
        single = {name: array.astype(np.float32) for name, array in stacked.items()}
    return {name: array[..., 0] for name, array in single.items()} if is_text_set else single


def _finding_rows(left: Report, right: Report) -> list[dict[str, Any]]:
    """Findings of both sides that measure the same, beside each other."""
    rows = []
    for unit, mine, its in _finding_pairs(left, right):
        rows.append({"unit": unit, "left": mine and mine.sentence, "right": its and its.sentence})
    return rows


def _finding_pairs(left: Report, right: Report) -> list[tuple[str, Finding | None, Finding | None]]:
    sides = [_by_kind(one.findings) for one in (left, right)]
    pairs = []
    for kind in dict.fromkeys([*sides[0], *sides[1]]):
        both = zip_longest(sides[0].get(kind, []), sides[1].get(kind, []))
        pairs += [(kind[0], mine, its) for mine, its in both]
    return pairs


def _by_kind(findings: Sequence[Finding]) -> dict[tuple[str, ...], list[Finding]]:
    """Findings by what they measure, which their unit and the kind of their place tell."""
    kinds: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((str(finding.unit), *sorted(map(str, finding.place))), []).append(finding)
    return kinds


def _findings(numbers: Mapping[str, Any], left: Report, right: Report, rows: Alignment) -> tuple[Finding, ...]:
    # One of each quantity; two quantities of the same values, as kurtosis is by two ways for a text set, are one.
    of_quantity = {row["quantity"]: row for row in reversed(numbers["changes"])}.values()
    of_values = {(row["layer"], row["pos"], row["left"], row["right"]): row for row in of_quantity}.values()
    heaviest = sorted(of_values, key=lambda row: -row["weight"])[:MAX_FINDINGS]
    units = {one["name"]: DOUBLINGS if one["is_log"] else one["unit"] or one["label"] for one in numbers["quantities"]}
    found = [_on_change(row, units[row["quantity"]]) for row in heaviest]
    pairs = _finding_pairs(left, right)
    found += [_on_one_side(mine, its, rows) for _, mine, its in pairs if mine is None or its is None]
    found += _on_findings(pairs, rows)
    return tuple(sorted(found, key=lambda finding: -finding.score))


def _on_change(row: Mapping[str, Any], unit: str) -> Finding:
    where = f"block {row['layer']}" if row["token"] is None else f"token {row['token']!r} of block {row['layer']}"
    place = {"quantity": row["quantity"], "layer": row["layer"]} | ({} if row["pos"] is None else {"pos": row["pos"]})
    sentence = (
        f"The {row['label']} changes most at {where}: {row['left']:.3g} on the left, {row['right']:.3g} on the right."
    )
    return Finding(sentence, row["change"], unit, row["weight"], place)


def _on_findings(pairs: Sequence[tuple[str, Finding | None, Finding | None]], rows: Alignment) -> list[Finding]:
    """The finding of both sides whose magnitude changes most, where one changes."""
    both = [(mine, its) for _, mine, its in pairs if mine and its and min(mine.magnitude, its.magnitude) > 0]
    changed = [(abs(log2(its.magnitude / mine.magnitude)), mine, its) for mine, its in both]
    weight, mine, its = max(changed, key=lambda one: one[0], default=(0.0, None, None))
    if mine is None or its is None or weight == 0:
        return []
    values = f"{mine.magnitude:.3g} on the left, {its.magnitude:.3g} on the right"
    sentence = f"Of what both sides found this changes most: {values} ({its.unit})."
    return [replace(its, sentence=sentence, score=weight, place=_aligned(its, rows.right))]


def _on_one_side(mine: Finding | None, its: Finding | None, rows: Alignment) -> Finding:
    finding, side, places = (mine, "left", rows.left) if mine is not None else (its, "right", rows.right)
    assert finding is not None
    place = _aligned(finding, places) or {"side": side}
    return replace(finding, sentence=f"Only on the {side}: {finding.sentence}", place=place)


def _aligned(finding: Finding, places: Sequence[int | None]) -> dict[str, Any]:
    """A finding's place, its position being that of the alignment's row; dropped where it has none."""
    place = dict(finding.place)
    pos = place.pop("pos", None)
    return place | ({"pos": places.index(pos)} if pos is not None and pos in places else {})


def _notes(numbers: Mapping[str, Any]) -> list[str]:
    """What a person must know to read the comparison, in sentences."""
    notes = [_same(numbers)]
    n_layers = [side["n_layers"] for side in numbers["sides"]]
    if n_layers[0] != n_layers[1]:
        notes.append(
            f"The left model has {n_layers[0]} layers and the right one {n_layers[1]}: compared are those that both "
            f"have, 0 to {min(n_layers) - 1}."
        )
    notes.append(BY_LAYER if numbers["is_text_set"] else _common(numbers))
    return [note for note in notes if note]


def _same(numbers: Mapping[str, Any]) -> str:
    if numbers["is_same"] and not numbers["differences"]:
        return "Nothing differs: both sides are the same view."
    if numbers["is_same"]:
        return "Nothing differs in the numbers, though the two views ask for different things."
    n_changed = sum(one["n_changed"] for one in numbers["quantities"])
    if n_changed == 0 and (numbers["n_common"] or numbers["is_text_set"]):
        return "No compared number differs; others, such as a what-if, do."
    return ""


def _common(numbers: Mapping[str, Any]) -> str:
    n, n_common = len(numbers["tokens"]), numbers["n_common"]
    only = [sum(place is None for place in numbers[name]) for name in ("right_pos", "left_pos")]
    if n_common == n:
        return f"Both texts have the same {n} tokens."
    return f"{n_common} tokens are in both texts, {only[0]} only on the left and {only[1]} only on the right."


REPORT_LENS = ReportLens(
    slug="compare",
    title="Compare",
    question="What differs between two views: texts, models, options or interventions?",
    paper="Tokens are aligned by their longest common subsequence: Wagner and Fischer 1974, doi 10.1145/321796.321811.",
    how_to_read=(
        "Each cell is the change from the left view to the right one at a token and a layer, blue where the right is "
        "lower and orange where it is higher; hatched columns are tokens that one text lacks. Changes of different "
        "quantities are ranked in doublings. Written texts are paired by the multiple of the recipe above them."
    ),
    options=(
        Option("left", "Left view", "A link, its code or a short id.", ""),
        Option("right", "Right view", "A link, its code or a short id.", ""),
    ),
    sides=SIDES,
    combine=combine,
    quantities=(
        Quantity("left", "value on the left", ("quantity", "layer", "pos")),
        Quantity("right", "value on the right", ("quantity", "layer", "pos")),
        Quantity("change", "change from left to right", ("quantity", "layer", "pos")),
        *QUANTITIES,
    ),
)
