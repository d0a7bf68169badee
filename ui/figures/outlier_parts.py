"""What the Outliers page says beside its figures: token strip, tables, and the definitions' sentences."""

from collections.abc import Mapping
from typing import Any

from analysis.report import Report
from ui.figures.part import Sentences, Strip, Table
from ui.numbers import say_number

RANKED = {
    "dim": "dimension",
    "norm_share": "share of norm",
    "kurtosis": "kurtosis",
    "persistence": "persistence",
    "one_sidedness": "one-sidedness",
    "max_abs": "largest",
    "layer": "at block",
}
SHARES = ("norm_share", "persistence", "one_sidedness")
RANKED_CAPTION = (
    "Dimensions by their share of the residual stream's squared norm. Persistence: in how many layers they are "
    "among the loudest. One-sidedness: how often they have their usual sign."
)
NO_SINK = "No head gives position 0 more than 30% of its attention on average."
NO_MASSIVE = "No token stands out."


def strip(report: Report, pins: Mapping[str, Any]) -> Strip | None:
    """The tokens, each on the heat of its highest max/median in any layer; a text set has none."""
    tokens = tuple(report.numbers["tokens"])
    if not tokens:
        return None
    highest = report.arrays["max_over_median"].max(axis=0)
    pos = pins.get("pos")
    pinned = pos if isinstance(pos, int) and not isinstance(pos, bool) and 0 <= pos < len(tokens) else None
    return Strip(tokens, highest, "largest over median magnitude, highest layer", "×", pinned, is_log=True)


def tables(report: Report) -> tuple[Table, ...]:
    """The loudest dimensions."""
    rows = tuple(tuple(_said(name, row[name]) for name in RANKED) for row in report.numbers["ranked_dims"])
    return (Table("Loudest dimensions", tuple(RANKED.values()), rows, RANKED_CAPTION),)


def _said(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name in SHARES:
        return f"{say_number(100 * value)} %"
    return str(value) if name in ("dim", "layer") else say_number(value)


def sentences(report: Report) -> tuple[Sentences, ...]:
    """What the definitions say, the sinks, the most extreme tokens, and the what-if."""
    numbers = report.numbers
    criteria = tuple(f"{one['title']}: {one['sentence']}" for one in numbers["criteria"].values())
    sinks = tuple(row["sentence"] for row in numbers["sinks"])
    massive = tuple(row["sentence"] for row in numbers["massive_tokens"])
    return (
        Sentences("What the definitions say", criteria),
        Sentences("Attention sinks", sinks or (NO_SINK,)),
        Sentences("Most extreme tokens", massive or (NO_MASSIVE,)),
        Sentences("What if", _what_if(numbers)),
    )


def _what_if(numbers: Mapping[str, Any]) -> tuple[str, ...]:
    said, effect = (numbers.get("what_if_sentence"),), numbers.get("what_if")
    if effect:
        prefix = effect.get("text_prefix", "")
        kl = f"KL from clean: {say_number(effect['kl_nats'])} nats a token."
        said = (*said, kl, f"Clean: {prefix}{effect['text_clean']}")  # type: ignore[assignment]
        said = (*said, f"Entries set to {effect['choice']}: {prefix}{effect['text_edited']}")  # type: ignore[assignment]
    return tuple(str(one) for one in said if one)
