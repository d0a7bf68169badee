"""Dashboards in the store: facts, one row and one packed card for each latent, and the texts of tokens."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from capture.errors import UserError
from capture.store import ActivationStore
from capture.store_migrations import PIECE_BYTES
from capture.store_rows import insert_tables

DASHBOARD = "dashboard"
SORTS = ("latent", "density", "n_fired", "max", "mean", "mean_square", "skew", "kurtosis", "label")
ROW = (
    *("latent", "n_fired", "density", "max", "mean", "mean_square", "skew", "kurtosis", "first_bin", "bin_counts"),
    *("fires_on", "promotes", "suppresses"),
)
"""Columns of a latent's row; `label` comes after them."""
_NEWEST = """
    SELECT latent, arg_max(text, made_at) AS label FROM latent_labels WHERE sae = ? GROUP BY latent"""


@dataclass(frozen=True)
class DashboardRows:
    """What is written beside a dashboard's facts.

    `latents` has the columns of ROW, `tokens` token and text; `cards` are the packed bytes of latent 0, 1, 2, ...
    """

    latents: pa.Table
    cards: Sequence[bytes]
    tokens: pa.Table

    @property
    def n_bytes(self) -> int:
        """How much room the rows take before compression."""
        return int(self.latents.nbytes + self.tokens.nbytes + sum(map(len, self.cards)))

    def insert(self, cursor: duckdb.DuckDBPyConnection, object_id: int) -> None:
        """Write the rows of one dashboard."""
        tables = {
            "dashboard_latents": self.latents,
            "dashboard_cards": _pieces(self.cards),
            "dashboard_tokens": self.tokens,
        }
        insert_tables(cursor, object_id, tables)


def _pieces(cards: Sequence[bytes]) -> pa.Table:
    """The cards cut into rows that are small enough for quick point reads."""
    n = np.array([max(1, -(-len(card) // PIECE_BYTES)) for card in cards], np.int64)
    starts = range(0, max(map(len, cards), default=0), PIECE_BYTES)
    data = [card[start : start + PIECE_BYTES] for card in cards for start in starts if start < max(1, len(card))]
    columns = {
        "latent": pa.array(np.repeat(np.arange(len(cards), dtype=np.int32), n)),
        "n": pa.array((np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)).astype(np.int32)),
        "data": pa.array(data, pa.binary()),
    }
    return pa.table(columns)


def write_dashboard(store: ActivationStore, identity: str, facts: Mapping[str, Any], rows: DashboardRows) -> None:
    """Keep a dashboard in place of the one with its id, whole or not at all; raises UserError where it has no room."""
    store.keep(DASHBOARD, {identity: (dict(facts), b"")}, rows=rows)
    if dashboard_facts(store, identity) is None:
        raise UserError(
            f"The dashboard takes {rows.n_bytes:,} bytes; the store's limit is {store.limit_bytes:,}.",
            "Raise the limit on the Store page.",
        )


def dashboard_facts(store: ActivationStore, identity: str) -> dict[str, Any] | None:
    """The facts of one dashboard, or None."""
    with store.file.snapshot() as cursor:
        found = cursor.execute("SELECT header FROM objects WHERE kind = ? AND key = ?", [DASHBOARD, identity])
        rows = found.fetchall()
    return json.loads(rows[0][0]) if rows else None


def all_dashboard_facts(store: ActivationStore) -> list[dict[str, Any]]:
    """The facts of every dashboard, the one written last first."""
    with store.file.snapshot() as cursor:
        rows = cursor.execute("SELECT header FROM objects WHERE kind = ? ORDER BY id DESC", [DASHBOARD]).fetchall()
    return [json.loads(header) for (header,) in rows]


def remove_dashboard(store: ActivationStore, identity: str) -> None:
    """Remove one dashboard, where it is there; labels stay."""
    from capture.store_objects import remove

    with store.file.transaction() as cursor:
        remove(cursor, "kind = ? AND key = ?", [DASHBOARD, identity])


def packed_cards(store: ActivationStore, identity: str, first: int, n: int = 1) -> dict[int, bytes]:
    """The packed cards of `n` latents from `first` on; they count as used now."""
    with store.file.snapshot() as cursor:
        number = _number(store, cursor, identity)
        found = cursor.execute(
            "SELECT latent, data FROM dashboard_cards WHERE object_id = ? AND latent BETWEEN ? AND ? "
            "ORDER BY latent, n",
            [number, first, first + n - 1],
        ).fetchall()
    cards: dict[int, bytes] = {}
    for latent, data in found:
        cards[latent] = cards.get(latent, b"") + data
    return cards


def token_texts_of(store: ActivationStore, identity: str, tokens: Sequence[int]) -> dict[int, str]:
    """The texts of these tokens, as they were when the dashboard was built."""
    with store.file.snapshot() as cursor:
        number = _number(store, cursor, identity)
        found = cursor.execute(
            "SELECT token, text FROM dashboard_tokens WHERE object_id = ? AND token IN (SELECT unnest(?::INTEGER[]))",
            [number, [int(token) for token in tokens]],
        ).fetchall()
    return dict(found)


def rows_of_latents(store: ActivationStore, identity: str, sae: str, latents: Sequence[int]) -> list[tuple[Any, ...]]:
    """The rows of these latents that are there: ROW, then the label ("" where there is none)."""
    where, values = "latent IN (SELECT unnest(?::INTEGER[]))", [[int(latent) for latent in latents]]
    return _rows(store, identity, sae, where, values, "latent", 1 << 30, 0)


def found_rows(
    store: ActivationStore,
    identity: str,
    sae: str,
    search: str,
    sort: str,
    descending: bool,
    densities: tuple[float, float],
    limit: int,
    offset: int,
) -> list[tuple[Any, ...]]:
    """The rows whose density is within the two and that the search finds, in order: ROW, then the label.

    A search finds a latent by its number, by a part of its label, and by a part of a token that it fires on or
    promotes; small and capital letters are the same. Raises UserError for a sort that is not one of SORTS.
    """
    if sort not in SORTS:
        raise UserError(f"Latents cannot be sorted by {sort[:40]!r}.", f"Choose one of: {', '.join(SORTS)}.")
    where = "density BETWEEN ? AND ?"
    values: list[Any] = [*densities]
    if words := search.strip().lower():
        where += (
            " AND (latent::VARCHAR = ? OR contains(lower(label), ?) OR "
            "contains(lower(concat_ws(chr(10), array_to_string(fires_on, chr(10)), "
            "array_to_string(promotes, chr(10)))), ?))"
        )
        values += [words, words, words]
    order = f"{sort} {'DESC' if descending else 'ASC'} NULLS LAST, latent"
    return _rows(store, identity, sae, where, values, order, limit, offset)


def _rows(
    store: ActivationStore,
    identity: str,
    sae: str,
    where: str,
    values: Sequence[Any],
    order: str,
    limit: int,
    offset: int,
) -> list[tuple[Any, ...]]:
    columns = ", ".join(ROW)
    with store.file.snapshot() as cursor:
        number = _number(store, cursor, identity)
        return cursor.execute(
            f"SELECT {columns}, label FROM (SELECT d.*, coalesce(l.label, '') AS label FROM dashboard_latents d "
            f"LEFT JOIN ({_NEWEST}) l USING (latent) WHERE d.object_id = ?) "
            f"WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
            [sae, number, *values, limit, offset],
        ).fetchall()


def _number(store: ActivationStore, cursor: duckdb.DuckDBPyConnection, identity: str) -> int:
    """The number of a dashboard's rows, -1 where there is none; it counts as used now."""
    from capture.store_objects import find

    found = find(cursor, DASHBOARD, [identity])
    store.note_used(found)
    return found[identity].id if identity in found else -1
