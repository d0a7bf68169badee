"""The app as a person meets it: first words and first view after the server starts, and a warm click, in Chromium.

Cold start stands beside a plain script that loads the bundled model with TransformerLens and captures one text; a
warm click on a cell stands beside reading the page anew. Targets: words within 2 s, first view within 10 s, and a
warm click under 0.3 s (browser and network included here, so the server's share is less).
Run: python -m benchmarks.bench_app
"""

import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.record import percentiles, record
from tests.browser.conftest import CHROMIUM_FLAGS, find_chromium, streamlit_server

ROOT = Path(__file__).resolve().parent.parent
STORIES = ROOT / "data" / "models" / "stories"
ROUNDS = 3
CLICKS = 15
PATIENCE_MS = 120_000
PLACE = re.compile(r"^position \d+, after block \d+$")
IS_GONE = "old => ![...document.querySelectorAll('p')].some(one => one.textContent === old)"
_LOG = logging.getLogger(__name__)

NOTEBOOK = f"""
import torch
from transformer_lens.model_bridge import TransformerBridge
model = TransformerBridge.boot_transformers({str(STORIES)!r}, device="cpu", dtype=torch.float32)
model.run_with_cache("Once upon a time there was a little girl named Lily.")
"""


def script_seconds() -> float:
    """Wall time of the plain script, imports included."""
    start = time.perf_counter()
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", NOTEBOOK], check=True, env=quiet, capture_output=True)
    return time.perf_counter() - start


def cold_and_warm(browser) -> tuple[float, float, float, list[float]]:
    """Seconds to the first words, to the first view, to the page anew (warm), and of each warm click."""
    with tempfile.TemporaryDirectory() as home:
        start = time.perf_counter()
        with streamlit_server(ROOT / "app.py", {"STEERSCOPE_HOME": home}) as url:
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(PATIENCE_MS)
            page.goto(url)
            page.get_by_role("heading", name="What stands out").wait_for()
            words = time.perf_counter() - start
            page.get_by_role("link", name="Show in").first.wait_for()
            view = time.perf_counter() - start
            page.get_by_role("link", name="Show in").first.click()
            page.get_by_text(PLACE).first.wait_for()
            page.wait_for_timeout(1500)
            anew = _reload_seconds(page)
            clicks = [_click_seconds(page, number) for number in range(CLICKS)]
            page.close()
    return words, view, anew, clicks


def _reload_seconds(page: Page) -> float:
    start = time.perf_counter()
    page.reload()
    page.locator(".grid canvas").wait_for()
    page.get_by_text(PLACE).first.wait_for()
    seconds = time.perf_counter() - start
    page.wait_for_timeout(1500)
    return seconds


def _click_seconds(page: Page, number: int) -> float:
    """From the press on a cell to the inspector's new place."""
    box = page.locator(".grid canvas").bounding_box()
    # The row changes with each press: two presses in turn on one cell would pin and unpin it.
    across, up = 0.15 + 0.05 * (number % CLICKS), 0.25 + 0.4 * (number % 2)
    before = page.get_by_text(PLACE).first.inner_text()
    start = time.perf_counter()
    page.locator(".grid canvas").click(position={"x": box["width"] * across, "y": box["height"] * up})
    page.wait_for_function(IS_GONE, arg=before, polling=10)
    seconds = time.perf_counter() - start
    page.wait_for_timeout(400)
    return seconds


def main() -> None:
    """Measure, append the rows, say the medians."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    scripts, words, views, anews, clicks = [], [], [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        for _ in range(ROUNDS):
            scripts.append(script_seconds())
            first, view, anew, pressed = cold_and_warm(browser)
            words.append(first)
            views.append(view)
            anews.append(anew)
            clicks += pressed
        browser.close()
    measured = {
        ("cold start", "words", "s"): words,
        ("cold start", "first view", "s"): views,
        ("cold start", "plain script", "s"): scripts,
        ("cold start", "first view / plain script", "ratio"): [a / b for a, b in zip(views, scripts, strict=True)],
        ("warm click", "click on a cell", "s"): clicks,
        ("warm click", "page anew", "s"): anews,
        ("warm click", "click / page anew", "ratio"): [percentiles(clicks)["p50"] / anew for anew in anews],
    }
    shared = {"kernel": "app", "backend": "chromium", "shape": "stories, 1280 px", "dtype": "float32"}
    rows = [
        {**shared, "mode": mode, "metric": metric, "unit": unit, **percentiles(values)}
        for (mode, metric, unit), values in measured.items()
    ]
    record(rows)
    for row in rows:
        _LOG.info("%s, %s: %.3g %s", row["mode"], row["metric"], row["p50"], row["unit"])


if __name__ == "__main__":
    main()
