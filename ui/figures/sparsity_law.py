"""The figures of the Sparsity law page: drawn from a Report, on the page and in an export alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.report import Report
from ui import charts
from ui.curves import Curve, Mark, curves
from ui.figures.part import Sentences, Table
from ui.figures.picture import Picture
from ui.numbers import say_number, say_quantity

TOKENS = "tokens seen in training (billions)"
RATIO = "activation ratio (%)"
MEASURED = "measured"
# Small models first, so that the largest is the fullest line.
PUBLISHED_DASHES = ("dot", "dash", "dashdot", "longdash", "longdashdot", "solid")


def pictures(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """The measured points and their law, the same beside the published curves, and the layers."""
    return (law(report), published(report), layers(report))


def law(report: Report) -> Picture:
    """The measured points with the law fitted to them and its interval."""
    numbers, arrays = report.numbers, report.arrays
    shown = [_points(report)]
    if numbers["fit"]:
        span = (float(arrays["ratio"].min()), float(arrays["ratio"].max()))
        shown.insert(0, _fitted(report, _view_of(span)))
    low, high = (100 * end for end in _view_of((float(arrays["ratio"].min()), float(arrays["ratio"].max()))))
    limit = next(
        (one["value"] for one in (numbers["fit"] or {"parameters": []})["parameters"] if one["name"] == "A0"), 0
    )
    marks = (
        [Mark("y", 100 * limit, f"limit of the fit, {say_number(100 * limit)} %")] if low <= 100 * limit <= high else []
    )
    drawn = curves(shown, x=TOKENS, y=RATIO, log_x=True, marks=marks, y_range=(low, high))
    caption = f"Share of neurons that stay active at the budget of {numbers['p']:g} %, at each checkpoint."
    if numbers["fit"]:
        caption += (
            f" The line is the law {numbers['formula']} fitted to the points; the band is its "
            f"{numbers['confidence']:.0%} interval, cut off at the picture's edge."
        )
    return Picture("sparsity-law", "Activation ratio over training", caption, drawn)


def _view_of(span: tuple[float, float]) -> tuple[float, float]:
    """The part of the axis that is shown: the points and around them half their spread, at least five percent."""
    room = max(0.05, (span[1] - span[0]) / 2)
    return max(0.0, span[0] - room), min(1.0, span[1] + room)


def _points(report: Report) -> Curve:
    hover = [
        f"{one['name']}: {say_number(one['tokens'])} tokens, {say_quantity(100 * one['ratio'], '%')} active, "
        f"{say_number(one['delta_loss_nats'])} nats lost"
        for one in report.numbers["points"]
    ]
    colour = charts.STEERED
    arrays = report.arrays
    return Curve(MEASURED, arrays["tokens_b"], 100 * arrays["ratio"], colour, mode="markers", hover=hover)


def _fitted(report: Report, view: tuple[float, float]) -> Curve:
    arrays = report.arrays
    low, high = (np.clip(arrays[name], *view) * 100 for name in ("curve_low", "curve_high"))
    has_band = bool(np.isfinite(low).all())
    ratio = np.where(
        (arrays["curve_ratio"] >= view[0]) & (arrays["curve_ratio"] <= view[1]), arrays["curve_ratio"], np.nan
    )
    band = {"low": low, "high": high} if has_band else {}
    return Curve("fitted law", arrays["curve_tokens_b"], 100 * ratio, charts.STEERED, dash="dash", **band)


def published(report: Report) -> Picture:
    """The measured points beside the published curves of the same activation, each where it was measured."""
    arrays, names = report.arrays, report.numbers["published"]
    shown = [
        Curve(f"{name} (published)", arrays["published_tokens_b"], 100 * row, charts.CLEAN, dash, width=1.5)
        for name, row, dash in zip(names, arrays["published_ratio"], PUBLISHED_DASHES, strict=False)
    ]
    drawn = curves([*shown, _points(report)], x=TOKENS, y=RATIO, log_x=True, height=340)
    caption = (
        "The same points beside the published laws of models of this activation, from 10 to 800 billion tokens. Those "
        "models, texts and budgets are others; what can be compared is the direction and the level."
    )
    return Picture("sparsity-law-published", "Beside the published laws", caption, drawn)


def layers(report: Report) -> Picture:
    """The activation ratio of each layer, one line a checkpoint, the last in full colour."""
    rows = report.numbers["points"]
    by_layer = 100 * report.arrays["ratio_by_layer"]
    drawn = charts.layer_lines(
        {f"{say_number(one['tokens'])} tokens": row for one, row in zip(rows, by_layer, strict=True)},
        quantity="activation ratio",
        unit="%",
    )
    for place, trace in enumerate(drawn.data):
        is_last = place == len(rows) - 1
        trace.line.color = trace.marker.color = charts.STEERED if is_last else charts.CLEAN
        trace.line.dash = "solid" if is_last else charts.DASHES[1 + place % (len(charts.DASHES) - 1)]
        trace.opacity = 1 if is_last else 0.35 + 0.4 * place / max(1, len(rows) - 1)
    caption = "Share of neurons that stay active in each layer, one line a checkpoint; the last one stands out."
    return Picture("sparsity-law-layers", "Activation ratio by layer and checkpoint", caption, drawn)


def tables(report: Report) -> tuple[Table, ...]:
    """The measured points and the law's parameters."""
    rows = tuple(
        (
            one["name"],
            say_number(one["tokens"]),
            say_quantity(100 * one["ratio"], "%"),
            say_number(one["loss_dense"]),
            say_number(one["delta_loss_nats"]),
            "yes" if one["is_joint"] else "no",
        )
        for one in report.numbers["points"]
    )
    columns = ("checkpoint", "tokens", "active", "loss, nats", "lost, nats", "CETT found on it")
    measured = Table("Checkpoints", columns, rows, POINTS_CAPTION)
    return (measured, *([_parameters(report)] if report.numbers["fit"] else []))


POINTS_CAPTION = (
    "Lost: the rise of the loss when the weak neurons are left out. One CETT target is found jointly on the "
    "checkpoints marked yes, by their mean perplexity ratio, and applied to all, as the paper does."
)


def _parameters(report: Report) -> Table:
    rows = tuple(
        (one["name"], say_number(one["value"]), _interval(one["interval"]))
        for one in report.numbers["fit"]["parameters"]
    )
    caption = "D in billions of tokens. An interval that is wider than its value is large is not given."
    return Table("Parameters of the law", ("parameter", "value", "95 % interval"), rows, caption)


def _interval(interval: Any) -> str:
    return f"{say_number(interval[0])} to {say_number(interval[1])}" if interval else "not identified"


def sentences(report: Report) -> tuple[Sentences, ...]:
    """What the points and the fit say."""
    return (Sentences("In words", (report.numbers["trend"], report.numbers["sentence"])),)
