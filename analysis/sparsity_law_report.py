"""What a Report of the sparsity law says: measured points, the law fitted to them, the published curves beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.lens import Measured
from analysis.report import Finding
from analysis.sparsity_laws import (
    CONFIDENCE,
    PARAMETERS,
    PUBLISHED,
    PUBLISHED_RANGE_B,
    RELU,
    TOKENS,
    Fit,
    fit_law,
    fit_sentence,
    form_of,
)
from capture.errors import UserError

N_CURVE = 101
BEYOND = 4.0
"""The fitted law is drawn to this multiple of the last checkpoint's tokens."""


@dataclass(frozen=True)
class Point:
    """One checkpoint: its activation ratio of each layer, and its loss dense and sparse, in nats a token."""

    name: str
    n_tokens: int
    ratios: tuple[float, ...]
    loss_dense: float
    loss_sparse: float
    is_joint: bool
    """Whether the CETT target was found on it."""

    @property
    def ratio(self) -> float:
        """The mean over layers, as the paper reports it."""
        return float(np.mean(self.ratios))


def report_of(points: Sequence[Point], activation: str, p: float, cett: float) -> Measured:
    """The Report's numbers, arrays and finding; `cett` is the target found jointly for the budget of `p` percent."""
    form = form_of(activation)
    tokens_b = np.array([point.n_tokens / TOKENS for point in points])
    ratios = np.array([point.ratio for point in points])
    fit, sentence = _fit(form, tokens_b, ratios)
    numbers: dict[str, Any] = {
        "activation": activation,
        "form": form,
        "formula": "A(D) = exp(-c D^alpha + b) + A0" if form == RELU else "A(D) = A0 - c / D^alpha",
        "p": p,
        "cett": cett,
        "points": [_row(point) for point in points],
        "fit": _about(fit) if fit else None,
        "sentence": sentence,
        "trend": _trend(form, points),
        "published": [name for name, law in PUBLISHED.items() if law.form == form],
        "confidence": CONFIDENCE,
    }
    return Measured(numbers, _arrays(points, tokens_b, ratios, fit, form), (_finding(points),))


def _fit(form: str, tokens_b: np.ndarray, ratios: np.ndarray) -> tuple[Fit | None, str]:
    try:
        fit = fit_law(form, tokens_b, ratios)
    except UserError as error:
        return None, error.message
    return fit, fit_sentence(fit)


def _row(point: Point) -> dict[str, Any]:
    return {
        "name": point.name,
        "tokens": point.n_tokens,
        "ratio": point.ratio,
        "loss_dense": point.loss_dense,
        "delta_loss_nats": point.loss_sparse - point.loss_dense,
        "is_joint": point.is_joint,
    }


def _about(fit: Fit) -> dict[str, Any]:
    law = fit.law
    values = {"alpha": law.alpha, "c": law.c, "b": law.b, "A0": law.limit}
    return {
        "parameters": [
            {"name": name, "value": values[name], "interval": list(fit.intervals[name] or ()) or None}
            for name in PARAMETERS[law.form]
        ],
        "residual": fit.residual,
        "is_identified": fit.is_identified,
    }


def _trend(form: str, points: Sequence[Point]) -> str:
    """Whether the measured points go the way of the law."""
    first, last = points[0], points[-1]
    expected = "falls" if form == RELU else "rises"
    goes = "falls" if last.ratio < first.ratio else "rises"
    said = f"From {_tokens(first)} to {_tokens(last)} tokens the activation ratio goes from {_percent(first.ratio)} to "
    said += f"{_percent(last.ratio)}"
    if goes == expected:
        return f"{said}: it {goes}, as the law of this activation says."
    return f"{said}: it {goes}, where the law of this activation {expected}, so that a fit of it says nothing here."


def _tokens(point: Point) -> str:
    millions = point.n_tokens / 1e6
    return f"{millions:.3g} M" if millions < 1e3 else f"{millions / 1e3:.3g} B"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _arrays(
    points: Sequence[Point], tokens_b: np.ndarray, ratios: np.ndarray, fit: Fit | None, form: str
) -> dict[str, np.ndarray]:
    far = np.geomspace(*PUBLISHED_RANGE_B, N_CURVE)
    near = np.geomspace(tokens_b.min(), tokens_b.max() * BEYOND, N_CURVE)
    unknown = np.full(N_CURVE, np.nan)
    low, high = (fit.band(near) if fit else None) or (unknown, unknown)
    return {
        "tokens_b": tokens_b,
        "ratio": ratios,
        "ratio_by_layer": np.array([point.ratios for point in points]),
        "curve_tokens_b": near,
        "curve_ratio": fit.law.ratio(near) if fit else unknown,
        "curve_low": low,
        "curve_high": high,
        "published_tokens_b": far,
        "published_ratio": np.array([law.ratio(far) for law in PUBLISHED.values() if law.form == form]),
    }


def _finding(points: Sequence[Point]) -> Finding:
    first, last = points[0], points[-1]
    sentence = (
        f"From {_tokens(first)} to {_tokens(last)} tokens of training the share of active neurons went from "
        f"{_percent(first.ratio)} to {_percent(last.ratio)}."
    )
    score = float(abs(np.log2(max(last.ratio, 1e-6) / max(first.ratio, 1e-6))))
    series = tuple(point.ratio for point in points)
    return Finding(sentence, last.ratio, "of neurons active", score, {"checkpoint": len(points) - 1}, series=series)
