"""Tables of a Report: one for each set of axes its arrays have, a row for each place; and the archive of a view's data.

The table `layer_pos` has the columns layer, pos, token, and one for every array by layer and token. Values are those of
the arrays, bit for bit in Parquet and as the shortest decimals that read back the same in CSV. Where they come from is
in each Parquet file's schema metadata and in the archive's provenance.json.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.lens import find_lens
from analysis.quantity import Quantity
from analysis.report import Report
from analysis.spec import canonical_json, to_code
from analysis.view_file import SUFFIX, ViewFile
from capture.errors import UserError

if TYPE_CHECKING:
    import pyarrow

METADATA = b"steerscope"
FINDINGS = "findings"
MAX_CSV_ROWS = 1_000_000
"""Rows of a table that is written as CSV too; larger ones are in Parquet alone."""
_NAMES_ALONG = {"pos": "token", "quantity": "quantity_name"}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def tables(report: Report) -> "dict[str, pyarrow.Table]":
    """Every array of the Report by the axes it has, such as layer_pos, and its findings; empty arrays are left out."""
    groups: dict[tuple[tuple[str, ...], tuple[int, ...]], list[tuple[Quantity, np.ndarray]]] = {}
    for quantity, axes, array in _arrays(report):
        groups.setdefault((axes, array.shape), []).append((quantity, array))
    made: dict[str, Any] = {}
    for (axes, shape), columns in groups.items():
        name = "_".join(axes) or "one"
        # Two sizes of the same axes are in no Report of a sound lens, but a file may say anything.
        made[name if name not in made else f"{name}_{len(made)}"] = _table(report, axes, shape, columns)
    return made | {FINDINGS: _findings(report)}


def _arrays(report: Report) -> Iterator[tuple[Quantity, tuple[str, ...], np.ndarray]]:
    known = _quantities(report)
    for name, array in sorted(report.arrays.items()):
        quantity = known.get(name, Quantity(name, name, ()))
        try:
            axes = quantity.axes_of(array.ndim)
        except ValueError:
            axes = tuple(f"axis{number}" for number in range(array.ndim))
        if array.size:
            yield quantity, axes, array


def _quantities(report: Report) -> dict[str, Quantity]:
    try:
        return {one.name: one for one in find_lens(report.spec.lens).quantities}
    except UserError:
        return {}


def _table(
    report: Report, axes: tuple[str, ...], shape: tuple[int, ...], columns: list[tuple[Quantity, np.ndarray]]
) -> "pyarrow.Table":
    import pyarrow as pa

    found: list[tuple[Any, Any]] = []
    for axis, size, places in zip(axes, shape, _places(shape), strict=True):
        found.append((pa.field(axis, pa.int32()), pa.array(places)))
        if (names := _names_along(report, axis, size)) is not None:
            found.append(
                (pa.field(_NAMES_ALONG[axis], pa.string()), pa.array(names, pa.string()).take(pa.array(places)))
            )
    for quantity, array in columns:
        words = {"label": quantity.label, "unit": quantity.unit}
        flat = pa.array(np.ascontiguousarray(array).reshape(-1))
        found.append((pa.field(quantity.name, flat.type, metadata=words), flat))
    schema = pa.schema([field for field, _ in found], metadata=_metadata(report))
    return pa.Table.from_arrays([column for _, column in found], schema=schema)


def _places(shape: tuple[int, ...]) -> list[np.ndarray]:
    """The index along each axis of every entry, in the arrays' own order."""
    return [places.reshape(-1) for places in np.indices(shape, dtype=np.int32)]


def _names_along(report: Report, axis: str, size: int) -> list[str] | None:
    """What the places of an axis are called: tokens, or a comparison's quantities."""
    key = {"pos": "tokens", "quantity": "quantities"}.get(axis, "")
    named = report.numbers.get(key)
    if not isinstance(named, list) or len(named) != size:
        return None
    names = [one.get("name") if isinstance(one, dict) else one for one in named]
    texts = [name for name in names if isinstance(name, str)]
    return texts if len(texts) == size else None


def _findings(report: Report) -> "pyarrow.Table":
    import pyarrow as pa

    rows = report.findings
    columns = {
        "sentence": pa.array([str(one.sentence) for one in rows], pa.string()),
        "magnitude": pa.array([float(one.magnitude) for one in rows], pa.float64()),
        "unit": pa.array([str(one.unit) for one in rows], pa.string()),
        "score": pa.array([float(one.score) for one in rows], pa.float64()),
        "place": pa.array([canonical_json(dict(one.place)) for one in rows], pa.string()),
    }
    return pa.table(columns, metadata=_metadata(report))


def provenance(report: Report) -> dict[str, Any]:
    """What was asked, of which model, how it was run, and the digest of the numbers, as plain JSON."""
    return {"spec": report.spec.to_json(), "facts": dict(report.facts), "digest": report.digest()}


def _metadata(report: Report) -> dict[bytes, bytes]:
    return {METADATA: canonical_json(provenance(report)).encode()}


def data_zip(view: ViewFile) -> bytes:
    """An archive of every table as CSV and Parquet, the Reports, the view file, and provenance.json; equal views give
    equal bytes.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        described = [_write_report(file, folder, report) for folder, report in _folders(view)]
        _add(file, f"view{SUFFIX}", view.to_bytes())
        about = {
            "view": view.id,
            "spec": view.spec.to_json(),
            "code": to_code(view.spec),
            "made": dict(view.made),
            "reports": described,
        }
        _add(file, "provenance.json", json.dumps(about, indent=1, sort_keys=True).encode())
    return archive.getvalue()


def _folders(view: ViewFile) -> Iterator[tuple[str, Report]]:
    """A folder for each Report, named after its lens; the name of a lens in a foreign file may be anything."""
    for number, report in enumerate(view.reports):
        slug = re.sub(r"[^a-z0-9_]", "_", report.spec.lens.lower())[:40]
        yield (slug if len(view.reports) == 1 else f"{number + 1}-{slug}"), report


def _write_report(file: zipfile.ZipFile, folder: str, report: Report) -> dict[str, Any]:
    _add(file, f"{folder}/report.json", report.to_json().encode())
    described = {}
    for name, table in tables(report).items():
        _add(file, f"{folder}/{name}.parquet", parquet_bytes(table))
        has_csv = table.num_rows <= MAX_CSV_ROWS
        if has_csv:
            _add(file, f"{folder}/{name}.csv", csv_bytes(table))
        described[name] = {"rows": table.num_rows, "has_csv": has_csv, "columns": _described(table)}
    return {"folder": folder, "tables": described, **provenance(report)}


def _described(table: "pyarrow.Table") -> dict[str, Mapping[str, str]]:
    return {
        field.name: {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        for field in table.schema
    }


def parquet_bytes(table: "pyarrow.Table") -> bytes:
    """The table as a Parquet file, its metadata in the schema."""
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def csv_bytes(table: "pyarrow.Table") -> bytes:
    """The table as CSV in UTF-8 with a head line."""
    from pyarrow import csv

    file = io.BytesIO()
    csv.write_csv(table, file)
    return file.getvalue()


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    # The time of writing would make equal views differ.
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(entry, data)
