"""Exporting a view: seconds and bytes of the page, the data and the view file, for views of the bundled model.

Seconds are this process's work on one thread. Target: a page of the bundled model stays under 8 MB.
Run: python -m benchmarks.bench_export
"""

import logging
import time
from collections.abc import Callable, Mapping

from analysis.pipeline import run
from analysis.shared_view import view_of
from analysis.spec import Spec
from analysis.tables import data_zip
from analysis.text_set import read_text_set
from analysis.view_file import ViewFile
from benchmarks.record import interleaved, percentiles, record
from capture.models import load_session
from ui.view_html import view_html

ROUNDS, BUDGET_S = 7, 60.0
LONG_CHARS = 1700
"""About 480 of the 512 tokens that the bundled model fits: whole vectors of each are in the Report."""
_LOG = logging.getLogger(__name__)

FORMS: Mapping[str, Callable[[ViewFile], bytes]] = {
    "page": lambda view: view_html(view).encode(),
    "data": data_zip,
    "view file": ViewFile.to_bytes,
}


def views() -> dict[str, ViewFile]:
    """A sentence of the tour, a text that fills the context, and the tour as a set."""
    long = " ".join(read_text_set("stories").texts)[:LONG_CHARS]
    texts = {"sentence": read_text_set("tour").texts[0], "long text": long}
    specs = {name: Spec("outliers", text=text) for name, text in texts.items()}
    specs["text set"] = Spec("outliers", text_set="tour")
    session = load_session("stories", "float32")
    reports = {name: run(spec, lambda model, dtype: session, None).report for name, spec in specs.items()}
    return {name: view_of(report.spec, [report]) for name, report in reports.items()}


def rows(shape: str, view: ViewFile) -> list[dict[str, object]]:
    """Bytes and seconds of each form of one view."""
    seconds = interleaved(
        {form: lambda make=make: make(view) for form, make in FORMS.items()},  # type: ignore[misc]
        ROUNDS,
        BUDGET_S,
        time.process_time,
    )
    shared = {"kernel": "export", "shape": f"{shape}, {view.reports[0].facts['n_tokens']} tokens"}
    found: list[dict[str, object]] = []
    for form, make in FORMS.items():
        found.append({**shared, "mode": form, "metric": "cpu time", "unit": "s", **percentiles(seconds[form])})
        size = len(make(view)) / 1e6
        found.append({**shared, "mode": form, "metric": "size", "unit": "MB", "p20": size, "p50": size, "p80": size})
    return found


def main() -> None:
    """Measure, print, append to results.csv."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = [row for shape, view in views().items() for row in rows(shape, view)]
    for row in found:
        _LOG.info("%-24s %-10s %-9s %8.3g %s", row["shape"], row["mode"], row["metric"], row["p50"], row["unit"])
    record(found)


if __name__ == "__main__":
    main()
