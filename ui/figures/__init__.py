"""The figures of each page, by slug, drawn from Reports without Streamlit: one definition for page and export.

A module has `pictures(report, pins)`, and may have `strip(report, pins)`, `tables(report)` and `sentences(report)` for
the parts of an export that are no figure. It is found by the slug of its lens: no list is edited.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

from analysis.report import Report
from ui.figures.part import Sentences, Strip, Table
from ui.figures.picture import Picture


@cache
def figure_modules() -> dict[str, ModuleType]:
    """Each module of this package that draws a lens, by slug."""
    found = [importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    return {one.__name__.rpartition(".")[2]: one for one in found if hasattr(one, "pictures")}


def pictures_of(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Every figure of a Report at the pinned place; none for a lens that has no figures."""
    return tuple(_call(report, "pictures", report, pins) or ())


def strip_of(report: Report, pins: Mapping[str, Any]) -> Strip | None:
    """The tokens of a Report on their heat; None where it has none."""
    strip: Strip | None = _call(report, "strip", report, pins)
    return strip


def tables_of(report: Report) -> tuple[Table, ...]:
    """The tables that a Report's page shows."""
    return tuple(_call(report, "tables", report) or ())


def sentences_of(report: Report) -> tuple[Sentences, ...]:
    """What a Report's page says in words, its findings aside."""
    return tuple(_call(report, "sentences", report) or ())


def _call(report: Report, name: str, *arguments: Any) -> Any:
    module = figure_modules().get(report.spec.lens)
    return getattr(module, name)(*arguments) if hasattr(module, name) else None
