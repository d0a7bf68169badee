"""Chromium and a Streamlit server for the browser tests: `serve` starts a script, `browser_page` opens it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_MS = 120_000
"""Other tests share the cores; what comes sooner is not waited for."""
expect.set_options(timeout=PATIENCE_MS)
SUBPAGE_PROBE = re.compile(r"//[^/]+/\w+/_stcore/(health|host-config)$")
LOOPBACK = {"127.0.0.1", "localhost", ""}
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
SERVER_FLAGS = [
    "--server.headless=true",
    "--server.address=127.0.0.1",
    "--server.fileWatcherType=none",
    "--browser.gatherUsageStats=false",
]


@dataclass(frozen=True)
class Watch:
    """What a page did that it must not: console errors, uncaught exceptions, requests that leave the machine."""

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        # Opened at /page, Streamlit's browser side asks for /page/_stcore/health before /_stcore/health.
        is_probe = SUBPAGE_PROBE.search(message.location.get("url", "")) is not None
        if message.type == "error" and not is_probe:
            self.errors.append(message.text)

    def request(self, request: Request) -> None:
        if (urlsplit(request.url).hostname or "") not in LOOPBACK:
            self.foreign.append(request.url)


def find_chromium() -> str | None:
    """The path of Chromium, where it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(url: str, server: subprocess.Popen[bytes], limit_s: float = 60.0) -> None:
    """Returns when the server at `url` answers; raises RuntimeError when it ends or stays silent for `limit_s`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within {limit_s:.0f} s (exit status {server.poll()})")


@contextmanager
def streamlit_server(script: Path, env: dict[str, str], log: Path | None = None) -> Iterator[str]:
    """The address of a Streamlit server that runs `script` and may write to `log`; the server ends with the block."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}", *SERVER_FLAGS]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **env}
    with nullcontext() if log is None else log.open("wb") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=surroundings, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """`serve(script, **env)` gives the address of a server that runs the script; one server for a script and env."""
    with ExitStack() as servers:
        urls: dict[tuple[str, ...], str] = {}

        def start(script: str | Path, **env: str) -> str:
            key = (str(script), *sorted(f"{name}={value}" for name, value in env.items()))
            if key not in urls:
                urls[key] = servers.enter_context(streamlit_server(ROOT / script, env))
            return urls[key]

        yield start


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless; skips where the program is not installed."""
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """`browser_page(url, width=1280, height=900, scheme="light")` opens a fresh browser profile at the address.

    When the test ends it fails if any page logged an error, threw, or asked another machine for something.
    """
    watch = Watch()
    contexts = []

    def visit(url: str, width: int = 1280, height: int = 900, scheme: str = "light") -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: watch.console(message))
        page.on("pageerror", lambda error: watch.errors.append(str(error)))
        page.on("request", lambda request: watch.request(request))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert watch.errors == []
    assert watch.foreign == []
