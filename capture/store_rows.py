"""What the store keeps of an object besides its bytes: rows that SQL can ask for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import duckdb
import numpy as np
import pyarrow as pa

TABLES = ("report_facts", "report_tokens", "report_statistics", "report_findings")
DASHBOARD_TABLES = ("dashboard_latents", "dashboard_cards", "dashboard_tokens")


@runtime_checkable
class ObjectRows(Protocol):
    """Rows that are written with an object and removed with it."""

    @property
    def n_bytes(self) -> int: ...
    def insert(self, cursor: duckdb.DuckDBPyConnection, object_id: int) -> None: ...


@dataclass(frozen=True)
class ReportRows:
    """A Report as four tables, with the columns of TABLES less `object_id`.

    `statistics` is in long form: quantity, layer, pos, axis (a third one by name), place on it, value.
    """

    facts: pa.Table
    tokens: pa.Table
    statistics: pa.Table
    findings: pa.Table

    @property
    def n_bytes(self) -> int:
        """How much room the rows take before compression."""
        return sum(table.nbytes for table in self._tables())

    def _tables(self) -> tuple[pa.Table, ...]:
        return (self.facts, self.tokens, self.statistics, self.findings)

    def insert(self, cursor: duckdb.DuckDBPyConnection, object_id: int) -> None:
        """Write the rows of one object."""
        insert_tables(cursor, object_id, dict(zip(TABLES, self._tables(), strict=True)))


def insert_tables(cursor: duckdb.DuckDBPyConnection, object_id: int, tables: Mapping[str, pa.Table]) -> None:
    """Append each table to the store's table of that name, as rows of one object."""
    for name, table in tables.items():
        numbers = pa.array(np.full(table.num_rows, object_id, dtype=np.int64))
        cursor.register("incoming", table.append_column("object_id", numbers))
        cursor.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")
        cursor.unregister("incoming")


def remove_rows(cursor: duckdb.DuckDBPyConnection, object_ids: Iterable[int]) -> None:
    """Remove the rows of objects."""
    marks = ",".join(map(str, object_ids))
    for name in (*TABLES, *DASHBOARD_TABLES):
        cursor.execute(f"DELETE FROM {name} WHERE object_id IN ({marks})")
