"""The frame of every page: find it, read the address, draw rail and header, get the answer, show the page."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import streamlit as st

import ui.pages
from analysis.spec import Spec
from ui import header, resources, state
from ui.answers import answers_to
from ui.boundary import boundary, tell
from ui.frozen import draw_banner, drawing, finish_cold_view, is_cold, kept_answers
from ui.rail import draw_facts, draw_rail
from ui.share import draw_link, draw_tools
from ui.words import plain

if TYPE_CHECKING:
    from analysis.lens import AnyLens
    from analysis.pipeline import Answer
    from ui.answers import Answers


@dataclass(frozen=True)
class Context:
    """What a page may know besides its Report: the Spec on screen, its lens, the pages that a link may lead to."""

    spec: Spec
    lens: "AnyLens | None"
    pages: dict[str, Any]

    def pinned(self, name: str, size: int, default: int) -> int:
        """The pinned index of that name where it is one of `size`, else the default."""
        value = state.pins().get(name)
        is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size
        return int(value) if is_index else default  # type: ignore[arg-type]


def pages() -> dict[str, Any]:
    """Every page by slug, the landing page first: each module of `ui.pages` that draws.

    A page module has `render(report, context)`, drawn from the answer to the Spec that is asked for, or, where it needs
    none, `draw(context)`. It may have `ask(asked)` for widgets above the answer; one that returns False says that there
    is nothing to ask yet, and has drawn what to do. One with `wait(context)` shows by itself how an answer comes:
    `wait` draws the page before there is any, and meanwhile `render` is given the one before. `TITLE`, `QUESTION` and
    `IS_OF_ONE_TEXT` (whether the rail's model and text are what it shows) say the rest.
    """
    found = [importlib.import_module(f"ui.pages.{one.name}") for one in pkgutil.iter_modules(ui.pages.__path__)]
    modules = {one.__name__.rpartition(".")[2]: one for one in found if hasattr(one, "render") or hasattr(one, "draw")}
    made: dict[str, Any] = {}
    is_of_one_text = {slug: getattr(module, "IS_OF_ONE_TEXT", True) for slug, module in modules.items()}
    for slug in sorted(modules, key=lambda slug: (slug != state.HOME, not is_of_one_text[slug], slug)):
        run = partial(run_page, slug, modules[slug], made, is_of_one_text)
        title = title_of(slug, modules[slug])
        made[slug] = st.Page(run, title=title, url_path=slug, default=slug == state.HOME)
    return made


def title_of(slug: str, module: ModuleType | None = None) -> str:
    """What a page is called: its `TITLE`, else the words of its slug."""
    return getattr(module, "TITLE", slug.replace("_", " ").capitalize())


def run_page(slug: str, module: ModuleType, pages: dict[str, Any], is_of_one_text: Mapping[str, bool]) -> None:
    """One run of a page, from address to provenance; an error leaves what was shown before."""
    with boundary("opening this page"):
        asked = state.open_page(slug, is_of_one_text)
        if asked.lens != slug:
            st.switch_page(pages[asked.lens], query_params=state.on_the_way())
        rail = draw_rail(asked, pages, is_of_one_text[slug])
        question, tools = header.draw_header(title_of(slug, module))
        _say_bad_link()
        if hasattr(module, "QUESTION"):
            question.caption(module.QUESTION)
        caution = st.empty()
        if hasattr(module, "draw"):
            state.show(asked)
            draw_link(tools)
            module.draw(Context(asked, None, pages))
            return
        if getattr(module, "ask", _nothing_to_ask)(asked) is False:
            state.show(asked)
            return
        kept = state.session().kept
        wait = getattr(module, "wait", None) if resources.is_warm() and not asked.text_set else None
        answers = answers_to(asked, wait is not None) if kept is None else kept_answers(kept, asked)
        with caution.container():
            _say_cautions(answers or ())
            if kept is not None:
                draw_banner(kept)
    if answers is None and wait is not None:
        with drawing("this page"):
            wait(Context(asked, _lens(slug), pages))
    if answers is None:
        return
    with drawing("this page"):
        _draw_answers(slug, module, answers, pages, (rail, question, tools))
        finish_cold_view()


def _nothing_to_ask(asked: Spec) -> None:
    """The `ask` of a page that has none."""


def _draw_answers(
    slug: str, module: ModuleType, answers: "Answers", pages: dict[str, Any], places: tuple[Any, Any, Any]
) -> None:
    rail, question, tools = places
    first = answers[0]
    is_of_a_lens = first.report.spec.lens == slug
    lens = _lens(slug) if is_of_a_lens and not is_cold() else None
    if lens is not None:
        question.caption(plain(lens.question))
    draw_facts(rail, first.report, first.source)
    draw_tools(tools, answers, pages)
    context = Context(state.session().shown or first.report.spec, lens, pages)
    module.render(first.report if is_of_a_lens else [answer.report for answer in answers], context)
    header.draw_how_to_read(lens, first.report, first.source)


def _lens(slug: str) -> "AnyLens":
    from analysis.lens import find_lens

    return find_lens(slug)


def _say_cautions(answers: "Sequence[Answer]") -> None:
    """What the reader must know about the numbers: other weights than the link's, or a store that keeps nothing."""
    said = [state.session().caution, *dict.fromkeys(answer.notice for answer in answers)]
    for words in filter(None, said):
        st.warning(plain(words), icon=":material/warning:")


def _say_bad_link() -> None:
    error = state.session().bad_link
    if error is not None:
        tell(error, "reading the link")
