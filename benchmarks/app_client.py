"""One browser tab without a browser: Streamlit's own protocol over its websocket, and what the tab would show.

A tab sends what a person did (a link opened, a widget used) and keeps the elements that come back, as the browser does:
a finished run takes away what it did not draw again, a fragment's run only what belongs to that fragment. Unlike a
browser it names no messages that it remembers, so the server sends every message in full.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

TRIGGER = "$$STREAMLIT_INTERNAL_KEY_{}__events"
PATIENCE_S = 60.0
IS_WHOLE = ForwardMsg.FINISHED_SUCCESSFULLY
IS_PART = ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY


class TabError(Exception):
    """What a person would have seen instead of the page: an error, an exception, silence, a closed connection."""


@dataclass(frozen=True)
class Node:
    """What stands at one place of the page, and which run and fragment drew it."""

    delta: Delta
    run: int


@dataclass
class Tab:
    """One open tab; the functions of this module change it."""

    socket: ClientConnection
    url: str
    page: str = ""
    page_hash: str = ""
    """What the server calls the page that is open."""
    query: str = ""
    nodes: dict[tuple[int, ...], Node] = field(default_factory=dict)
    run: int = 0
    fragments: frozenset[str] = frozenset()
    is_idle: bool = False
    timers: dict[str, asyncio.Task[None]] = field(default_factory=dict)


@asynccontextmanager
async def open_tab(url: str) -> AsyncIterator[Tab]:
    """A tab connected to the server at `url` with nothing asked for yet; it is closed with the block."""
    parts = urlsplit(url)
    stream = f"ws://{parts.netloc}/_stcore/stream"
    async with connect(
        stream,
        origin=url,  # type: ignore[arg-type]
        subprotocols=["streamlit"],  # type: ignore[list-item]
        compression=None,
        max_size=None,
        open_timeout=PATIENCE_S,
    ) as socket:
        tab = Tab(socket, url)
        try:
            yield tab
        finally:
            stop_timers(tab)


async def visit(tab: Tab, page: str, query: Mapping[str, str]) -> None:
    """Open a page of the app with these query parameters, as a link on another page or the history would."""
    tab.page, tab.page_hash, tab.query = page, "", urlencode(query)
    await _send(tab)


async def press(tab: Tab, component: Delta, event: str, value: Mapping[str, Any]) -> None:
    """Use one of our own components: it sends `event` with `value`, and its fragment runs."""
    identity = component.new_element.bidi_component.id
    payload = [{"event": event, "value": dict(value)}]
    state = WidgetState(id=TRIGGER.format(identity), json_trigger_value=json.dumps(payload))
    await _send(tab, component.fragment_id, state)


async def type_text(tab: Tab, area: Delta, text: str) -> None:
    """Write into a text area and leave it."""
    await _send(tab, area.fragment_id, WidgetState(id=area.new_element.text_area.id, string_value=text))


async def _send(tab: Tab, fragment: str = "", *states: WidgetState, is_auto: bool = False) -> None:
    message = BackMsg()
    asked = message.rerun_script
    asked.query_string, asked.page_script_hash = tab.query, tab.page_hash
    asked.page_name = "" if tab.page_hash else tab.page
    asked.fragment_id, asked.is_auto_rerun = fragment, is_auto
    asked.context_info.url, asked.context_info.locale = f"{tab.url}/{tab.page}", "en-GB"
    asked.context_info.timezone = "UTC"
    asked.widget_states.widgets.extend(states)
    tab.is_idle = tab.is_idle and is_auto
    await tab.socket.send(message.SerializeToString())


async def settle(
    tab: Tab, is_there: Callable[[Tab], bool], patience_s: float = PATIENCE_S, is_ended: bool = True
) -> float:
    """Seconds until what is wanted is on the page and, unless `is_ended` is False, the run that draws it has ended.

    Raises TabError where the page shows an error, or where it does not come in time.
    """
    start = time.perf_counter()
    try:
        async with asyncio.timeout(patience_s):
            while (is_ended and not tab.is_idle) or not is_there(tab):
                receive(tab, ForwardMsg.FromString(await tab.socket.recv(decode=False)))
    except TimeoutError as error:
        raise TabError(
            f"what was asked for did not come within {patience_s:.0f} s; shown: {words(tab)[:400]}"
        ) from error
    return time.perf_counter() - start


def receive(tab: Tab, message: ForwardMsg) -> None:
    """Take one message of the server into the page."""
    kind = message.WhichOneof("type")
    if kind == "new_session":
        _begin(tab, frozenset(message.metadata.run.fragment_ids))
    elif kind == "delta":
        _draw(tab, tuple(message.metadata.delta_path), message.delta)
    elif kind == "script_finished":
        _end(tab, message.script_finished)
    elif kind == "navigation":
        tab.page_hash = message.navigation.page_script_hash
    elif kind == "page_info_changed":
        tab.query = message.page_info_changed.query_string
    elif kind == "auto_rerun":
        _repeat(tab, message.auto_rerun.fragment_id, message.auto_rerun.interval)
    elif kind == "page_not_found":
        raise TabError(f"there is no page {message.page_not_found.page_name!r}")


def _begin(tab: Tab, fragments: frozenset[str]) -> None:
    tab.run += 1
    tab.fragments, tab.is_idle = fragments, False
    if not fragments:
        stop_timers(tab)


def _draw(tab: Tab, path: tuple[int, ...], delta: Delta) -> None:
    kind = delta.WhichOneof("type")
    if kind == "new_transient":
        return
    if kind == "new_element":
        _raise_if_error(delta.new_element)
        for below in [one for one in tab.nodes if one[: len(path)] == path]:
            del tab.nodes[below]
    tab.nodes[path] = Node(delta, tab.run)


def _end(tab: Tab, status: int) -> None:
    if status not in (IS_WHOLE, IS_PART):
        if status == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
            raise TabError("the script could not be run")
        return
    stale = [
        path
        for path, node in tab.nodes.items()
        if node.run != tab.run and (status == IS_WHOLE or node.delta.fragment_id in tab.fragments)
    ]
    for path in stale:
        del tab.nodes[path]
    tab.is_idle = True


def _repeat(tab: Tab, fragment: str, interval_s: float) -> None:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(interval_s)
            await _send(tab, fragment, is_auto=True)

    if fragment not in tab.timers:
        tab.timers[fragment] = asyncio.create_task(repeat())


def stop_timers(tab: Tab) -> None:
    """Stop asking for the fragments that draw themselves again."""
    for task in tab.timers.values():
        task.cancel()
    tab.timers.clear()


def _raise_if_error(element: Element) -> None:
    kind = element.WhichOneof("type")
    if kind == "exception":
        raise TabError(f"{element.exception.type}: {element.exception.message}")
    if kind == "alert" and element.alert.format == element.alert.ERROR:
        raise TabError(element.alert.body)


def elements(tab: Tab, kind: str) -> list[Delta]:
    """The elements of one kind on the page, in its order, each with the fragment that it belongs to."""
    found = [tab.nodes[path].delta for path in sorted(tab.nodes)]
    return [one for one in found if one.HasField("new_element") and one.new_element.WhichOneof("type") == kind]


def components(tab: Tab, name: str) -> list[tuple[Delta, dict[str, Any]]]:
    """Our own components of that name on the page, each with the data that it was given."""
    found = [(one, one.new_element.bidi_component) for one in elements(tab, "bidi_component")]
    return [(one, json.loads(component.json)) for one, component in found if component.component_name == name]


def floats(text: str) -> np.ndarray[Any, Any]:
    """The float32 numbers that a component was sent."""
    return np.frombuffer(base64.b64decode(text), "<f4")


def words(tab: Tab) -> str:
    """All texts, numbers and HTML of the page, a line each."""
    return "\n".join(
        getattr(one.new_element, kind).body for kind in ("markdown", "metric", "html") for one in elements(tab, kind)
    )


def plotted(tab: Tab) -> Iterator[np.ndarray[Any, Any]]:
    """Every array of numbers that a plotly chart on the page draws."""
    for chart in elements(tab, "plotly_chart"):
        for trace in json.loads(chart.new_element.plotly_chart.spec)["data"]:
            for axis in ("x", "y"):
                if axis in trace:
                    yield _numbers(trace[axis])


def _numbers(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, dict):
        return np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]).newbyteorder("<"))
    return np.asarray([np.nan if one is None or isinstance(one, str) else one for one in value], dtype=np.float64)
