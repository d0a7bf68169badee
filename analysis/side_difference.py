"""What two Reports were asked and how they were made, beside each other, where it is not the same."""

from collections.abc import Mapping
from typing import Any

from analysis.report import Report
from analysis.spec import canonical_json, digest_json

FACTS = {
    "revision": "model revision",
    "fingerprint": "fingerprint",
    "dtype": "precision",
    "processing": "weights",
    "bos": "BOS",
    "n_tokens": "tokens",
}
"""Names of facts, and how they are called."""
MAX_CHARS = 400
SHORT_JSON = 60
STEP = "step"
"""The kind of a recipe's entry that has a name, a strength, and changes of its own."""


def differences(left: Report, right: Report) -> list[dict[str, str]]:
    """Rows {what, left, right} in words, of all that differs in the question and in how the numbers were made."""
    sides = [_words(one, other) for one, other in ((left, right), (right, left))]
    names = list(dict.fromkeys(name for side in sides for name in side))
    rows = [{"what": name, "left": sides[0].get(name, "none"), "right": sides[1].get(name, "none")} for name in names]
    return [{key: _cut(value) for key, value in row.items()} for row in rows if row["left"] != row["right"]]


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """An intervention's recipe on one line; a long list is told by its length and digest."""
    kind = str(recipe.get("kind", "?")).replace("_", " ")
    fields = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in recipe.items() if name != "kind"]
    return f"{kind}: {', '.join(fields)}" if fields else kind


def _words(report: Report, other: Report) -> dict[str, str]:
    spec = report.spec
    said = {
        "model": str(report.facts.get("model", spec.model)),
        "text set" if spec.text_set else "text": spec.text_set or spec.text,
        **{name: _value(report.facts.get(fact)) for fact, name in FACTS.items()},
    }
    said |= {f"option {name.replace('_', ' ')}": _value(value) for name, value in spec.options.items()}
    others = other.spec.interventions
    for place, one in enumerate(spec.interventions):
        said |= _intervention_words(place + 1, one, others[place] if place < len(others) else {})
    return said


def _intervention_words(number: int, recipe: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    """An intervention on one line; a step that both sides have at this place field by field, so that only what is not
    the same is told.
    """
    if recipe.get("kind") != STEP or (recipe.get("kind"), recipe.get("name")) != (other.get("kind"), other.get("name")):
        return {f"intervention {number}": _step_words(recipe) if recipe.get("kind") == STEP else recipe_words(recipe)}
    said: dict[str, str] = {}
    for name, value in recipe.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, one in inner:
            words = " ".join(f"{name} {part}".replace("_", " ").split())
            said[f"{number} {recipe.get('name')}: {words}"] = _value(one)
    return said


def _step_words(step: Mapping[str, Any]) -> str:
    """A step in a few words: what tells it from none at all."""
    unit = " of the mean norm" if step.get("unit") == "relative" else ""
    return f"{step.get('name')}: strength {_value(step.get('strength'))}{unit}"


def _value(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple | Mapping):
        return _many(value)
    return str(value)


def _many(value: Any) -> str:
    """A list or a set of fields; a long one by its length and digest, so that two of a length are told apart."""
    text = canonical_json(value)
    return text if len(text) <= SHORT_JSON else f"{len(value):,} values ({digest_json(value)[:8]})"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"
