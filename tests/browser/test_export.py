"""Exported pages in a real browser, opened as files: figures, buttons, and texts that try to be more than text."""

import errno
import io
import json
import re
import socket
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from analysis.compare import REPORT_LENS
from analysis.report import Finding, Report, read_report
from analysis.spec import Spec
from analysis.view_file import ViewFile, read_view_file
from capture.errors import UserError
from tests.analysis.test_tables import FACTS, report_of, view_of
from tests.browser.conftest import Watch
from ui import figure_files as module
from ui.figure_files import dead_end, figure_files
from ui.figures import pictures_of
from ui.view_html import view_html

pytestmark = pytest.mark.browser

RUN = "window.hostile=1"
HOSTILE = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"<!--<script>{RUN}//",
    f"<img src=x onerror={RUN}>",
    f'"><svg/onload={RUN}>',
    f"'/onmouseover='{RUN}",
    f'<a href="javascript:{RUN}">b</a>',
    f"javascript:{RUN}",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'>",
    "<style>@import 'http://example.org/x.css';</style><link rel=stylesheet href=http://example.org/>",
    "<meta http-equiv=refresh content='0;url=http://example.org/'><base href=http://example.org/>",
    f"&lt;script&gt;{RUN}&lt;/script&gt;&#60;img src=x onerror={RUN}&#62;",
    f"\u202e{RUN}\u202c\u2066\ufeff\u2028\u2029\x00\x0b\x1b[31m",
    f"\uff1cscript\uff1e{RUN}\uff1c/script\uff1e",
    f"%{{x}}<br><b>{RUN}</b><sup>$\\href{{javascript:{RUN}}}{{x}}$</sup>",
    f"]]><![CDATA[<script>{RUN}</script>",
    f"'+{RUN}+'`${{{RUN}}}`\\u003cscript>",
)


def made_hostile(value: Any, texts: Iterator[str]) -> Any:
    """The same JSON with every string in it another."""
    if isinstance(value, dict):
        return {name: made_hostile(one, texts) for name, one in value.items()}
    if isinstance(value, list):
        return [made_hostile(one, texts) for one in value]
    return next(texts) if isinstance(value, str) else value


def hostile_view(text: str) -> ViewFile:
    """A view that says the text wherever a view can say something."""
    report = report_of()
    tokens = [HOSTILE[n % len(HOSTILE)] for n in range(len(report.numbers["tokens"]))]
    numbers = made_hostile(dict(report.numbers), cycle((*HOSTILE, text))) | {"tokens": tokens}
    recipes = ({"kind": text, text: text},)
    spec = Spec("outliers", model=text, text=text, options={text: text}, interventions=recipes, pins={"layer": 1})
    facts = {**FACTS, "model": text, "revision": text, "hook_points": [text], "processing": text}
    finding = Finding(text, 2.0, text, 1.0, {text: text}, text)
    made = {"at": text, "versions": {text: text}, "lens_revisions": {text: 1}}
    return ViewFile(spec, (Report(spec, facts, numbers, report.arrays, (finding,)),), made)


def compared_view() -> ViewFile:
    left, right = (replace(report_of(), spec=Spec("outliers", text=text, model=text)) for text in HOSTILE[:2])
    right = replace(right, arrays={name: array * 2 for name, array in right.arrays.items()})
    right = replace(right, numbers={**right.numbers, "tokens": [HOSTILE[3]] * len(right.numbers["tokens"])})
    measured = REPORT_LENS.combine((left, right), {})
    spec = Spec("compare", options={"left": HOSTILE[4], "right": HOSTILE[5]})
    return view_of(Report(spec, FACTS, measured.numbers, measured.arrays, measured.findings))


@pytest.fixture
def open_file(chromium: Browser, tmp_path: Path):
    """`open_file(view)` opens the view's page by file://; the test fails if it logs, asks, or lets a text run."""
    watch, pages = Watch(), []
    context = chromium.new_context(accept_downloads=True, viewport={"width": 1280, "height": 900})

    def visit(view: ViewFile) -> Page:
        path = tmp_path / f"{len(pages)}.html"
        path.write_text(view_html(view), "utf-8")
        page = context.new_page()
        page.on("console", lambda message: watch.errors.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: watch.errors.append(str(error)))
        page.on("dialog", lambda dialog: watch.errors.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: _note_request(watch, request.url, path))
        page.goto(path.as_uri())
        n_figures = sum(len(pictures_of(one, {})) for one in view.reports)
        page.wait_for_function(f"document.querySelectorAll('.plot .main-svg').length >= {n_figures}")
        pages.append(page)
        return page

    yield visit
    ran = [page.evaluate("window.hostile") for page in pages]
    context.close()
    assert (watch.errors, watch.foreign, ran) == ([], [], [None] * len(pages))


def _note_request(watch: Watch, url: str, path: Path) -> None:
    if url != path.as_uri() and not url.startswith(("data:", "blob:")):
        watch.foreign.append(url)


def saved(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.locator(button).first.click()
    return Path(download.value.path()).read_bytes()


def test_no_text_runs_or_asks_the_network(open_file):
    # Every page has all of them in its words and tokens, and one in its title, model, options and provenance.
    for text in HOSTILE[::3]:
        page = open_file(hostile_view(text))
        page.mouse.move(400, 500)
        shown = page.locator("blockquote").inner_text().split()
        assert shown == text.replace("\x00", "\ufffd").split() or "\x0b" in text


def test_a_comparison_of_hostile_views_is_drawn_as_text(open_file):
    page = open_file(compared_view())
    assert page.locator("h1").inner_text() == "Compare"
    assert page.locator("main script, main img, main iframe, main svg[onload]").count() == 0


def test_the_buttons_save_what_the_view_holds(open_file):
    view = view_of(report_of())
    page = open_file(view)
    assert saved(page, "[data-save=view]") == view.to_bytes()
    numbers = json.loads(saved(page, "[data-save=numbers]"))
    assert read_report(json.dumps(numbers["reports"][0])).digest() == view.reports[0].digest()
    with zipfile.ZipFile(io.BytesIO(saved(page, "[data-save=data]"))) as archive:
        assert read_view_file(archive.read("view.steerscope")).id == view.id


def test_the_buttons_of_a_figure_save_svg_and_png(open_file):
    page = open_file(view_of(report_of()))
    assert b"largest" not in saved(page, "[data-figure='0'][data-format=svg]")[:40]
    png = saved(page, "[data-figure='0'][data-format=png]")
    width = page.locator("#figure-0").bounding_box()["width"]
    # Twice the pixels on screen, for print.
    assert png_size(png)[0] == pytest.approx(2 * width, abs=2)


def png_size(data: bytes) -> tuple[int, int]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_screen(open_file, width):
    page = open_file(hostile_view("x" * 300))
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture
def asked_of_a_proxy(monkeypatch):
    """What Chromium asks of the proxy that stands between it and the network while figures are drawn."""
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_CONNECT = do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(module, "dead_end", lambda: nullcontext(f"http://127.0.0.1:{server.server_port}"))
    yield asked
    server.shutdown()
    server.server_close()


def test_figures_are_files_whose_page_asks_for_nothing(chromium, asked_of_a_proxy, monkeypatch):
    view = hostile_view(HOSTILE[1])
    monkeypatch.setattr(module, "pictures_of", lambda report, pins: pictures_of(report, pins)[:2])
    files = figure_files(view)
    assert sorted(files) == [f"outliers-{name}.{kind}" for name in ("heat", "top-dims") for kind in ("png", "svg")]
    height = pictures_of(view.reports[0], view.spec.pins)[0].figure.layout.height
    assert png_size(files["outliers-heat.png"]) == (2 * module.WIDTH_PX, 2 * height)
    assert b"<script" not in files["outliers-heat.svg"]
    assert "token, by position" in files["outliers-heat.svg"].decode()
    # Chromium itself asks for updates and the like; the page that draws must ask for nothing.
    assert [url for url in asked_of_a_proxy if re.search("jax|plot|cdn|example", url)] == []


def test_the_proxy_of_figures_refuses_everything():
    with dead_end() as address, socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == errno.ECONNREFUSED


def test_without_chromium_the_buttons_of_the_page_are_named(monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "/nonexistent/chromium")
    with pytest.raises(UserError, match="none was found here") as refused:
        figure_files(view_of(report_of()))
    assert "SVG and PNG buttons in the page" in refused.value.hint


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: figure_files(view_of(report_of()), ["gif"]), "'gif' was asked for"),
        (lambda: figure_files(view_of(replace(report_of(), spec=Spec("older")))), "This view has no figures"),
        (lambda: figure_files(view_of(replace(report_of(), arrays={}))), "cannot be drawn"),
    ],
)
def test_figures_that_cannot_be_are_a_sentence(make: Callable[[], object], words: str):
    with pytest.raises(UserError, match=words):
        make()
