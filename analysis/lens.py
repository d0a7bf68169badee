"""Lens: one analysis, found by discovery; its options, its check and its measurement."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

import analysis
from analysis.option import Option, OptionValue
from analysis.quantity import Quantity
from analysis.report import Finding, Report
from capture.checkpoints import TrainedModel
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.session import ModelSession, ModelShape

BY_LAYER_AND_TOKEN = ("layer", "pos")
BY_PANE_AND_STEP = ("pane", "step")
Options = Mapping[str, OptionValue]
Progress = Callable[[float, str], None]
"""Called with the share done, in [0, 1], and a few words; raises to cancel."""
Partial = Callable[[Mapping[str, Any]], None]
"""Called with what there is of an answer so far, for whoever watches it come; it decides nothing."""


def no_partial(so_far: Mapping[str, Any]) -> None:
    """A partial answer that nobody watches."""


@runtime_checkable
class Checkpoint(Protocol):
    """A place for the state of a measurement that was interrupted."""

    def load(self) -> bytes | None:
        """What was saved last, or None."""

    def save(self, state: bytes) -> None:
        """Keep the state in place of the one before."""


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
    checkpoint: Checkpoint | None = None
    """Where a long measurement leaves what it has, so that a stop loses seconds."""
    on_partial: Partial = no_partial


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
    quantities: tuple[Quantity, ...] = ()
    """What its arrays hold, one for each; exports, comparisons and the store's tables are made from them."""
    settle: Callable[[Options, str], Options] = lambda options, fingerprint: options
    """The options with names and defaults replaced by what they mean for the model of a fingerprint today, such as the
    digest of an SAE; the Report is kept under these, and says them."""
    is_run_unasked: bool = True
    """Whether What stands out measures it too; not so one that writes text, which takes long and depends on a seed."""

    @property
    def is_comparable(self) -> bool:
        """Whether it has numbers for each layer and token, or for each token that it wrote: Compare puts both beside
        those of another view.
        """
        return any(one.axes in (BY_LAYER_AND_TOKEN, BY_PANE_AND_STEP) for one in self.quantities)


@dataclass(frozen=True)
class ReportLens:
    """An analysis of other views' Reports rather than of activations; `combine` is a pure function.

    `sides` names the options that hold the views: a link, a code or a short id each.
    """

    slug: str
    title: str
    question: str
    paper: str
    how_to_read: str
    options: tuple[Option, ...]
    sides: tuple[str, ...]
    combine: Callable[[tuple[Report, ...], Options], Measured]
    revision: int = 1
    quantities: tuple[Quantity, ...] = ()


@dataclass(frozen=True)
class Series:
    """What a lens over checkpoints looks at: the models of one training run, and texts that each tokenizes itself.

    `open` loads one of them; they need not fit into memory together.
    """

    checkpoints: tuple[TrainedModel, ...]
    open: Callable[[TrainedModel], ModelSession]
    texts: tuple[str, ...]
    bos: bool


@dataclass(frozen=True)
class SeriesLens:
    """An analysis of the checkpoints in a model's folder; `measure` is a pure function of them."""

    slug: str
    title: str
    question: str
    paper: str
    how_to_read: str
    options: tuple[Option, ...]
    needs: Callable[[ModelShape], str | None]
    hook_points: Callable[[ModelShape, Options], tuple[HookPoint, ...]]
    measure: Callable[[Series, Options, Progress], Measured]
    min_checkpoints: int = 2
    revision: int = 1
    quantities: tuple[Quantity, ...] = ()


AnyLens = Lens | ReportLens | SeriesLens


@cache
def lenses() -> dict[str, Lens]:
    """Every lens by slug: each module of this package that has a `LENS`."""
    return {lens.slug: lens for lens in sorted(_in_modules("LENS"), key=lambda lens: lens.title)}


def unasked_lenses() -> dict[str, Lens]:
    """Every lens that What stands out measures, by slug."""
    return {slug: lens for slug, lens in lenses().items() if lens.is_run_unasked}


@cache
def report_lenses() -> dict[str, ReportLens]:
    """Every lens over Reports by slug: each module of this package that has a `REPORT_LENS`."""
    return {lens.slug: lens for lens in sorted(_in_modules("REPORT_LENS"), key=lambda lens: lens.title)}


@cache
def series_lenses() -> dict[str, SeriesLens]:
    """Every lens over checkpoints by slug: each module of this package that has a `SERIES_LENS`."""
    return {lens.slug: lens for lens in sorted(_in_modules("SERIES_LENS"), key=lambda lens: lens.title)}


def known_lenses() -> dict[str, AnyLens]:
    """Every lens of every kind by slug."""
    return {**lenses(), **report_lenses(), **series_lenses()}


def comparable_lens() -> str:
    """The slug of the first lens whose numbers can be compared: it stands in for views that have none such."""
    return next(slug for slug, lens in lenses().items() if lens.is_comparable)


def _in_modules(name: str) -> list[Any]:
    modules = [importlib.import_module(f"analysis.{found.name}") for found in pkgutil.iter_modules(analysis.__path__)]
    return [getattr(module, name) for module in modules if hasattr(module, name)]


def find_lens(slug: str) -> AnyLens:
    """The lens of that name; raises UserError with the known ones."""
    known = known_lenses()
    if slug not in known:
        raise UserError(f"No lens is called {slug[:40]!r}.", f"Choose one of: {', '.join(known)}.")
    return known[slug]
