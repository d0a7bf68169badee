"""Many people at once: tabs that open links and click, each shown value compared with the Report computed alone.

A server of its own is started on the loopback with an empty store and the bundled model. Every visitor has texts,
options and pins that nobody else has; a value of another's on the page counts as mixed. The run fails on any error, on
any mixed value, and where the 95th percentile of a warm click is 2 s or more.
Run: python -m benchmarks.load [--visitors 20] [--seconds 120] [--no-record]
"""

import argparse
import asyncio
import logging
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.exceptions import WebSocketException

from benchmarks.app_client import Tab, TabError, components, elements, open_tab, press, settle, type_text, visit
from benchmarks.expected_view import (
    GRID,
    HOME,
    PAGE,
    STRIP,
    Differences,
    View,
    foreign_links,
    home_differences,
    is_shown,
    page_differences,
    pinned,
    planned_views,
)
from benchmarks.record import percentiles, record

ROOT = Path(__file__).resolve().parent.parent
N_TEXTS = 3
MOST_VISITORS, MOST_SECONDS = 60, 600.0
THINK_S = (2.0, 6.0)
LIMIT_S = 2.0
WARM = ("cell", "token", "back")
"""Actions that need no new numbers: what is asked of them is speed."""
SHARES = {"cell": 45, "token": 27, "back": 10, "text": 10, "tab": 8}
LOGGED = re.compile(r"Traceback|error [0-9a-f]{6} while", re.IGNORECASE)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How long the run lasts, how long a visitor looks and waits, and how many actions one may take."""

    seconds: float
    think_s: tuple[float, float] = THINK_S
    patience_s: float = 60.0
    most_actions: int = 400


@dataclass
class Outcome:
    """Seconds of each kind of action, what went wrong, and how many shown values were compared."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    n_values: int = 0

    @property
    def warm_clicks(self) -> list[float]:
        return sorted(second for kind in WARM for second in self.seconds.get(kind, ()))

    def note(self, who: int, kind: str, seconds: float, *noted: Differences) -> None:
        """Keep one action."""
        self.seconds.setdefault(kind, []).append(seconds)
        self.n_values += sum(one.n_values for one in noted)
        self.mixed += [f"visitor {who}, {kind}: {what}" for one in noted for what in one.found]


@dataclass
class Visitor:
    """One person: the views that are theirs, and what they last did."""

    number: int
    views: Sequence[View]
    pace: Pace
    chance: random.Random
    view: View = field(init=False)
    pins: dict[str, int] = field(default_factory=dict)
    before: tuple[View, dict[str, int]] | None = None

    def __post_init__(self) -> None:
        self.view = self.views[0]


async def drive(url: str, plan: Sequence[Sequence[View]], pace: Pace, seed: int = 0) -> Outcome:
    """All visitors at once, until the time is over."""
    outcome, end = Outcome(), time.monotonic() + pace.seconds
    people = [Visitor(number, views, pace, random.Random(seed + number)) for number, views in enumerate(plan)]
    await asyncio.gather(*(_visit_until(end, url, one, outcome) for one in people))
    return outcome


async def _visit_until(end: float, url: str, one: Visitor, outcome: Outcome) -> None:
    n_actions = 0
    # They come one after another, as people do.
    await asyncio.sleep(one.chance.uniform(0, one.pace.think_s[1]))
    while time.monotonic() < end and n_actions < one.pace.most_actions:
        n_actions += 1
        try:
            async with open_tab(url) as tab:
                await _arrive(tab, one, outcome)
                while time.monotonic() < end and n_actions < one.pace.most_actions:
                    await asyncio.sleep(one.chance.uniform(*one.pace.think_s))
                    n_actions += 1
                    (kind,) = one.chance.choices(list(SHARES), list(SHARES.values()))
                    if kind == "tab":
                        break
                    await _act(kind, tab, one, outcome)
        except (TabError, WebSocketException, OSError) as error:
            outcome.errors.append(f"visitor {one.number}: {type(error).__name__}: {error}")


async def _arrive(tab: Tab, one: Visitor, outcome: Outcome) -> None:
    """Open the landing page by its link, then the visitor's own view by its link."""
    one.pins, one.before = {}, None
    await visit(tab, "", one.view.query(HOME, {}))
    seconds = await settle(tab, lambda tab: is_shown(tab, HOME, one.view, {}), one.pace.patience_s)
    outcome.note(one.number, "open", seconds, home_differences(tab, one.view), foreign_links(tab, one.views))
    await _show(tab, one, outcome, "page")


async def _act(kind: str, tab: Tab, one: Visitor, outcome: Outcome) -> None:
    if kind == "text":
        others = [view for view in one.views if view is not one.view]
        one.before, one.view = (one.view, dict(one.pins)), one.chance.choice(others)
        area = next(area for area in elements(tab, "text_area") if area.new_element.text_area.label == "Text")
        await type_text(tab, area, one.view.spec.text)
        await _look(tab, one, outcome, kind)
    elif kind == "back" and one.before:
        one.before, (one.view, one.pins) = (one.view, dict(one.pins)), one.before
        await _show(tab, one, outcome, kind)
    else:
        await _pin(tab, one, outcome, "token" if kind == "token" else "cell")


async def _show(tab: Tab, one: Visitor, outcome: Outcome, kind: str) -> None:
    await visit(tab, PAGE, one.view.query(PAGE, one.pins))
    await _look(tab, one, outcome, kind)


async def _pin(tab: Tab, one: Visitor, outcome: Outcome, kind: str) -> None:
    """Press another cell of the heat, or another token of the strip."""
    n_layers, n_tokens = one.view.report.arrays["max_over_median"].shape
    now = pinned(one.view, one.pins)
    pos = (now[1] + one.chance.randrange(1, n_tokens)) % n_tokens
    one.before = (one.view, dict(one.pins))
    if kind == "cell":
        one.pins = {"layer": one.chance.randrange(n_layers), "pos": pos}
        ((grid, _),) = components(tab, GRID)
        await press(tab, grid, "pin", {"cell": [one.pins["layer"], pos]})
    else:
        one.pins = {**one.pins, "pos": pos}
        ((strip, _),) = components(tab, STRIP)
        await press(tab, strip, "pin", {"position": pos})
    await _look(tab, one, outcome, kind)


async def _look(tab: Tab, one: Visitor, outcome: Outcome, kind: str) -> None:
    def is_there(tab: Tab) -> bool:
        return is_shown(tab, PAGE, one.view, one.pins) and bool(components(tab, GRID))

    seconds = await settle(tab, is_there, one.pace.patience_s)
    outcome.note(one.number, kind, seconds, page_differences(tab, one.view, one.pins), foreign_links(tab, one.views))


async def warm_up(url: str, view: View) -> None:
    """Open one view before the clock starts, so that the model is loaded."""
    async with open_tab(url) as tab:
        await visit(tab, PAGE, view.query(PAGE, {}))
        await settle(tab, lambda tab: is_shown(tab, PAGE, view, {}), MOST_SECONDS)


def loaded(visitors: int, pace: Pace, script: Path = ROOT / "app.py", seed: int = 0) -> Outcome:
    """What happened when so many visitors used a server that runs `script`."""
    from capture.models import load_session
    from tests.browser.conftest import streamlit_server

    _LOG.info("computing alone what %d visitors must see", visitors)
    model = load_session("stories", "float32")
    plan = planned_views(visitors, N_TEXTS, lambda name, dtype: model)
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "server.log"
        with streamlit_server(script, {"STEERSCOPE_HOME": home}, log) as url:
            asyncio.run(warm_up(url, plan[0][0]))
            _LOG.info("%d visitors for %.0f s at %s", visitors, pace.seconds, url)
            outcome = asyncio.run(drive(url, plan, pace, seed))
        lines = log.read_text("utf-8", "replace").splitlines()
    outcome.errors += [f"server log: {line[:200]}" for line in lines if LOGGED.search(line)]
    return outcome


def failures(outcome: Outcome) -> list[str]:
    """Why the run is not good enough; nothing where it is."""
    clicks = outcome.warm_clicks
    slowest = float(np.percentile(clicks, 95)) if clicks else float("inf")
    found = [f"{len(outcome.errors)} errors"] if outcome.errors else []
    found += [f"{len(outcome.mixed)} mixed values"] if outcome.mixed else []
    found += [f"p95 of a warm click is {slowest:.2f} s, and must be under {LIMIT_S:g} s"] if slowest >= LIMIT_S else []
    return found


def table(outcome: Outcome) -> str:
    """The run in lines for a terminal."""
    lines = [f"{'action':<12}{'n':>6}{'p50 s':>9}{'p95 s':>9}{'max s':>9}"]
    for kind, seconds in [("warm click", outcome.warm_clicks), *sorted(outcome.seconds.items())]:
        p50, p95, most = np.percentile(seconds or [np.nan], (50, 95, 100))
        lines.append(f"{kind:<12}{len(seconds):>6}{p50:>9.3f}{p95:>9.3f}{most:>9.3f}")
    counts = f"{outcome.n_values:,} shown values compared, {len(outcome.mixed)} mixed, {len(outcome.errors)} errors"
    return "\n".join([*lines, counts, *outcome.errors[:10], *outcome.mixed[:10]])


def rows(outcome: Outcome, visitors: int, seconds: float) -> list[dict[str, Any]]:
    """The run as rows of results.csv."""
    shape = f"{visitors} visitors, {seconds:g} s, {os.cpu_count()} cores, stories"
    shared = {"kernel": "app", "backend": "websocket", "mode": "load", "shape": shape, "dtype": "float32"}
    kinds = {"warm click": outcome.warm_clicks, "new text": outcome.seconds.get("text", [])}
    kinds["open a link"] = outcome.seconds.get("open", [])
    timed = [{"metric": kind, "unit": "s", **percentiles(values)} for kind, values in kinds.items() if values]
    counts = {"actions": sum(map(len, outcome.seconds.values())), "shown values compared": outcome.n_values}
    counts |= {"errors": len(outcome.errors), "mixed values": len(outcome.mixed)}
    counted = [{"metric": name, "unit": "count", "p50": count} for name, count in counts.items()]
    late = {"metric": "warm click, 95th percentile", "unit": "s", "p50": float(np.percentile(outcome.warm_clicks, 95))}
    return [{**shared, **row} for row in [*timed, late, *counted]]


def main() -> None:
    """Run the load, say and keep what came out, end with 1 where it is not good enough."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Load test: many visitors of one server on the loopback.")
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--record", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    visitors, seconds = min(max(asked.visitors, 1), MOST_VISITORS), min(asked.seconds, MOST_SECONDS)
    outcome = loaded(visitors, Pace(seconds))
    _LOG.info("%s", table(outcome))
    if asked.record and outcome.warm_clicks:
        record(rows(outcome, visitors, seconds))
    if reasons := failures(outcome):
        _LOG.error("not good enough: %s", "; ".join(reasons))
        sys.exit(1)


if __name__ == "__main__":
    main()
