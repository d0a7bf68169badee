"""What the store holds and answers, as lines of text and as CSV."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from capture.store import ActivationStore
from capture.store_query import QueryResult

MAX_CELL = 60


def store_lines(store: ActivationStore) -> list[str]:
    """What is kept by kind, the size on disk, and for each shape whether reading beat running."""
    kinds = [(one.kind, f"{one.n:,}", f"{one.n_bytes:,}", _day(one.last_used)) for one in store.contents()]
    lines = [str(store.path), *_columns([("kind", "objects", "bytes", "last used"), *kinds])]
    lines.append(f"{store.file_bytes():,} bytes on disk; the limit is {store.limit_bytes:,}")
    savings = [
        (one.wins or "not known", _ms(one.read_s), _ms(one.run_s), f"{one.n_reads} / {one.n_runs}", one.run_shape)
        for one in store.savings()
    ]
    head = ("quicker", "reading", "running", "times", "what")
    return [*lines, *(_columns([head, *savings]) if savings else [])]


def table_lines(found: QueryResult) -> list[str]:
    """The rows as columns of text, and one line on how many there are."""
    rows = [[_cell(value) for value in row] for row in found.rows]
    more = "; there are more" if found.is_cut else ""
    return [*_columns([found.columns, *rows]), f"{len(rows):,} rows in {found.seconds:.3f} s{more}"]


def as_csv(found: QueryResult) -> str:
    """The rows as CSV with a head."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows(found.rows)
    return text.getvalue()


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())[:MAX_CELL] if value is not None else ""


def _day(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.2f} ms"
