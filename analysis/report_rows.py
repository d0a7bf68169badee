"""A Report as the rows that the store keeps of it."""

import time
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from analysis.quantity import Quantity
from analysis.report import Report
from capture.store_rows import ReportRows

MAX_ENTRIES = 50_000
"""Larger arrays are in the Report's JSON alone, and so are whole vectors, of any size."""
WHOLE_VECTOR = "dim"
PLACED = ("layer", "pos")
SCHEMA = pa.schema(
    [
        ("quantity", pa.string()),
        ("layer", pa.int32()),
        ("pos", pa.int32()),
        ("axis", pa.string()),
        ("place", pa.int32()),
        ("value", pa.float64()),
    ]
)
EMPTY = SCHEMA.empty_table()


def rows_of(report: Report, quantities: Iterable[Quantity]) -> ReportRows:
    """Facts, tokens, statistics and findings of a Report; a value that is not a number becomes a NULL.

    Statistics are those arrays that `quantities`, the lens's, say something of.
    """
    findings = report.findings
    return ReportRows(
        facts=_facts(report),
        tokens=_tokens(report),
        statistics=_statistics(report, {one.name: one for one in quantities}),
        findings=pa.table(
            {
                "sentence": pa.array([one.sentence for one in findings], pa.string()),
                "magnitude": pa.array([one.magnitude for one in findings], pa.float64()),
                "unit": pa.array([one.unit for one in findings], pa.string()),
                "score": pa.array([one.score for one in findings], pa.float64()),
            }
        ),
    )


def _facts(report: Report) -> pa.Table:
    spec, facts = report.spec, report.facts
    row = {
        "lens": spec.lens,
        "model": str(facts.get("model", spec.model)),
        "fingerprint": str(facts.get("fingerprint", "")),
        "dtype": str(facts.get("dtype", spec.dtype)),
        "text": spec.text,
        "text_set": spec.text_set,
        "bos": facts.get("bos"),
        "n_tokens": int(facts.get("n_tokens", 0)),
        "made_at": time.time(),
    }
    return pa.Table.from_pylist([row])


def _tokens(report: Report) -> pa.Table:
    tokens = [str(token) for token in report.numbers.get("tokens", ())]
    return pa.table({"pos": pa.array(range(len(tokens)), pa.int32()), "token": pa.array(tokens, pa.string())})


def _statistics(report: Report, quantities: Mapping[str, Quantity]) -> pa.Table:
    tables = [
        table
        for name, array in report.arrays.items()
        if name in quantities and array.size <= MAX_ENTRIES
        for table in _long(quantities[name], array)
    ]
    return pa.concat_tables(tables) if tables else EMPTY


def _long(quantity: Quantity, array: np.ndarray) -> Iterator[pa.Table]:
    """One row for each entry; nothing for whole vectors, nor with more than one axis besides layer and pos."""
    axes = quantity.axes_of(array.ndim)
    others = [axis for axis in axes if axis not in PLACED]
    if len(others) > 1 or WHOLE_VECTOR in others:
        return
    places = dict(zip(axes, np.indices(array.shape, dtype=np.int32).reshape(array.ndim, -1), strict=True))
    columns = [
        _repeated(quantity.name, array.size),
        *(_places(places.get(axis), array.size) for axis in PLACED),
        _repeated(others[0] if others else None, array.size),
        _places(places.get(others[0]) if others else None, array.size),
        pa.array(array.reshape(-1).astype(np.float64), from_pandas=True),
    ]
    yield pa.table(columns, schema=SCHEMA)


def _repeated(word: str | None, n: int) -> pa.Array:
    return pa.array([word], pa.string()).take(pa.array(np.zeros(n, dtype=np.int64)))


def _places(values: np.ndarray | None, n: int) -> pa.Array:
    return pa.nulls(n, pa.int32()) if values is None else pa.array(values, pa.int32())
