"""Scores as lines of a table, for the command line."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steering.odds_curve import OddsCurve, odds_words
from steering.proxies import NOTATION, PROXIES

if TYPE_CHECKING:
    from steering.dose import Dose
    from steering.evaluation import Evaluation
    from steering.scores import Interval
    from steering.tuning import Tuning

LEGEND = "Every score is a proxy; `steer scores` prints the formula of each."
NO_PAIRS = "Without pairs there is no concept score: only what steering costs was measured."


def formula_lines() -> list[str]:
    """Every score with its unit, formula and source, and what the letters in them mean."""
    return [*(f"{one.label}, {one.unit}: {one.formula}. {one.source}." for one in PROXIES), NOTATION]


def score_lines(found: "Evaluation") -> list[str]:
    """The dose-response of fitted vectors, with its null."""
    lines = [f"AUROC of held-out projections at {at}: {area:.3f}" for at, area in found.auroc.items()]
    lines += _table(found.doses, [f"{_signed(null.random)} / {_signed(null.shuffled)}" for null in found.nulls])
    unit = found.facts["unit"]
    word = "steers: its interval lies above both nulls" if found.steers else "does not steer above both nulls"
    if found.chosen:
        lines.append(f"Chosen on the other half within a KL of 0.1: {found.chosen:g} ({unit}); there it {word}.")
    else:
        lines.append("On the other half no strength tried raises the concept score within a KL of 0.1.")
    return [*lines, LEGEND]


def tune_lines(found: "Tuning", unit: str) -> list[str]:
    """The dose-response of a tuned recipe, the knee, and the slider's range; `unit` is that of the strength."""
    lines = _table(found.doses)
    facts, (low, high) = found.facts, found.slider
    if found.knee is None:
        lines.append(f"No strength tried will do within a KL of {found.budget:g} on the half that chooses.")
    else:
        where = "" if found.knee.layer is None else f" at layer {found.knee.layer}"
        lines.append(f"Knee: {found.knee.strength:g} ({unit}){where}, chosen on {_counted(facts, '_choosing')}.")
    lines.append(f"Reported above: {_counted(facts, '')}, which chose nothing. Slider: {low:g} to {high:g}.")
    if found.slope is not None:
        lines.append(f"Steerability: {found.slope:.3g} nats a token a unit of strength.")
    lines += odds_lines(found.odds, unit) if found.odds is not None else [NO_PAIRS]
    return [*lines, LEGEND]


def odds_lines(curve: "OddsCurve", unit: str) -> list[str]:
    """Preference and utility odds at each strength, what their law says there, and how well it fits."""
    strengths = [one.strength for one in curve.points]
    rows = [["strength", "preference odds", "utility odds"]]
    rows += [[f"{one.strength:g}", f"{one.preference:+.2f}", f"{one.utility:+.2f}"] for one in curve.points]
    if curve.law is not None:
        rows[0] += ["by the law", ""]
        for row, *law in zip(rows[1:], curve.law.preference(strengths), curve.law.utility(strengths), strict=True):
            row += ["–" if math.isnan(one) else f"{one:+.2f}" for one in law]
    return [*_aligned(rows), *odds_words(curve, unit)]


def _counted(facts: Mapping[str, Any], which: str) -> str:
    return f"{facts[f'n_pairs{which}']:,} pairs and {facts[f'n_prompts{which}']:,} prompts"


def _table(doses: "Sequence[Dose]", nulls: Sequence[str] = ()) -> list[str]:
    has_layer = any(one.layer is not None for one in doses)
    head = ["strength", *(["layer"] if has_layer else []), "concept (95 %)", "wrong way"]
    head += [*(["null random/shuffled"] if nulls else []), "KL (95 %)", "perplexity × (95 %)", "repeated", "relevance"]
    rows = [[*head, "fluency", "overall"]]
    for place, one in enumerate(doses):
        wrong = "–" if one.anti_steerable is None else f"{one.anti_steerable:.0%}"
        row = [f"{one.strength:g}", *([str(one.layer)] if has_layer else []), _spread(one.concept, "+.3f"), wrong]
        row += [*([nulls[place]] if nulls else []), _spread(one.kl, ".3f"), _spread(one.perplexity_ratio, ".2f")]
        row += [f"{one.repetition:.0%}", f"{one.relevance_change:+.2f}", f"{one.fluency:.2f}"]
        rows.append([*row, "–" if one.overall is None else f"{one.overall:.2f}"])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _spread(value: "Interval | None", form: str) -> str:
    if value is None:
        return "–"
    return f"{value.mean:{form}} ({value.low:{form}} to {value.high:{form}})"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
