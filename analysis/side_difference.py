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


def differences(left: Report, right: Report) -> list[dict[str, str]]:
    """Rows {what, left, right} in words, of all that differs in the question and in how the numbers were made."""
    sides = [_words(one) for one in (left, right)]
    names = list(dict.fromkeys(name for side in sides for name in side))
    rows = [{"what": name, "left": sides[0].get(name, "none"), "right": sides[1].get(name, "none")} for name in names]
    return [{key: _cut(value) for key, value in row.items()} for row in rows if row["left"] != row["right"]]


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """An intervention's recipe on one line; a long list is told by its length and digest."""
    kind = str(recipe.get("kind", "?")).replace("_", " ")
    fields = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in recipe.items() if name != "kind"]
    return f"{kind}: {', '.join(fields)}" if fields else kind


def _words(report: Report) -> dict[str, str]:
    spec = report.spec
    said = {
        "model": str(report.facts.get("model", spec.model)),
        "text set" if spec.text_set else "text": spec.text_set or spec.text,
        **{name: _value(report.facts.get(fact)) for fact, name in FACTS.items()},
    }
    said |= {f"option {name.replace('_', ' ')}": _value(value) for name, value in spec.options.items()}
    said |= {f"intervention {n}": recipe_words(one) for n, one in enumerate(spec.interventions, start=1)}
    return said


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
