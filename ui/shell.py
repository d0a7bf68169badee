"""The frame of every page: find it, read the address, draw rail and header, get the answer, show the page."""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import streamlit as st

import ui.pages
from analysis.spec import Spec
from ui import header, state
from ui.answers import answers_to
from ui.boundary import boundary, tell
from ui.rail import draw_facts, draw_rail
from ui.words import plain

if TYPE_CHECKING:
    from analysis.lens import Lens


@dataclass(frozen=True)
class Context:
    """What a page may know besides its Report: the Spec on screen, its lens, the pages that a link may lead to."""

    spec: Spec
    lens: "Lens | None"
    pages: dict[str, Any]

    def pinned(self, name: str, size: int, default: int) -> int:
        """The pinned index of that name where it is one of `size`, else the default."""
        value = state.pins().get(name)
        is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size
        return int(value) if is_index else default  # type: ignore[arg-type]


def pages() -> dict[str, Any]:
    """Every page by slug, the landing page first: each module of `ui.pages` that has a `render`."""
    found = [importlib.import_module(f"ui.pages.{one.name}") for one in pkgutil.iter_modules(ui.pages.__path__)]
    modules = {module.__name__.rpartition(".")[2]: module for module in found if hasattr(module, "render")}
    made: dict[str, Any] = {}
    for slug in sorted(modules, key=lambda slug: (slug != state.HOME, slug)):
        run = partial(run_page, slug, modules[slug], made)
        made[slug] = st.Page(run, title=title_of(slug), url_path=slug, default=slug == state.HOME)
    return made


def title_of(slug: str) -> str:
    """The words of a slug."""
    return slug.replace("_", " ").capitalize()


def run_page(slug: str, module: ModuleType, pages: dict[str, Any]) -> None:
    """One run of a page, from address to provenance; an error leaves what was shown before."""
    with boundary("opening this page"):
        asked = state.open_page(slug, tuple(pages))
        if asked.lens != slug:
            st.switch_page(pages[asked.lens], query_params=state.code_of(asked))
        rail = draw_rail(asked, pages)
        question, tools = header.draw_header(title_of(slug))
        _say_bad_link()
        caution = st.empty()
        if hasattr(module, "ask"):
            question.caption(module.QUESTION)
            module.ask(asked)
        answers = answers_to(asked)
        if state.session().caution:
            caution.warning(plain(state.session().caution), icon=":material/warning:")
    if answers is None:
        return
    with boundary("drawing this page"):
        from analysis.lens import lenses

        lens = lenses().get(slug)
        first = answers[0]
        if lens is not None:
            question.caption(plain(lens.question))
        draw_facts(rail, first.report, first.source)
        header.draw_tools(tools, answers)
        reports = [answer.report for answer in answers]
        context = Context(state.session().shown or first.report.spec, lens, pages)
        module.render(reports if lens is None else first.report, context)
        header.draw_how_to_read(lens, first.report, first.source)


def _say_bad_link() -> None:
    error = state.session().bad_link
    if error is not None:
        tell(error, "reading the link")
