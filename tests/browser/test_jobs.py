"""Jobs and people in Chromium: a job outlives page, browser and server; two people never see each other's numbers."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from analysis.pipeline import run
from analysis.spec import Spec, from_code, to_code
from capture.models import load_session
from tests.browser.conftest import ROOT, SERVER_FLAGS, free_port, wait_until_healthy
from ui.numbers import say_number

pytestmark = pytest.mark.browser

PATIENCE_MS = 240_000
LONG = Spec("outliers", text_set="stories")
TEXTS = ("Tom had a red ball.", "The old king had a golden cup and a dog.")


class Server:
    """A server with a store and a port of its own, which a test may kill and start again."""

    def __init__(self, home: Path) -> None:
        self.port, self.home = free_port(), home
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={self.port}", *SERVER_FLAGS]
        env = {**os.environ, "STEERSCOPE_HOME": str(self.home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=env)
        wait_until_healthy(self.url, self.process)

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(timeout=20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.end(signal.SIGTERM)


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[[str], Page]]:
    """`visit(url)` opens the address in a fresh profile; a killed server makes console errors, so none are counted."""
    contexts = []

    def opened(url: str) -> Page:
        contexts.append(chromium.new_context(viewport={"width": 1280, "height": 1100}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()


def address(server: Server, spec: Spec) -> str:
    return f"{server.url}/{spec.lens}?view={to_code(spec)}"


def tray(page: Page):
    return page.locator("[class*=st-key-steerscope-tray]")


def running_texts(page: Page) -> int:
    """How many texts the tray says are done, once it says so."""
    words = tray(page).get_by_text(" texts").first
    expect(words).to_be_visible(timeout=PATIENCE_MS)
    return int(re.search(r"([\d,]+) texts", words.inner_text())[1].replace(",", ""))


def open_from_tray(page: Page) -> None:
    """Press the ended job's link and see its view."""
    link = tray(page).get_by_role("link", name="stories, Outliers")
    expect(link).to_be_visible(timeout=PATIENCE_MS)
    link.click()
    page.wait_for_url("**/outliers?**", timeout=PATIENCE_MS)
    expect(page.get_by_text("read from the store").first).to_be_visible(timeout=PATIENCE_MS)


def test_a_job_outlives_page_and_browser_and_ends_with_a_notice_and_a_link(server, visit):
    page = visit(address(server, LONG))
    running_texts(page)
    page.get_by_role("link", name="Store & jobs").click()
    expect(page.get_by_role("heading", name="Store & jobs")).to_be_visible(timeout=PATIENCE_MS)
    page.reload()
    running_texts(page)
    stranger = visit(address(server, Spec("outliers", text=TEXTS[0])))
    expect(stranger.get_by_text("1 job of others")).to_be_visible(timeout=PATIENCE_MS)
    expect(tray(stranger).get_by_text("stories")).to_have_count(0)
    expect(page.get_by_text("stories, Outliers is done.")).to_be_visible(timeout=PATIENCE_MS)
    open_from_tray(page)
    tray(page).get_by_role("button").click()
    expect(tray(page)).to_have_count(0, timeout=PATIENCE_MS)


def test_a_job_goes_on_after_the_server_was_killed(server, visit):
    page = visit(address(server, LONG))
    running_texts(page)
    page.get_by_role("link", name="Store & jobs").click()
    expect(page.get_by_role("heading", name="Store & jobs")).to_be_visible(timeout=PATIENCE_MS)
    server.end(signal.SIGKILL)
    server.start()
    page.reload()
    running_texts(page)
    open_from_tray(page)
    assert from_code(page.url.partition("view=")[2]).text_set == "stories"


def test_the_server_is_left_alone_where_nothing_runs(server, visit):
    page = visit("about:blank")
    sent: list[float] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda _: sent.append(time.monotonic())))
    page.goto(address(server, Spec("outliers", text_set="tour")))
    expect(page.get_by_text("How to read this")).to_be_visible(timeout=PATIENCE_MS)
    expect(tray(page)).to_have_count(0, timeout=PATIENCE_MS)
    page.wait_for_timeout(3_000)
    before = len(sent)
    page.wait_for_timeout(4_000)
    assert before > 0
    assert len(sent) == before


def shown_ratio(page: Page) -> str:
    """The number that the inspector says first of the pinned cell."""
    words = page.get_by_text("× the median magnitude").first
    expect(words).to_be_visible(timeout=PATIENCE_MS)
    return words.inner_text()


def test_two_browsers_at_once_show_what_each_would_show_alone(server, visit):
    session = load_session("stories")
    specs = [Spec("outliers", text=text, pins={"layer": 2, "pos": 3}) for text in TEXTS]
    ratios = [run(spec, lambda *_: session, None).report.arrays["max_over_median"][2, 3] for spec in specs]
    pages = [visit(address(server, spec)) for spec in specs]
    for _ in range(2):
        for page, ratio in zip(pages, ratios, strict=True):
            assert say_number(float(ratio)) in shown_ratio(page)
            page.reload()
    names = [page.evaluate("localStorage.getItem('steerscope.visitor')") for page in pages]
    assert len({*names}) == 2
    assert all(name and len(name) == 32 for name in names)


def test_a_model_is_trained_from_the_form_and_opened_from_the_tray(server, visit, tmp_path):
    tales = "\n<|endoftext|>\n".join(f"The cat sat on the mat {n} times, and the dog saw it." for n in range(400))
    (tmp_path / "tales.txt").write_text(tales)
    page = visit(f"{server.url}/store")
    page.get_by_role("tab", name="Jobs").click()
    page.get_by_label("Name", exact=True).fill("my-cats")
    page.get_by_role("textbox", name="Folder of text", exact=True).fill(str(tmp_path))
    page.get_by_role("spinbutton", name="Length, M tokens").fill("0.02")
    form = page.get_by_test_id("stForm").filter(has_text="Train a model")
    form.get_by_role("button", name="Start").click()
    expect(tray(page).get_by_text("Train my-cats")).to_be_visible(timeout=PATIENCE_MS)
    link = tray(page).get_by_role("link", name="Train my-cats")
    # It runs at low priority beside the other tests.
    expect(link).to_be_visible(timeout=2 * PATIENCE_MS)
    link.click()
    expect(page.get_by_text("Ranked by")).to_be_visible(timeout=PATIENCE_MS)
    assert from_code(page.url.partition("view=")[2]).model == str(tmp_path / "models" / "my-cats" / "model")
