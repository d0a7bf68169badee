"""What an SAE's own card says of it: `metrics.json` beside its weights, as `sae eval --out` writes it."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae.shelf import Shelved

METRICS = "metrics.json"
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class CardFigures:
    """The FVU that its card states (None where it has none), and the first position that it was trained on."""

    fvu: float | None
    from_pos: int


def card_figures(one: "Shelved") -> CardFigures:
    """The figures of an SAE's card; where nothing is said, position 0 was left out, as it is by default in training."""
    said_first = 0 if one.facts.provenance.get("skip_first") is False else 1
    path = one.folder / METRICS
    try:
        table = json.loads(path.read_text("utf-8")) if path.stat().st_size <= MAX_BYTES else {}
        fvu = {row["name"]: row["value"] for row in table["rows"]}.get("fvu")
        from_pos = table["facts"]["from_pos"]
    except (OSError, ValueError, KeyError, TypeError):
        return CardFigures(None, said_first)
    known = float(fvu) if isinstance(fvu, int | float) and not isinstance(fvu, bool) and fvu > 0 else None
    return CardFigures(known, from_pos if from_pos in (0, 1) else said_first)
