"""Opening a link: a kept view by its short id, on a server that has loaded no model, beside running the view live.

Cold is the first visitor of a fresh server; warm are the next ones, each in a tab of its own: the kept view again, or
live a text that nobody asked for yet. Each waits, uncounted, until the server is at rest again. Both are taken over
the server's own protocol, and in Chromium up to the drawn heat and the words beside it. Target: a kept view on a
running server in under a second.
Run: python -m benchmarks.bench_links
"""

import asyncio
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from playwright.sync_api import BrowserContext, ViewportSize, sync_playwright

from analysis.link import Link
from analysis.pipeline import run
from analysis.shared_view import keep_view, view_of
from analysis.spec import Spec
from analysis.text_set import read_text_set
from benchmarks.app_client import Tab, components, elements, open_tab, settle, visit
from benchmarks.expected_view import GRID, N_WORDS, PAGE
from benchmarks.record import percentiles, ratios, record
from capture.models import load_session
from capture.store import ActivationStore
from tests.browser.conftest import CHROMIUM_FLAGS, find_chromium, streamlit_server

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, WARM = 3, 5
PATIENCE_MS = 120_000
VIEWPORT: ViewportSize = {"width": 1280, "height": 900}
PLACE = re.compile(r"^position \d+, after block \d+$")
AT_REST = '[data-test-script-state="notRunning"]'
_LOG = logging.getLogger(__name__)

Opens = Callable[[str, Link], float]
"""Seconds until a link is on screen at the server of that address."""


def specs() -> list[Spec]:
    """The view that is kept, and others for the warm live runs."""
    texts = read_text_set("stories").texts[: WARM + 1]
    return [Spec(PAGE, text=" ".join(text.split()[:N_WORDS])) for text in texts]


def kept(home: Path, spec: Spec) -> Link:
    """The short link of a view that is kept in a store of its own."""
    session = load_session(spec.model, spec.dtype)
    store = ActivationStore.open(home / "steerscope.duckdb")
    try:
        report = run(spec, lambda name, dtype: session, store).report
        return Link(id=keep_view(view_of(report.spec, [report]), store))
    finally:
        store.close()


def by_protocol(url: str, link: Link) -> float:
    """Seconds of a new tab that speaks the server's protocol."""

    def is_there(tab: Tab) -> bool:
        return bool(components(tab, GRID)) and not elements(tab, "progress")

    async def opened() -> float:
        start = time.perf_counter()
        async with open_tab(url) as tab:
            await visit(tab, PAGE, link.query())
            # As in a browser: the page is read while its run may still go on.
            await settle(tab, is_there, is_ended=False)
            seconds = time.perf_counter() - start
            await settle(tab, is_there)
            return seconds

    return asyncio.run(opened())


def in_chromium(context: BrowserContext, url: str, link: Link) -> float:
    """Seconds of a new page; the browser knows Streamlit's own files from the server's second link on."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    start = time.perf_counter()
    page.goto(link.address(f"{url}/{PAGE}"))
    page.locator(".grid canvas").wait_for()
    page.get_by_text(PLACE).first.wait_for()
    seconds = time.perf_counter() - start
    page.locator(AT_REST).wait_for()
    page.close()
    return seconds


def opened(opens: Opens, links: Sequence[Link], home: Path) -> list[float]:
    """Seconds of each link in turn on a fresh server with that store."""
    with streamlit_server(ROOT / "app.py", {"STEERSCOPE_HOME": str(home)}) as url:
        return [opens(url, link) for link in links]


def round_of(opens: Opens, short: Link, kept_home: Path) -> dict[str, list[float]]:
    """One fresh server with the kept view, one with an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        copy, empty = Path(folder) / "kept", Path(folder) / "empty"
        shutil.copytree(kept_home, copy)
        frozen = opened(opens, [short] * (WARM + 1), copy)
        live = opened(opens, [Link(spec) for spec in specs()], empty)
    return {"kept cold": frozen[:1], "kept warm": frozen[1:], "live cold": live[:1], "live warm": live[1:]}


def measured(opens: Opens, short: Link, kept_home: Path) -> dict[str, list[float]]:
    """All rounds together."""
    rounds = [round_of(opens, short, kept_home) for _ in range(ROUNDS)]
    return {name: [second for one in rounds for second in one[name]] for name in rounds[0]}


def rows(backend: str, seconds: dict[str, list[float]]) -> list[dict[str, object]]:
    """Seconds of each variant, and the kept view's over the live one's."""
    shared = {
        "kernel": "app",
        "backend": backend,
        "mode": "open a link",
        "shape": "stories, 1 text",
        "dtype": "float32",
    }
    found = [{**shared, "metric": name, "unit": "s", **percentiles(values)} for name, values in seconds.items()]
    for state in ("cold", "warm"):
        shares = ratios(seconds, f"kept {state}", to=f"live {state}")
        found.append({**shared, "metric": f"kept / live, {state}", "unit": "ratio", **percentiles(shares)})
    return found


def keep(backend: str, opens: Opens, short: Link, kept_home: Path) -> None:
    """Measure one way of opening, append its rows, say the medians."""
    found = rows(backend, measured(opens, short, kept_home))
    record(found)
    for row in found:
        _LOG.info("%s, %s: %.3g %s", backend, row["metric"], row["p50"], row["unit"])


def main() -> None:
    """Measure both ways."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        short = kept(home, specs()[0])
        keep("websocket", by_protocol, short, home)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
            keep("chromium", partial(in_chromium, browser.new_context(viewport=VIEWPORT)), short, home)
            browser.close()


if __name__ == "__main__":
    main()
