"""How many rows kernels have encoded since the process started, and how many of them float32 had to redo."""

import threading
from collections import Counter
from dataclasses import dataclass

_LOCK = threading.Lock()
_ROWS: Counter[tuple[str, str, str]] = Counter()


@dataclass(frozen=True)
class RowCount:
    """Rows that a backend of a kernel has encoded, and those redone in float32 for want of a certificate."""

    n_rows: int
    n_redone: int


def count_rows(kernel: str, backend: str, n_rows: int, n_redone: int) -> None:
    """Add a call's rows; from any thread."""
    with _LOCK:
        _ROWS[kernel, backend, "rows"] += n_rows
        _ROWS[kernel, backend, "redone"] += n_redone


def row_count(kernel: str, backend: str) -> RowCount:
    """What was counted so far."""
    with _LOCK:
        return RowCount(_ROWS[kernel, backend, "rows"], _ROWS[kernel, backend, "redone"])
