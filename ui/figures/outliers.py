"""The figures of the Outliers page: drawn from a Report, on the page and in an export alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.report import Report
from ui import charts
from ui.figures.heat import layers_by_tokens
from ui.figures.outlier_parts import sentences, strip, tables
from ui.figures.picture import Picture

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Place", "pictures", "sentences", "shown", "strip", "tables"]
RATIO = "largest over median magnitude"
HEAT_CAPTION = (
    "The residual stream after each block: the largest magnitude in a token's vector over the median magnitude in it. "
    "Layer 0 is the first block; the colour is on a log scale."
)
TOO_LONG = "The text is too long for whole vectors to be kept; the pictures of single dimensions need up to 512."


@dataclass(frozen=True)
class Place:
    """What is pinned: a dimension of the vector at a token after a block; a text set has layers only."""

    layer: int
    pos: int
    dim: int
    offered: tuple[int, ...] = ()
    """The dimensions that hold the largest entries there."""


def shown(report: Report, pins: Mapping[str, Any]) -> Place:
    """The pinned place; what is not pinned, or not there, is where the largest ratio is."""
    ratio = report.arrays["max_over_median"]
    if report.spec.text_set:
        return Place(_index(pins.get("layer"), len(ratio), len(ratio) - 1), 0, 0)
    highest = np.unravel_index(int(ratio.argmax()), ratio.shape)
    layer = _index(pins.get("layer"), ratio.shape[0], int(highest[0]))
    pos = _index(pins.get("pos"), ratio.shape[1], int(highest[1]))
    offered = tuple(report.arrays["top_dims"][layer, pos].tolist())
    dim = _index(pins.get("dim"), report.arrays["channel_norms_raw"].shape[1], offered[0])
    return Place(layer, pos, dim, offered)


def _index(value: Any, size: int, default: int) -> int:
    is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size
    return int(value) if is_index else default


def pictures(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Every figure of the page at the pinned place."""
    place = shown(report, pins)
    if report.spec.text_set:
        return (*of_a_set(report, place), *_of_a_layer(report, place.layer))
    dims = (heat(report, place), top_dimensions(report, place), *dimension_elsewhere(report, place))
    return (*dims, *_of_a_layer(report, place.layer))


def _of_a_layer(report: Report, layer: int) -> tuple[Picture, ...]:
    return (*spread(report, layer), *rotation(report, layer), *gates(report, layer))


def heat(report: Report, place: Place) -> Picture:
    """Layers by tokens, as an export draws them; the page has the same cells to press."""
    drawn = layers_by_tokens(
        report.arrays["max_over_median"],
        report.numbers["tokens"],
        quantity=RATIO,
        unit="×",
        log=True,
        pinned=(place.layer, place.pos),
    )
    return Picture("outliers-heat", RATIO.capitalize(), HEAT_CAPTION, drawn)


def top_dimensions(report: Report, place: Place) -> Picture:
    """The largest entries of the pinned vector."""
    values = report.arrays["top_values"][place.layer, place.pos]
    pinned = place.offered.index(place.dim) if place.dim in place.offered else None
    names = [f"dim {one}" for one in place.offered]
    drawn = charts.ranked_bars(names, values, quantity="value", pinned=pinned)
    caption = f"The {len(names)} largest entries of this token's vector, with their signs."
    title = f"Largest entries after block {place.layer}, position {place.pos}"
    return Picture("outliers-top-dims", title, caption, drawn)


def dimension_elsewhere(report: Report, place: Place) -> tuple[Picture, ...]:
    """One dimension over the layers, and over the tokens at the pinned layer; none of long texts."""
    residual = report.arrays.get("residual")
    if residual is None:
        return ()
    layer, pos, dim = place.layer, place.pos, place.dim
    by_layer = charts.layer_lines({f"dim {dim}": residual[:, pos, dim]}, quantity="value", pinned=layer)
    by_token = charts.tokens_bar(report.numbers["tokens"], residual[layer, :, dim], quantity="value", pinned=pos)
    return (
        Picture(
            "outliers-dim-layers",
            f"Dimension {dim} by layer",
            f"Dimension {dim} at position {pos}, after each block.",
            by_layer,
        ),
        Picture(
            "outliers-dim-tokens",
            f"Dimension {dim} by token",
            f"Dimension {dim} after block {layer}, at each token.",
            by_token,
        ),
    )


def spread(report: Report, layer: int) -> tuple[Picture, ...]:
    """How the entries after one block are spread, and how far that is from normal; none where they are not kept."""
    residual = report.arrays.get("residual")
    if residual is None:
        return ()
    arrays = report.arrays
    drawn = charts.histogram_with_qq(
        residual[layer], arrays["normal_quantiles"], arrays["value_quantiles"][layer], quantity="entry"
    )
    caption = (
        f"All entries after block {layer}. Left: how many have each value (log count). Right: their quantiles against "
        "a normal distribution's; where the points leave the dashed line the tails are heavy."
    )
    return (Picture("outliers-distribution", f"Spread after block {layer}", caption, drawn),)


def rotation(report: Report, layer: int) -> tuple[Picture, ...]:
    """Channel norms before and after the rotation, at one layer, and the flatness of every layer."""
    arrays = report.arrays
    norms = charts.before_after_lines(
        arrays["channel_norms_raw"][layer], arrays["channel_norms_rotated"][layer], quantity="channel norm"
    )
    series = {"as is": arrays["flatness_raw"], "rotated": arrays["flatness_rotated"]}
    flat = charts.layer_lines(series, quantity="flatness", pinned=layer)
    return (
        Picture(
            "outliers-norms",
            f"Channel norms of block {layer}",
            f"Norms of the channels of block {layer}, sorted, as they are and after a Hadamard rotation.",
            norms,
        ),
        Picture(
            "outliers-flat",
            "Flatness by layer",
            "Distance of the channel norms from being all equal; 0 is flat, and low precision likes it.",
            flat,
        ),
    )


def gates(report: Report, layer: int) -> tuple[Picture, ...]:
    """Gate alignment of one layer's neurons; none where the model has no gates."""
    if not report.numbers["gates"]["applicable"]:
        return ()
    cosine, amplification = report.arrays["gate_cos"][layer], report.arrays["gate_amplification"][layer]
    names = [f"neuron {neuron}" for neuron in range(len(cosine))]
    caption = (
        f"Each neuron of block {layer}: the cosine of its gate and up weights against its largest magnitude over the "
        "median neuron's (log). Neurons far to a side and high up make outliers larger."
    )
    drawn = charts.gate_scatter(cosine, amplification, names)
    return (Picture("outliers-gates", f"Gate alignment of block {layer}", caption, drawn),)


def of_a_set(report: Report, place: Place) -> tuple[Picture, ...]:
    """The medians over a text set's tokens, by layer, and the dimensions of most norm at one layer."""
    arrays, layer = report.arrays, place.layer
    dims = charts.ranked_bars(
        [f"dim {dim}" for dim in arrays["top_dims"][layer].tolist()], arrays["top_values"][layer], quantity="mean value"
    )
    return (
        Picture(
            "outliers-set-ratio",
            f"{RATIO}, by layer".capitalize(),
            "Median over all tokens of the largest over the median magnitude of a token's vector.",
            _by_layer(arrays["max_over_median"], RATIO, "×", layer),
        ),
        Picture(
            "outliers-set-kurtosis",
            "Kurtosis by layer",
            "Kurtosis of all residual entries of a layer; a normal distribution has 3.",
            _by_layer(arrays["kurtosis"], "kurtosis", "", layer),
        ),
        Picture(
            "outliers-set-dims",
            f"Dimensions of most norm after block {layer}",
            f"The dimensions with most norm after block {layer}: their mean over all tokens.",
            dims,
        ),
    )


def _by_layer(values: np.ndarray, quantity: str, unit: str, layer: int) -> "Figure":
    return charts.layer_lines({quantity: values}, quantity=quantity, unit=unit, pinned=layer)
