"""The figures of the Latents page: drawn from a Report, on the page and in an export alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.report import Report
from ui import charts
from ui.figures.latent_place import Place, along_text, latents_at, shown
from ui.figures.part import Sentences, Strip, Table
from ui.figures.picture import Picture
from ui.numbers import marked, say_number

N_BARS = 12
N_BINS = 24
LISTED = ("latent", "on", "largest value", "mean value", "tokens")


def pictures(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Every figure of the page at the pinned place."""
    place = shown(report, pins)
    if report.spec.text_set:
        return of_a_set(report)
    return (*of_a_token(report, place), *of_a_latent(report, place), reconstruction(report, place))


def of_a_token(report: Report, place: Place) -> tuple[Picture, ...]:
    """The strongest latents of the pinned token; none where none fires."""
    assert place.pos is not None  # a text has tokens
    here = latents_at(report, place.pos)[:N_BARS]
    if not here:
        return ()
    token = marked(report.numbers["tokens"][place.pos])
    latents = [latent for latent, _ in here]
    drawn = charts.ranked_bars(
        [f"latent {latent}" for latent in latents],
        [value for _, value in here],
        quantity="value",
        pinned=latents.index(place.latent) if place.latent in latents else None,
    )
    title = f"Latents of {token}, position {place.pos}"
    return (Picture("latents-of-token", title, f"The {len(here)} strongest latents of this token.", drawn),)


def of_a_latent(report: Report, place: Place) -> tuple[Picture, ...]:
    """The pinned latent on each token of the text."""
    if place.latent is None:
        return ()
    values = np.nan_to_num(along_text(report, place.latent))
    drawn = charts.tokens_bar(report.numbers["tokens"], values, quantity="value", pinned=place.pos)
    n = int((values > 0).sum())
    caption = f"Latent {place.latent} on each token: it fires on {n} of {report.numbers['n_counted']} counted tokens."
    return (Picture("latents-by-token", f"Latent {place.latent} by token", caption, drawn),)


def reconstruction(report: Report, place: Place) -> Picture:
    """How much of each token's activation the SAE leaves out."""
    share = report.arrays["error_share"]
    drawn = charts.tokens_bar(
        report.numbers["tokens"], 100 * share, quantity="squared error", unit="% of squared norm", pinned=place.pos
    )
    caption = "What the SAE leaves out of each token's activation: squared error over squared norm."
    return Picture("latents-reconstruction", "Left out by token", caption, drawn)


def of_a_set(report: Report) -> tuple[Picture, ...]:
    """How often and how strongly the latents of a text set fire."""
    arrays, n = report.arrays, report.numbers["n_counted"]
    return (
        Picture(
            "latents-set-density",
            "Firing frequency",
            "Latents by the share of tokens that they fire on, on a log axis; those that never fire are left out.",
            _log_bins(arrays["fired_n"] / max(1, n), "share of tokens"),
        ),
        Picture(
            "latents-set-largest",
            "Largest values",
            "Latents by the largest value that they reach on this set, on a log axis.",
            _log_bins(arrays["fired_max"], "largest value"),
        ),
    )


def _log_bins(values: np.ndarray, quantity: str) -> Any:
    low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 1.0)
    edges = np.geomspace(low, high * 1.0001 if high > low else low * 1.1, N_BINS + 1)
    counts, _ = np.histogram(values, edges)
    return charts.binned(edges, counts, quantity=quantity, log_x=True).update_yaxes(title="latents (log count)")


def strip(report: Report, pins: Mapping[str, Any]) -> Strip | None:
    """The tokens, each on the heat of the pinned latent; a text set has none."""
    tokens = tuple(report.numbers["tokens"])
    if not tokens:
        return None
    place = shown(report, pins)
    if place.latent is None:
        return Strip(tokens, report.arrays["strongest"], "no latent fires", "", place.pos)
    return Strip(tokens, along_text(report, place.latent), f"value of latent {place.latent}", "", place.pos)


def tables(report: Report) -> tuple[Table, ...]:
    """The latents that reach the largest values."""
    rows = tuple(
        (row["latent"], marked(row["token"]), say_number(row["max"]), say_number(row["mean"]), row["n"])
        for row in report.numbers["strongest_latents"]
    )
    caption = "Largest and mean value over the tokens it fires on, the token of the largest, and how many tokens."
    return (Table("Strongest latents", LISTED, rows, caption),)


def sentences(report: Report) -> tuple[Sentences, ...]:
    """The SAE, and how it does here."""
    return (Sentences("The SAE", (about(report), report.numbers["sentence"])),)


def about(report: Report) -> str:
    """What the SAE is, on one line."""
    sae = report.numbers["sae"]
    kept = f", {sae['k']} a token" if sae["k"] else ""
    out = f" to {sae['hook_point_out']}" if sae["hook_point_out"] not in ("", sae["hook_point"]) else ""
    return (
        f"{sae['name']}: {sae['kind'].replace('_', ' ')}, {sae['d_sae']:,} latents{kept}, {sae['hook_point']}{out}, "
        f"trained on {sae['model'] or 'a model that it does not name'}, digest {sae['digest'][:12]}."
    )
