"""What one visitor must see: Reports computed alone beforehand, compared value by value with what a tab shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import ArrayLike

from analysis.lens import unasked_lenses
from analysis.link import link_of
from analysis.pipeline import Load, run
from analysis.report import Report
from analysis.spec import Spec, to_code
from analysis.text_set import read_text_set
from benchmarks.app_client import Tab, components, elements, floats, plotted, words
from capture.errors import UserError
from ui.numbers import say_quantity
from ui.pages.what_stands_out import chosen
from ui.words import plain

HOME, PAGE = "what_stands_out", "outliers"
GRID, STRIP = "steerscope_heat_grid", "steerscope_token_strip"
RATIO = "max_over_median"
N_WORDS = 24
CHOICES = ({}, {"what_if": "zero"}, {"what_if": "mean"}, {"criterion": "spike"}, {"criterion": "channel_outlier"})


@dataclass(frozen=True)
class View:
    """A Spec and its Report, and the sentences that the landing page must say about the same text."""

    spec: Spec
    report: Report
    sentences: tuple[str, ...]

    def query(self, page: str, pins: Mapping[str, Any]) -> dict[str, str]:
        """The query parameters of the link to this text on a page with these pins."""
        options = self.spec.options if page == PAGE else {}
        return {"view": to_code(self.spec.with_(lens=page, options=options, pins=dict(pins)))}


def planned_views(n_visitors: int, n_texts: int, load: Load) -> tuple[tuple[View, ...], ...]:
    """For each visitor the views of texts that nobody else has, with options of their own; nothing is stored."""
    texts = [" ".join(text.split()[:N_WORDS]) for text in read_text_set("stories").texts]
    if len(set(texts[: n_visitors * n_texts])) < n_visitors * n_texts:
        raise ValueError(f"{n_visitors} visitors with {n_texts} texts each need as many texts that differ")
    return tuple(
        tuple(_view(text, number, load) for text in texts[number * n_texts : (number + 1) * n_texts])
        for number in range(n_visitors)
    )


def _view(text: str, number: int, load: Load) -> View:
    spec = Spec(PAGE, text=text, bos=number % 3 != 2, options=CHOICES[number % len(CHOICES)])
    alone = {slug: run(spec.with_(lens=slug, options={}), load, None).report for slug in unasked_lenses()}
    sentences = tuple(plain(one.sentence) for one in chosen(list(alone.values())))
    return View(spec, run(spec, load, None).report if spec.options else alone[PAGE], sentences)


def pinned(view: View, pins: Mapping[str, int]) -> tuple[int, int]:
    """The layer and position on screen with these pins: the highest cell's where nothing of this text is pinned."""
    ratio = view.report.arrays[RATIO]
    highest = [int(index) for index in np.unravel_index(int(ratio.argmax()), ratio.shape)]
    # A pin stays in the address when a shorter text takes the place of the one it was set on.
    layer, pos = (pins.get(name, size) for name, size in zip(("layer", "pos"), ratio.shape, strict=True))
    return layer if layer < ratio.shape[0] else highest[0], pos if pos < ratio.shape[1] else highest[1]


def is_shown(tab: Tab, page: str, view: View, pins: Mapping[str, int]) -> bool:
    """Whether the address says that this page shows this view with these pins, and nothing is still under way."""
    if elements(tab, "progress") or not components(tab, STRIP):
        return False
    try:
        found = link_of(dict(parse_qsl(tab.query))).spec
    except UserError:
        return False
    wanted = view.spec.with_(lens=page, options=view.spec.options if page == PAGE else {}, pins=dict(pins))
    return found is not None and found.with_(fingerprint="") == wanted


@dataclass
class Differences:
    """What a tab showed that its Report does not say, and how many values were compared."""

    found: list[str]
    n_values: int = 0

    def compare(self, what: str, shown: ArrayLike, wanted: ArrayLike) -> None:
        """Compare bit for bit as float32; NaN equals NaN."""
        a, b = np.asarray(shown, "<f4"), np.asarray(wanted, "<f4")
        self.n_values += b.size
        if a.size != b.size or not np.array_equal(a.reshape(-1), b.reshape(-1), equal_nan=True):
            self.found.append(f"{what} is another's: {a.size} values against {b.size}")

    def expect(self, what: str, is_there: bool) -> None:
        """Note a text that must be there."""
        self.n_values += 1
        if not is_there:
            self.found.append(f"{what} is not there")


def home_differences(tab: Tab, view: View) -> Differences:
    """How the landing page on screen differs from what its text gives alone."""
    noted, said = Differences([]), words(tab)
    for sentence in view.sentences:
        noted.expect(f"the finding {sentence!r}", sentence in said)
    for _, data in components(tab, STRIP):
        _compare_strip(noted, data, view)
    return noted


def page_differences(tab: Tab, view: View, pins: Mapping[str, int]) -> Differences:
    """How the Outliers page on screen differs from the Report of its view with these pins."""
    noted, arrays = Differences([]), view.report.arrays
    layer, pos = pinned(view, pins)
    strips, grids = components(tab, STRIP), components(tab, GRID)
    noted.expect("one strip and one heat", (len(strips), len(grids)) == (1, 1))
    for _, data in strips:
        _compare_strip(noted, data, view)
        noted.expect("the strip's pin", data["pinned"] == pos)
    for _, data in grids:
        noted.compare("the heat", floats(data["values"]), arrays[RATIO])
        noted.expect("the heat's tokens", data["column_names"] == view.report.numbers["tokens"])
        noted.expect("the heat's pin", data["pinned"] == [layer, pos])
    _compare_words(noted, words(tab), view, layer, pos)
    charts = list(plotted(tab))
    for what, wanted in _charted(view, layer, pos):
        nearest = next((one for one in charts if np.array_equal(np.asarray(one, "<f4"), wanted)), ())
        noted.compare(what, nearest, wanted)
    return noted


def foreign_links(tab: Tab, views: Sequence[View]) -> Differences:
    """The links on the page (findings, last views) that lead to a text which is not one of this visitor's."""
    noted, own = Differences([]), {view.spec.text for view in views}
    for link in elements(tab, "page_link"):
        if query := dict(parse_qsl(link.new_element.page_link.query_string)):
            spec = link_of(query).spec
            noted.expect("a link of one's own", spec is not None and spec.text in own)
    return noted


def _compare_strip(noted: Differences, data: Mapping[str, Any], view: View) -> None:
    noted.compare("the strip", floats(data["values"]), view.report.arrays[RATIO].max(axis=0))
    noted.expect("the strip's tokens", data["tokens"] == view.report.numbers["tokens"])


def _compare_words(noted: Differences, said: str, view: View, layer: int, pos: int) -> None:
    ratio = view.report.arrays[RATIO][layer, pos]
    noted.expect("the pinned place in words", f"position {pos}, after block {layer}" in said)
    noted.expect("the pinned ratio in words", f"**{plain(say_quantity(ratio, '×'))}**" in said)
    sentence = view.report.numbers.get("what_if_sentence")
    noted.expect("the what-if in words", not sentence or plain(sentence) in said)


def _charted(view: View, layer: int, pos: int) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Every array of the Report that a chart of the page draws at these pins."""
    arrays = view.report.arrays
    dim = int(arrays["top_dims"][layer, pos][0])
    drawn = {
        "the largest entries": arrays["top_values"][layer, pos],
        "a dimension by layer": arrays["residual"][:, pos, dim],
        "a dimension by token": arrays["residual"][layer, :, dim],
        "all entries of a layer": arrays["residual"][layer],
        "quantiles": arrays["value_quantiles"][layer],
        "channel norms": arrays["channel_norms_raw"][layer],
        "channel norms, rotated": arrays["channel_norms_rotated"][layer],
        "flatness": arrays["flatness_raw"],
        "flatness, rotated": arrays["flatness_rotated"],
        "gates": arrays["gate_amplification"][layer],
    }
    for what, array in drawn.items():
        yield what, np.asarray(array, "<f4").reshape(-1)
