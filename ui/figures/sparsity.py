"""The figures of the Sparsity page: drawn from a Report, on the page and in an export alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.report import Report
from ui import charts
from ui.curves import Curve, Mark, curves
from ui.figures.heat import layers_by_tokens
from ui.figures.picture import Picture
from ui.figures.sparsity_neurons import frequencies, specialised
from ui.figures.sparsity_parts import budget_words, sentences, strip, tables
from ui.numbers import say_number, say_quantity

__all__ = ["Place", "pictures", "sentences", "shown", "strip", "tables"]
KEPT = "neurons kept"
HEAT_CAPTION = (
    "Share of the MLP neurons that a token keeps in each block; the others are set to zero in a run of the whole "
    "model. Layer 0 is the first block."
)
OURS = ("cett", "cett_ppl")
BUDGETS = (1.0, 5.0, 10.0)
"""Percent of perplexity that the paper uses, marked in the pictures."""
RIVAL_COLOURS = (charts.CLEAN, charts.COMPARED, charts.THIRD_STEERED, charts.SECOND_STEERED, charts.OK, charts.CAUTION)
# Which tensor has the zeros, short enough for a legend.
TENSORS = {"teal": "inputs of every matrix", "cats": "gate output"}
MAX_SHOWN_NATS = 0.3


@dataclass(frozen=True)
class Place:
    """What is pinned: a layer, and a token of it; a text set has texts in their place."""

    layer: int
    pos: int


def shown(report: Report, pins: Mapping[str, Any]) -> Place:
    """The pinned place; what is not pinned, or not there, is where most neurons are kept."""
    by_column = columns_of(report)
    highest = np.unravel_index(int(by_column.argmax()), by_column.shape)
    column = pins.get("text" if report.spec.text_set else "pos")
    return Place(
        _index(pins.get("layer"), by_column.shape[0], int(highest[0])),
        _index(column, by_column.shape[1], int(highest[1])),
    )


def _index(value: Any, size: int, default: int) -> int:
    is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size
    return int(value) if is_index else default


def columns_of(report: Report) -> np.ndarray:
    """The share kept by layer and token, of a text set by layer and text."""
    return report.arrays["text_kept_share"].T if report.spec.text_set else report.arrays["kept_share"]


def column_names(report: Report) -> list[str]:
    """What the columns are called: tokens, or the numbers of texts."""
    if report.spec.text_set:
        return [f"#{number}" for number in range(len(report.arrays["text_kept_share"]))]
    return list(report.numbers["tokens"])


def pictures(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Every figure of the page at the pinned place."""
    place = shown(report, pins)
    few = (specialised(report),) if report.spec.text_set else ()
    searched = (
        (curve(report), frontier(report), frontier(report, is_oracle=True)) if report.numbers["is_searched"] else ()
    )
    return (heat(report, place), layers(report, place), *searched, frequencies(report, place.layer), *few)


def heat(report: Report, place: Place) -> Picture:
    """Layers by tokens or by texts, as an export draws them; the page has the same cells to press."""
    drawn = layers_by_tokens(
        100 * columns_of(report), column_names(report), quantity=KEPT, unit="%", pinned=(place.layer, place.pos)
    )
    if report.spec.text_set:
        drawn.update_xaxes(title="text of the set")
    return Picture("sparsity-heat", f"Share of {KEPT}", heat_caption(report), drawn)


def heat_caption(report: Report) -> str:
    """What the heat shows, of a text or of a set."""
    return HEAT_CAPTION.replace("a token keeps", "a text's tokens keep") if report.spec.text_set else HEAT_CAPTION


def layers(report: Report, place: Place) -> Picture:
    """What each layer keeps within the budget, beside what is not zero in the dense model."""
    arrays = report.arrays
    name = f"kept at {report.numbers['p']:g} %"
    series = {"not zero anyway": 100 * arrays["nonzero_share"], name: 100 * arrays["activation_ratio"]}
    drawn = charts.layer_lines(series, quantity="share of neurons", unit="%", pinned=place.layer)
    drawn.data[1].line.color = drawn.data[1].marker.color = charts.STEERED
    drawn.data[1].line.dash = "solid"
    drawn.data[0].line.dash = "dash"
    drawn.update_yaxes(rangemode="tozero")
    caption = (
        f"Share of each layer's neurons that is kept {budget_words(report)}, and the share that is not exactly zero in "
        "the model as it is."
    )
    return Picture("sparsity-layers", "Neurons kept by layer", caption, drawn)


def curve(report: Report) -> Picture:
    """How perplexity grows as fewer neurons are kept; the answer is ringed."""
    arrays, numbers = report.arrays, report.numbers
    rise = 100 * (arrays["curve_perplexity_ratio"] - 1)
    kept = 100 * arrays["curve_activation_ratio"]
    hover = [
        f"{say_quantity(share, '%')} kept: perplexity {say_number(more)} % higher, CETT target {say_number(target)}"
        for share, more, target in zip(kept, rise, arrays["curve_target"], strict=True)
    ]
    line = Curve("CETT", kept, rise, charts.STEERED, mode="lines+markers", hover=hover)
    top = max(1.6 * numbers["p"], 16.0)
    here = (100 * numbers["activation_ratio"], 100 * (numbers["perplexity_ratio"] - 1))
    marks = [Mark("y", one, f"{one:g} %") for one in BUDGETS]
    span = (min(0.0, float(rise.min()), here[1]) - 0.08 * top, top)
    drawn = curves([line], x="neurons kept (%)", y="perplexity above dense (%)", marks=marks, ring=here, y_range=span)
    caption = (
        "Perplexity against the share of neurons kept, one point for each CETT target; the ring is the answer "
        f"{budget_words(report)}. The points are of {_texts(report)}."
    )
    return Picture("sparsity-curve", "What the neurons are worth", caption, drawn)


def frontier(report: Report, is_oracle: bool = False) -> Picture:
    """Each method's loss against the weights that a sparse decode would not have to read.

    With an oracle that knows the weak set beforehand, all three matrices can be left unread for it.
    """
    arrays, methods = report.arrays, report.numbers["methods"]
    colours = iter(RIVAL_COLOURS)
    found = []
    for number, method in enumerate(methods):
        rows = np.flatnonzero(arrays["frontier_method"] == number)
        if len(rows):
            found.append((method["slug"] in OURS, _method_curve(report, method, rows, colours, is_oracle)))
    # Ours last, so that it lies on top.
    shown = [one for is_ours, one in sorted(found, key=lambda pair: pair[0])]
    top = max(MAX_SHOWN_NATS, 1.6 * report.numbers["budget_nats"])
    low = min(0.0, float(arrays["frontier_delta_loss"].min()))
    drawn = curves(
        shown,
        x="FFN weight bytes that need not be read (%)",
        y="loss above dense (nats a token)",
        marks=[Mark("y", float(np.log1p(one / 100)), f"{one:g} %") for one in BUDGETS],
        y_range=(low - 0.02 * top, top),
        height=460,
    )
    # Below the axis's title, one method a line: names with their tensors are long.
    under = {"yref": "container", "y": 0.01, "yanchor": "bottom", "x": 0, "xanchor": "left", "orientation": "v"}
    drawn.update_layout(legend=under, margin={"t": 8, "b": 190})
    read = (
        "if an oracle named the zeros beforehand" if is_oracle else "when zeros are known only once they are computed"
    )
    caption = (
        "Each method at several budgets: what it costs in loss against the share of the FFN's weights that a sparse "
        f"decode need not read {read}, over {_texts(report)}. The legend names the tensor that has the zeros; points "
        f"above {say_number(top)} nats are out of the picture. Dotted: a perplexity 1, 5 and 10 % above the dense one."
    )
    if is_oracle:
        return Picture("sparsity-frontier-oracle", "Beside other methods, with an oracle", caption, drawn)
    return Picture("sparsity-frontier", "Beside other methods", caption, drawn)


def _method_curve(report: Report, method: Mapping[str, Any], rows: np.ndarray, colours: Any, is_oracle: bool) -> Curve:
    arrays, slug = report.arrays, method["slug"]
    share = arrays["frontier_oracle_share" if is_oracle else "frontier_skipped_share"]
    rows = rows[np.argsort(share[rows], kind="stable")]
    skipped, lost = 100 * share[rows], arrays["frontier_delta_loss"][rows]
    tensor = TENSORS.get(slug.partition("_")[0], "mlp_post")
    hover = [
        f"{method['title']}: {say_quantity(x, '%')} not read, {say_quantity(y, 'nats')}, "
        f"{say_quantity(100 * zeros, '%')} zeros on {tensor}"
        for x, y, zeros in zip(skipped, lost, arrays["frontier_zero_share"][rows], strict=True)
    ]
    is_ours, is_one = slug in OURS, len(rows) == 1
    title = method["title"].replace("p%", f"{report.numbers['p']:g}%")
    name = f"{title} · zeros on {tensor}"
    colour = charts.STEERED if is_ours else next(colours)
    mode = "markers" if is_one else "lines+markers"
    return Curve(name, skipped, lost, colour, "solid" if is_ours else "dot", 3 if is_ours else 1.5, mode, hover=hover)


def _texts(report: Report) -> str:
    if not report.spec.text_set:
        return "this text"
    n, n_all = report.numbers["n_frontier_texts"], report.numbers["n_texts"]
    return f"all {n_all} texts" if n == n_all else f"the first {n} of {n_all} texts"


def kept_at(report: Report, p: float) -> float:
    """The share of neurons kept at another budget, read off the Report's curve; NaN beyond its ends."""
    arrays = report.arrays
    order = np.argsort(arrays["curve_target"], kind="stable")
    rises = np.maximum.accumulate(arrays["curve_delta_loss"][order])
    budget = float(np.log1p(p / 100))
    if len(rises) < 2 or not rises[0] <= budget <= rises[-1]:
        return float("nan")
    return float(np.interp(budget, rises, arrays["curve_activation_ratio"][order]))
