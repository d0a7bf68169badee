"""Auto-tune: a sweep over strength and layer, the dose-response that it gives, and the strength to use.

1. A coarse sweep: every strength at every layer, as rows of few batches. Each point is kept as it comes.
2. Every second pair and prompt chooses: the knee by the rule in `proxies`.
3. A finer sweep round the knee, and the choice once more.
4. The other pairs and prompts are reported, with bootstrap intervals; the choice has not seen them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from capture.store import ActivationStore
from capture.store_tuning import points_of, write_plan, write_points
from steering.dose import Dose, Half, budget_strength, dose, halves, knee
from steering.method import Progress, silent
from steering.odds_curve import OddsCurve, odds_curve
from steering.scores import slope
from steering.scoring import ROWS_AT_ONCE, Material, Values, Written, material_of, pair_odds, values_of
from steering.strength_range import rounded_up
from steering.tune_plan import Point, TunePlan

CLEAN = "clean"
"""The name under which a sweep keeps what the clean model wrote."""
N_BETWEEN = 2
"""Points of the finer sweep on either side of the knee."""
BELOW = 8.0
"""How far below the weakest strength is looked where even that is beyond the budget."""


@dataclass(frozen=True)
class Tuning:
    """What a sweep found, so far or in the end. Doses are those of the half that is reported, by layer and strength."""

    doses: tuple[Dose, ...]
    chosen_on: tuple[Dose, ...]
    """The same points on the half that chooses."""
    knee: Dose | None
    """The chosen point as the reported half sees it; None where no strength will do."""
    slider: tuple[float, float]
    slope: float | None
    """Of the concept score at 0, at the knee's layer, on the reported half."""
    budget: float
    norms: Mapping[HookPoint, float]
    """Mean norms of the activations where a step was moved to."""
    facts: Mapping[str, Any]
    odds: OddsCurve | None = None
    """Preference and utility odds at the knee's layer, with their law, on the reported half; None without pairs."""

    @property
    def point(self) -> Point | None:
        """The point that is chosen."""
        return None if self.knee is None else Point(self.knee.strength, self.knee.layer)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        norms = {str(at): norm for at, norm in self.norms.items()}
        return {**asdict(replace(self, norms={})), "norms": norms}

    def layer_doses(self, layer: int | None) -> tuple[Dose, ...]:
        """The reported doses of one layer, the weakest first."""
        return tuple(one for one in self.doses if one.layer == layer)


@dataclass
class KeptPoints:
    """The points of one sweep, in memory and in the store where there is one.

    Keeping them is a courtesy: a store that cannot (a full disk, say) must not end the sweep.
    """

    store: ActivationStore | None
    sweep: str
    clean: Written | None = None
    norms: Mapping[HookPoint, float] = field(default_factory=dict)
    clean_odds: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Preference and utility odds of each pair in the clean model; sweeps of before 2026-11 have not kept them."""
    values: dict[Point, Values] = field(default_factory=dict)

    @classmethod
    def read(cls, store: ActivationStore | None, sweep: str) -> "KeptPoints":
        """What an earlier run left."""
        made = cls(store, sweep)
        for name, data in (points_of(store, sweep) if store is not None else {}).items():
            given = json.loads(data)
            if name == CLEAN:
                made.clean = Written(**{key: tuple(some) for key, some in given["written"].items()})
                made.norms = {HookPoint.parse(at): norm for at, norm in given["mean_norms"].items()}
                if odds := given.get("odds"):
                    made.clean_odds = tuple(odds[0]), tuple(odds[1])
            else:
                made.values[Point.named(name)] = Values.from_json(given)
        return made

    def note(self, plan: TunePlan) -> None:
        """Keep by which plan the points are made, so that they are found again by the recipe that they are of."""
        if self.store is not None:
            with suppress(UserError):
                write_plan(self.store, self.sweep, json.dumps(plan.to_json()).encode())

    def add(self, values: Mapping[Point, Values]) -> None:
        """Take the values of some points."""
        self.values |= values
        self._write({point.name: one.to_json() for point, one in values.items()})

    def begin(self, material: Material, norms: Mapping[HookPoint, float]) -> None:
        """Take what the clean model wrote and makes of the pairs, and the mean norms that moved steps count in."""
        self.clean, self.norms, self.clean_odds = material.written, norms, pair_odds(material.read)
        named = {str(at): norm for at, norm in norms.items()}
        self._write({CLEAN: {"written": asdict(self.clean), "mean_norms": named, "odds": self.clean_odds}})

    def _write(self, things: Mapping[str, Any]) -> None:
        if self.store is not None:
            with suppress(UserError):
                write_points(self.store, self.sweep, {name: json.dumps(one).encode() for name, one in things.items()})


def tune(
    session: ModelSession, plan: TunePlan, store: ActivationStore | None = None, progress: Progress = silent
) -> Tuning:
    """Tune a recipe by a plan, going on where an earlier run was stopped; `progress` raises to cancel."""
    asked = plan.on(session)
    kept = KeptPoints.read(store, asked.sweep(session.fingerprint, session.dtype))
    kept.note(asked)
    return _Sweep(session, asked, kept, progress).run()


def kept_tuning(store: ActivationStore, sweep: str, budget: float) -> Tuning | None:
    """What the store has of a sweep, complete or not; None before its first point. Needs no model."""
    kept = KeptPoints.read(store, sweep)
    return tuned(kept, budget) if kept.values and kept.clean is not None else None


def tuned(kept: KeptPoints, budget: float) -> Tuning:
    """The choice and the report that some points give."""
    first = next(iter(kept.values.values()))
    choosing, reporting = halves(len(first.concept), len(first.kl))
    chosen_on, doses = (_doses(kept, list(kept.values), half) for half in (choosing, reporting))
    best = knee(chosen_on, budget)
    shown = next((one for one in doses if best and (one.layer, one.strength) == (best.layer, best.strength)), None)
    layer = best.layer if best else chosen_on[0].layer
    here = [one for one in chosen_on if one.layer == layer]
    reported = [
        (one.strength, one.concept.mean) for one in doses if one.layer == layer and one.concept and one.strength
    ]
    facts = {
        "n_pairs": len(reporting.pairs),
        "n_prompts": len(reporting.prompts),
        "n_pairs_choosing": len(choosing.pairs),
        "n_prompts_choosing": len(choosing.prompts),
    }
    steepness = slope(*zip(*reported, strict=True)) if reported else None
    slider = slider_range(here, best, budget)
    odds = _odds([one for one in doses if one.layer == layer], kept, reporting.pairs) if reporting.pairs else None
    return Tuning(doses, chosen_on, shown, slider, steepness, budget, kept.norms, facts, odds)


def _odds(doses: Sequence[Dose], kept: KeptPoints, pairs: Sequence[int]) -> OddsCurve:
    if kept.clean_odds is None:
        return odds_curve(doses, None)
    preference, utility = (sum(some[pair] for pair in pairs) / len(pairs) for some in kept.clean_odds)
    return odds_curve(doses, (preference, utility))


def slider_range(doses: Sequence[Dose], best: Dose | None, budget: float) -> tuple[float, float]:
    """From 0 to twice the knee, or to twice the strength at which the budget is used up, rounded up to a 1, 2 or 5."""
    edge = best.strength if best else budget_strength(doses, budget)
    if not edge:
        edge = max((one.strength for one in doses), key=abs) / 2
    high = math.copysign(rounded_up(2 * abs(edge)), edge)
    return min(0.0, high), max(0.0, high)


def _doses(kept: KeptPoints, points: Sequence[Point], half: Half) -> tuple[Dose, ...]:
    """The doses of some points on one half, by layer and strength."""
    assert kept.clean is not None  # written before the first point
    ordered = sorted(points, key=lambda point: (-1 if point.layer is None else point.layer, point.strength))
    return tuple(dose(point.strength, point.layer, kept.values[point], kept.clean, half) for point in ordered)


def finer_points(points: Sequence[Point], doses: Sequence[Dose], budget: float) -> list[Point]:
    """Strengths round the knee of a coarse sweep, or below it all where even the weakest is beyond the budget."""
    best = knee(doses, budget)
    if best is None:
        if any(one.kl.mean <= budget for one in doses):
            return []
        weakest = min(points, key=lambda point: abs(point.strength))
        return _between(weakest.strength / BELOW, weakest.strength, 1 + N_BETWEEN, weakest.layer)
    same = [one for one in points if one.layer == best.layer and one.strength * best.strength > 0]
    strengths = sorted((one.strength for one in same), key=abs)
    place = strengths.index(best.strength)
    below = strengths[place - 1] if place else best.strength / 2
    found = _between(below, best.strength, N_BETWEEN, best.layer)
    if place + 1 < len(strengths):
        found += _between(best.strength, strengths[place + 1], N_BETWEEN, best.layer)
    return [one for one in found if one not in points]


def _between(low: float, high: float, n: int, layer: int | None) -> list[Point]:
    """Points between two strengths of one sign, evenly on a logarithmic scale, to two digits."""
    strengths = [low * (high / low) ** (step / (n + 1)) for step in range(1, n + 1)]
    return [Point(float(f"{one:.2g}"), layer) for one in strengths]


@dataclass
class _Sweep:
    """One tuning under way."""

    session: ModelSession
    plan: TunePlan
    kept: KeptPoints
    progress: Progress
    material: Material | None = None
    n_planned: int = 0

    def run(self) -> Tuning:
        """Both sweeps, and what they give."""
        plan, coarse = self.plan, self.plan.points()
        self.n_planned = len(coarse) + (2 * N_BETWEEN if plan.is_refined else 0)
        self._measure(coarse)
        if plan.is_refined:
            choosing, _ = halves(plan.n_pairs, len(plan.prompts))
            self._measure(finer_points(coarse, _doses(self.kept, coarse, choosing), plan.budget))
        self.progress(1.0, "done")
        return tuned(self.kept, plan.budget)

    def _measure(self, points: Sequence[Point]) -> None:
        missing = [point for point in points if point not in self.kept.values]
        n_at_once = max(1, ROWS_AT_ONCE // len(self.plan.prompts))
        for start in range(0, len(missing), n_at_once):
            some = missing[start : start + n_at_once]
            material = self._material()
            settings = [self.plan.setting(point, self.kept.norms) for point in some]
            self.kept.add(dict(zip(some, values_of(material, settings, self._part(len(some))), strict=True)))

    def _material(self) -> Material:
        if self.material is None:
            plan = self.plan
            self.material = material_of(
                self.session, plan.contrast, plan.prompts, plan.bos, plan.n_tokens, self._beginning
            )
            if self.kept.clean is None:
                self.kept.begin(self.material, plan.mean_norms(self.session))
        return self.material

    def _beginning(self, share: float, words: str) -> None:
        self.progress(len(self.kept.values) / self.n_planned, "reading pairs and prompts with the clean model")

    def _part(self, n_points: int) -> Progress:
        """Progress within a batch of points as a share of the whole."""
        n_done = len(self.kept.values)

        def tell(share: float, words: str) -> None:
            total = max(self.n_planned, n_done + n_points)
            self.progress((n_done + share * n_points) / total, f"{n_done:,} of {total:,} points, {words}")

        return tell
