"""Reading dashboards from the store: which there are, one latent's card, the table of latents, and labels.

No model and no SAE is needed: all comes from the store, and is there while a build goes on.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from capture.errors import UserError
from capture.store import ActivationStore
from capture.store_dashboards import (
    ROW,
    all_dashboard_facts,
    dashboard_facts,
    found_rows,
    packed_cards,
    remove_dashboard,
    rows_of_latents,
    token_texts_of,
)
from capture.store_labels import Label, all_labels, labels, set_label
from sae.card_codec import example_of, unpacked
from sae.latent_card import DashboardFacts, ExampleGroup, Histogram, LatentCard, LatentRow, Neighbour, TokenWeight
from sae.latent_directions import N_LOGIT_BINS
from sae.latent_stream import bin_edges

__all__ = ["all_labels", "card", "cards", "dashboards_of", "labels", "latent_rows", "remove_dashboard", "row_of"]
__all__ += ["set_label"]

QUANTILES = ((0.8, 1.0), (0.6, 0.8), (0.4, 0.6), (0.2, 0.4), (0.0, 0.2))
N_IN_QUANTILE, N_RANDOM = 4, 8
CARDS_AT_ONCE = 256


def dashboards_of(store: ActivationStore, sae_digest: str, fingerprint: str = "") -> tuple[DashboardFacts, ...]:
    """The dashboards of an SAE on the model of a fingerprint ("" for any), the one written last first."""
    found = [DashboardFacts.from_json(facts) for facts in all_dashboard_facts(store)]
    return tuple(one for one in found if one.sae == sae_digest and fingerprint in ("", one.fingerprint))


def card(store: ActivationStore, dashboard_id: str, latent: int) -> LatentCard | None:
    """One latent's card; None where the dashboard or the latent is not there."""
    return next(cards(store, dashboard_id, latent, 1), None)


def cards(store: ActivationStore, dashboard_id: str, first: int = 0, n: int | None = None) -> Iterator[LatentCard]:
    """The cards of `n` latents (all where None) from `first` on."""
    found = dashboard_facts(store, dashboard_id)
    if found is None:
        return
    facts = DashboardFacts.from_json(found)
    end = facts.d_sae if n is None else min(first + n, facts.d_sae)
    known = labels(store, facts.sae)
    for start in range(max(0, first), end, CARDS_AT_ONCE):
        size = min(CARDS_AT_ONCE, end - start)
        packs = {latent: unpacked(data) for latent, data in packed_cards(store, dashboard_id, start, size).items()}
        rows = {row[0]: row for row in rows_of_latents(store, dashboard_id, facts.sae, list(packs))}
        texts = token_texts_of(store, dashboard_id, _tokens_in(list(packs.values())))
        for latent in sorted(rows.keys() & packs.keys()):
            yield _card(facts, rows[latent], *packs[latent], texts, known)


def latent_rows(
    store: ActivationStore,
    dashboard_id: str,
    *,
    search: str = "",
    sort: str = "density",
    descending: bool = True,
    low_density: float = 0.0,
    high_density: float = 1.0,
    limit: int = 200,
    offset: int = 0,
) -> tuple[LatentRow, ...]:
    """The rows of latents whose density is within the two and that the search finds, sorted.

    A search finds a latent by its number, a part of its label, or a part of a token that it fires on or promotes.
    `sort` is one of capture.store_dashboards.SORTS; raises UserError for another.
    """
    densities = (float(low_density), float(high_density))
    rows = found_rows(
        store, dashboard_id, _sae_of(store, dashboard_id), search, sort, descending, densities, limit, offset
    )
    return tuple(map(_row, rows))


def row_of(store: ActivationStore, dashboard_id: str, latents: Sequence[int]) -> dict[int, LatentRow]:
    """The rows of these latents, by latent; one that is not there is left out."""
    rows = rows_of_latents(store, dashboard_id, _sae_of(store, dashboard_id), latents)
    return {row[0]: _row(row) for row in rows}


def _sae_of(store: ActivationStore, dashboard_id: str) -> str:
    found = dashboard_facts(store, dashboard_id)
    if found is None:
        raise UserError(
            f"The store has no dashboard {dashboard_id[:12]!r}.", "Build it again: it was cleared or made room for."
        )
    return str(found["sae"])


def _row(row: tuple[Any, ...]) -> LatentRow:
    given = dict(zip((*ROW, "label"), row, strict=True))
    histogram = _histogram(given.pop("first_bin"), given.pop("bin_counts"))
    given |= {name: tuple(given[name]) for name in ("fires_on", "promotes", "suppresses")}
    return LatentRow(**given, histogram=histogram)


def _histogram(first_bin: int, counts: Sequence[int]) -> Histogram:
    if not counts:
        return Histogram((), ())
    return Histogram(tuple(bin_edges()[first_bin : first_bin + len(counts) + 1].tolist()), tuple(counts))


def _tokens_in(packs: list[tuple[Any, Any]]) -> list[int]:
    """Every token that these cards show."""
    parts = [examples["tokens"].ravel() for _, examples in packs]
    parts += [direction[name] for direction, _ in packs for name in ("promoted", "suppressed")]
    found = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    return list(found[found >= 0].tolist())


def _card(
    facts: DashboardFacts,
    values: tuple[Any, ...],
    direction: Any,
    examples: Shaped[np.ndarray, "n"],
    texts: dict[int, str],
    known: dict[int, Label],
) -> LatentCard:
    row = _row(values)
    return LatentCard(
        facts=facts,
        latent=row.latent,
        n_tokens=facts.n_done,
        n_fired=row.n_fired,
        density=row.density,
        max=row.max,
        mean=row.mean,
        mean_square=row.mean_square,
        skew=row.skew,
        kurtosis=row.kurtosis,
        histogram=row.histogram,
        groups=_groups(row, examples, texts),
        promoted=_weights(direction, "promoted", texts),
        suppressed=_weights(direction, "suppressed", texts),
        logits=_logits(direction),
        neighbours=_neighbours(direction, known),
        label=known.get(row.latent),
    )


def _weights(direction: Any, name: str, texts: dict[int, str]) -> tuple[TokenWeight, ...]:
    pairs = zip(direction[name].tolist(), direction[f"{name}_weight"].tolist(), strict=True)
    return tuple(TokenWeight(token, texts.get(token, f"<{token}>"), weight) for token, weight in pairs if token >= 0)


def _logits(direction: Any) -> Histogram:
    if direction["promoted"][0] < 0:
        return Histogram((), ())
    edges = np.linspace(direction["logit_low"], direction["logit_high"], N_LOGIT_BINS + 1)
    return Histogram(tuple(edges.tolist()), tuple(direction["logit_counts"].tolist()))


def _neighbours(direction: Any, known: dict[int, Label]) -> tuple[Neighbour, ...]:
    pairs = zip(direction["neighbour"].tolist(), direction["cosine"].tolist(), strict=True)
    return tuple(
        Neighbour(other, cosine, known[other].text if other in known else "") for other, cosine in pairs if other >= 0
    )


def _groups(row: LatentRow, examples: Shaped[np.ndarray, "n"], texts: dict[int, str]) -> tuple[ExampleGroup, ...]:
    """Top, five ranges of firing values by rank, and a draw; groups without an example are left out."""
    if not row.n_fired:
        return ()

    def group(kind: str, title: str, low: float, high: float, n: int, chosen: Any) -> ExampleGroup:
        return ExampleGroup(kind, title, low, high, n, tuple(example_of(one, texts) for one in chosen))

    top, drawn = examples[examples["is_top"]], examples[~examples["is_top"]]
    lowest, upto = row.histogram.edges[0], np.cumsum(row.histogram.counts)
    found = [group("top", "Top", float(top["value"].min()), row.max, row.n_fired, top)]
    for first, last in QUANTILES:
        low, high = (_value_at(row.histogram, upto, share) for share in (first, last))
        is_in = (drawn["value"] >= low) & (drawn["value"] < high if last < 1 else True)
        n = round(row.n_fired * (last - first))
        title = f"{first:.0%} to {last:.0%} of firing values"
        found.append(group("quantile", title, low, min(high, row.max), n, drawn[is_in][:N_IN_QUANTILE]))
    found.append(group("random", "Random", lowest, row.max, row.n_fired, drawn[:N_RANDOM]))
    return tuple(one for one in found if one.examples)


def _value_at(histogram: Histogram, upto: Int[np.ndarray, "bins"], share: float) -> float:
    """The value below which that share of the firing values lies, interpolated within its bin."""
    rank = share * float(upto[-1])
    place = min(int(np.searchsorted(upto, rank)), len(upto) - 1)
    before = float(upto[place - 1]) if place else 0.0
    part = (rank - before) / max(1, histogram.counts[place])
    return histogram.edges[place] + part * (histogram.edges[place + 1] - histogram.edges[place])
