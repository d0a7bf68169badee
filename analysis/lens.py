"""Lens: one analysis, found by discovery; its options, its check and its measurement."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import analysis
from analysis.option import Option, OptionValue
from analysis.report import Finding
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.session import ModelSession, ModelShape

Options = Mapping[str, OptionValue]
Progress = Callable[[float, str], None]
"""Called with the share done, in [0, 1], and a few words; raises to cancel."""


@dataclass(frozen=True)
class Subject:
    """What a lens looks at: texts as token ids (BOS included where chosen), and captures of a single text.

    `captures` has the activations at the lens's hook points, [pos ...], and is empty for a text set, which a lens
    streams through `session` instead.
    """

    session: ModelSession
    texts: tuple[tuple[int, ...], ...]
    captures: Mapping[HookPoint, Any]
    bos: bool
    is_text_set: bool = False
    interventions: tuple[Intervention, ...] = ()
    """Changes that every forward pass of the lens is made under."""


@dataclass(frozen=True)
class Measured:
    """What a lens found: plain JSON numbers, arrays by name, findings."""

    numbers: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Lens:
    """One analysis. `needs(shape)` is a sentence on what the model lacks, or None; `measure` is a pure function."""

    slug: str
    title: str
    question: str
    paper: str
    how_to_read: str
    options: tuple[Option, ...]
    needs: Callable[[ModelShape], str | None]
    hook_points: Callable[[ModelShape, Options], tuple[HookPoint, ...]]
    measure: Callable[[Subject, Options, Progress], Measured]
    revision: int = 1
    """Raised when the numbers change, so that no Report of an older formula is shown."""


@cache
def lenses() -> dict[str, Lens]:
    """Every lens by slug: each module of this package that has a `LENS`."""
    modules = [importlib.import_module(f"analysis.{found.name}") for found in pkgutil.iter_modules(analysis.__path__)]
    found = [module.LENS for module in modules if hasattr(module, "LENS")]
    return {lens.slug: lens for lens in sorted(found, key=lambda lens: lens.title)}


def find_lens(slug: str) -> Lens:
    """The lens of that name; raises UserError with the known ones."""
    known = lenses()
    if slug not in known:
        raise UserError(f"No lens is called {slug[:40]!r}.", f"Choose one of: {', '.join(known)}.")
    return known[slug]
