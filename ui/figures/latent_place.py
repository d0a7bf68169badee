"""Which token and which latent a view of latents shows, and what they are worth there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.report import Report


@dataclass(frozen=True)
class Place:
    """What is pinned: a token (None for a text set) and a latent (None where none fires)."""

    pos: int | None
    latent: int | None
    is_pinned: bool = False
    """Whether a person chose the latent, rather than the token."""


def shown(report: Report, pins: Mapping[str, Any]) -> Place:
    """The pinned place; what is not pinned, or not there, is where the strongest latent is."""
    latent = _index(pins.get("latent"), int(report.numbers["sae"]["d_sae"]))
    if report.spec.text_set:
        return Place(None, _strongest(report) if latent is None else latent, latent is not None)
    strongest = np.nan_to_num(report.arrays["strongest"])
    pos = _index(pins.get("pos"), len(strongest))
    pos = int(strongest.argmax()) if pos is None else pos
    if latent is not None:
        return Place(pos, latent, True)
    here = latents_at(report, pos)
    return Place(pos, here[0][0] if here else _strongest(report))


def _index(value: Any, size: int) -> int | None:
    is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size
    return int(value) if is_index else None


def _strongest(report: Report) -> int | None:
    largest = report.arrays["fired_max"]
    return int(report.arrays["fired"][largest.argmax()]) if len(largest) else None


def latents_at(report: Report, pos: int) -> list[tuple[int, float]]:
    """The latents of one token with their values, largest first."""
    values, indices = report.arrays["values"][pos], report.arrays["indices"][pos]
    return [(int(latent), float(value)) for latent, value in zip(indices, values, strict=True) if value > 0]


def along_text(report: Report, latent: int) -> np.ndarray:
    """A latent's value on each token of a text; NaN where the SAE is not asked."""
    values, indices = report.arrays["values"], report.arrays["indices"]
    found = np.where(indices == latent, values, 0.0).max(axis=1, initial=0.0)
    return np.where(np.isnan(report.arrays["l0"]), np.nan, found).astype(np.float32)
