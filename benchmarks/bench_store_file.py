"""What a kept Report costs in the store's file, what compaction gives back, and a kept view beside its run.

Reports of the outliers lens on texts of the bundled set; one thread. Growth is the size of a compacted file over the
number of Reports in it; times of the last part are processor time.
Run: python -m benchmarks.bench_store_file
"""

import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from analysis import pipeline
from analysis.lens import find_lens
from analysis.report import Report
from analysis.report_rows import rows_of
from analysis.shared_view import keep_view, kept_view, view_of
from analysis.spec import Spec
from analysis.text_set import read_text_set
from benchmarks.record import interleaved, percentiles, ratios, record
from capture.models import load_session
from capture.session import ModelSession
from capture.store import ActivationStore

N_REPORTS = 30
N_ROUNDS = 3
BUDGET_S = 30.0
MODES = ("json and rows", "json alone")
_LOG = logging.getLogger(__name__)


def reports_of(session: ModelSession, n: int = N_REPORTS) -> list[Report]:
    """Reports of the outliers lens, one for each of the first texts of the bundled set."""
    texts = read_text_set("stories").texts[:n]
    return [pipeline.run(Spec("outliers", text=text), lambda *_: session, None).report for text in texts]


def keep(store: ActivationStore, report: Report, mode: str) -> None:
    """Keep a Report as the pipeline does, or without its rows."""
    rows = rows_of(report, find_lens(report.spec.lens).quantities) if mode == "json and rows" else None
    key = pipeline.report_key(report.spec)
    store.keep_report(key, report.spec.lens, report.facts["fingerprint"], report.to_json(), rows)


def growth(folder: Path, reports: list[Report]) -> list[dict[str, Any]]:
    """Bytes a Report takes, and seconds that keeping one takes, with its rows and without."""
    stores = {mode: ActivationStore.open(folder / f"{mode}.duckdb") for mode in MODES}
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for report in reports:
        for mode, store in stores.items():
            start = time.perf_counter()
            keep(store, report, mode)
            seconds[mode].append(time.perf_counter() - start)
    rows, sizes = [], {}
    for mode, store in stores.items():
        sizes[mode] = store.compact()[1] / len(reports)
        store.close()
        rows.append(_row(mode, "file growth a report", "KB", [sizes[mode] / 1000]))
        rows.append(_row(mode, "keeping a report", "ms", [1000 * one for one in seconds[mode]]))
    json_bytes = sum(len(report.to_json().encode()) for report in reports) / len(reports)
    rows.append(_row("json and rows", "file growth / json bytes", "ratio", [sizes["json and rows"] / json_bytes]))
    return rows


def compaction(folder: Path, reports: list[Report]) -> list[dict[str, Any]]:
    """Size after over size before, and seconds, where every Report was replaced several times."""
    shares, seconds = [], []
    for n in range(N_ROUNDS):
        with closing(ActivationStore.open(folder / f"compact{n}.duckdb")) as store:
            for _ in range(4):
                for report in reports:
                    keep(store, report, "json and rows")
            start = time.perf_counter()
            before, after = store.compact()
            seconds.append(time.perf_counter() - start)
            shares.append(after / before)
    return [
        _row("compaction", "size after / before", "ratio", shares),
        _row("compaction", "compaction", "ms", [1000 * one for one in seconds]),
    ]


def opening(folder: Path, reports: list[Report], session: ModelSession) -> list[dict[str, Any]]:
    """A kept view opened from the store beside the same view run again by a loaded model."""
    report = reports[0]
    with closing(ActivationStore.open(folder / "open.duckdb")) as store:
        ids = [keep_view(view_of(one.spec, [one]), store) for one in reports]
        variants: dict[str, Callable[[], Any]] = {
            "run live": lambda: pipeline.run(report.spec, lambda *_: session, None),
            "open kept view": lambda: kept_view(ids[0], store),
            "read its bytes": lambda: store.view(ids[0]),
        }
        seconds = interleaved(variants, rounds=21, budget_s=BUDGET_S, clock=time.process_time)
    rows = []
    for mode, values in seconds.items():
        rows.append(_row(mode, "link opening", "ms", [1000 * one for one in values]))
        rows.append(_row(mode, "link opening / run live", "ratio", ratios(seconds, mode, "run live")))
    return rows


def _row(mode: str, metric: str, unit: str, values: list[float]) -> dict[str, Any]:
    found = percentiles(values)
    _LOG.info("%-16s %-28s %10.3g %s", mode, metric, found["p50"], unit)
    row = {"kernel": "store", "backend": "duckdb", "mode": mode, "dtype": "float32", "metric": metric, "unit": unit}
    return {**row, "shape": f"outliers on {N_REPORTS} texts of stories", **found}


def main(keep_rows: Callable[[list[dict[str, Any]]], None] = record) -> None:
    """Measure, say and record."""
    torch.set_num_threads(1)
    session = load_session("stories", "float32")
    reports = reports_of(session)
    with tempfile.TemporaryDirectory() as name:
        rows = growth(Path(name), reports) + compaction(Path(name), reports) + opening(Path(name), reports, session)
    keep_rows(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
