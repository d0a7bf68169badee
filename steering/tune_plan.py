"""TunePlan: what a tuning is to try and on what; and the recipe at each of its points.

A strength is that of one step of the recipe while the others are held, or a multiple of all strengths. A layer is one
that the step has a vector for, alone; a step that acts at one layer is moved: its vector is used at another.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention, Recipe, operator_from_recipe
from capture.session import ModelSession
from steering.contrast_pairs import Contrast, Example, contrast_of
from steering.dose import halves
from steering.proxies import KL_BUDGET
from steering.recipe import Step, scaled
from steering.scoring import N_TOKENS
from steering.strength_range import usual_range

REVISION = 1
"""Raised when a score changes its meaning, so that no older point is gone on with."""
MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Of all strengths at once."""
PARTS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Of the end of a step's usual range: 0.025 to 0.8 mean norms for a vector."""
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Of a change of which 0 is nothing and 1 the whole."""
WORDS = ("name", "method", "source", "strength_range", "usual_strength")
"""Fields of a step that change no number."""


@dataclass(frozen=True)
class Point:
    """One strength at one layer; layer None is where the recipe acts."""

    strength: float
    layer: int | None = None

    @property
    def name(self) -> str:
        """How the store names it."""
        return f"{'' if self.layer is None else self.layer}@{self.strength!r}"

    @classmethod
    def named(cls, name: str) -> "Point":
        """The point of a name."""
        layer, _, strength = name.partition("@")
        return cls(float(strength), int(layer) if layer else None)


@dataclass(frozen=True)
class TunePlan:
    """A recipe as plain JSON, which step of it is tuned (None: all strengths together), and on what."""

    recipe: tuple[Recipe, ...]
    prompts: tuple[str, ...]
    contrast: Contrast | None = None
    step: int | None = None
    layers: tuple[int, ...] = ()
    """Layers to try; none where the recipe acts as it is."""
    is_every_layer: bool = False
    """Whether all layers at which the step can be tried are meant; `on` makes them `layers`."""
    strengths: tuple[float, ...] = ()
    """Strengths to try; none for a coarse sweep and a finer one round its knee."""
    bos: bool = True
    n_tokens: int = N_TOKENS
    budget: float = KL_BUDGET

    @property
    def n_pairs(self) -> int:
        """How many pairs there are."""
        return 0 if self.contrast is None else len(self.contrast.pairs)

    @property
    def is_refined(self) -> bool:
        """Whether a finer sweep follows."""
        return not self.strengths

    @cached_property
    def changes(self) -> tuple[Intervention, ...]:
        """The recipe's interventions."""
        return tuple(operator_from_recipe(dict(one)) for one in self.recipe)

    @property
    def unit(self) -> str:
        """What a strength counts in, in words."""
        if self.step is None:
            return "× all strengths"
        return "mean norms" if getattr(self.tuned, "unit", "") == "relative" else "as stored"

    @property
    def takes_layers(self) -> bool:
        """Whether the step that is tuned can be tried at other layers."""
        return isinstance(self.tuned, Step) and bool(layers_of(self.tuned)) and _can_move(self.tuned)

    def known_layers(self, n_layers: int) -> tuple[int, ...]:
        """The layers at which the step can be tried: those it has vectors for, or, with one vector, any."""
        own = layers_of(self.tuned)
        return tuple(range(n_layers)) if len(own) == 1 else own

    def standing(self) -> Point:
        """The point at which the recipe stands now."""
        if self.step is None:
            return Point(1.0)
        strength = float(self.tuned.strength)
        if not self.tries_layers:
            return Point(strength)
        weights = getattr(self.tuned, "weights", {})
        heard = [layer for layer in layers_of(self.tuned) if weights.get(layer, 1.0)]
        return Point(strength, heard[0] if len(heard) == 1 else None)

    @property
    def tries_layers(self) -> bool:
        """Whether layers are tried."""
        return self.is_every_layer or bool(self.layers)

    def on(self, session: ModelSession) -> "TunePlan":
        """The plan for a model, its layers named; raises UserError for what cannot be tuned there."""
        self.check(session)
        known = self.known_layers(session.shape.n_layers) if self.is_every_layer else self.layers
        return replace(self, layers=known, is_every_layer=False)

    @property
    def is_moved(self) -> bool:
        """Whether the tuned step has one layer's vector, which is tried at others."""
        return self.tries_layers and len(layers_of(self.tuned)) == 1

    @property
    def tuned(self) -> Any:
        """The step that is tuned."""
        assert self.step is not None
        return self.changes[self.step]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, the pairs in it."""
        return {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "contrast": _contrast_json(self.contrast),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "TunePlan":
        """The plan in plain JSON."""
        lists = {name: tuple(given[name]) for name in ("recipe", "prompts", "layers", "strengths")}
        return cls(**{**given, **lists, "contrast": _contrast_of_json(given["contrast"])})

    def check(self, session: ModelSession) -> None:
        """Refuse what cannot be tuned on this model, by a sentence."""
        if not self.recipe:
            raise UserError("A recipe must have at least one step to be tuned; it has none.", "Add a vector first.")
        halves(self.n_pairs, len(self.prompts))
        if self.step is None:
            if self.tries_layers:
                raise UserError("Layers are tried for one step, not for a whole recipe.", "Name the step.")
            return
        if not 0 <= self.step < len(self.recipe):
            raise UserError(
                f"Step {self.step + 1} does not exist: the recipe has steps 1 to {len(self.recipe)}.",
                "Name one of them.",
            )
        if getattr(self.tuned, "is_muted", False):
            raise UserError(f"Step {self.step + 1} is muted, so that no strength of it does anything.", "Unmute it.")
        _check_layers(self, session.shape.n_layers)

    def points(self) -> list[Point]:
        """The points of the coarse sweep, or those that were asked for."""
        return [Point(strength, layer) for layer in self.layers or (None,) for strength in self._strengths()]

    def _strengths(self) -> tuple[float, ...]:
        if self.strengths:
            return self.strengths
        if self.step is None:
            return MULTIPLES
        if not isinstance(self.tuned, Step):
            return tuple(one * (self.tuned.strength or 1.0) for one in MULTIPLES)
        low, high = usual_range(self.tuned)
        parts = SHARES if low == 0 else PARTS
        return tuple(float(f"{part * high:.3g}") for part in parts)

    def mean_norms(self, session: ModelSession) -> dict[HookPoint, float]:
        """Mean norm of the prompts' activations, but for the first position, wherever a step is moved to."""
        if not self.is_moved:
            return {}
        sites = {at.site for at in self.tuned.hook_points()}
        at = tuple(HookPoint(layer, site) for layer in self.layers for site in sites)
        sums = {one: [0.0, 0] for one in at}

        def update(point: HookPoint, values: Tensor, text: Tensor, pos: Tensor) -> None:
            norms = values[(pos > 0).to(values.device)].flatten(1).float().norm(dim=1)
            sums[point][0] += float(norms.double().sum())
            sums[point][1] += len(norms)

        session.stream([session.tokens(text, self.bos) for text in self.prompts], at, update)
        return {one: total / max(1, n) for one, (total, n) in sums.items()}

    def setting(self, point: Point, norms: Mapping[HookPoint, float]) -> tuple[Intervention, ...]:
        """The recipe at a point; `norms` are those of `mean_norms`."""
        if self.step is None:
            return scaled(self.changes, point.strength)
        return (*self.changes[: self.step], self._tuned_at(point, norms), *self.changes[self.step + 1 :])

    def used(self, point: Point, norms: Mapping[HookPoint, float], slider: tuple[float, float]) -> tuple[Recipe, ...]:
        """The recipe, as plain JSON, with a point's strength and layer; a step keeps what its slider spans.

        A slider that could go below 0 goes as far below it as above.
        """
        changes = list(self.setting(point, norms))
        if self.step is not None and isinstance(step := changes[self.step], Step):
            most = max(map(abs, slider))
            limits = (-most, most) if usual_range(step)[0] < 0 else slider
            changes[self.step] = replace(step, strength_range=limits, usual_strength=point.strength)
        return tuple(one.recipe() for one in changes)

    def _tuned_at(self, point: Point, norms: Mapping[HookPoint, float]) -> Intervention:
        step = replace(self.tuned, strength=point.strength)
        if point.layer is None:
            return step
        if not self.is_moved:
            return replace(step, weights={layer: float(layer == point.layer) for layer in layers_of(step)})
        changes = tuple(replace(one, at=HookPoint(point.layer, one.at.site)) for one in step.changes)
        known = {one.at: norms[one.at] for one in changes if one.at in norms}
        return replace(step, changes=changes, mean_norms=known, weights={})

    def sweep(self, fingerprint: str, dtype: str) -> str:
        """Digest of all that decides the numbers of a point, but for its strength and layer."""
        pairs = None if self.contrast is None else self.contrast.digest()
        recipe = [self._base(place, dict(one)) for place, one in enumerate(self.recipe)]
        content = [REVISION, fingerprint, dtype, recipe, self.step, self.tries_layers, pairs, self.prompts]
        text = json.dumps([*content, self.bos, self.n_tokens], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _base(self, place: int, recipe: Recipe) -> Recipe:
        """A step without its names and, where it is tuned, without what a point sets: a point that is used keeps it."""
        kept = {key: value for key, value in recipe.items() if recipe.get("kind") != Step.kind or key not in WORDS}
        if place != self.step:
            return kept
        kept.pop("strength", None)
        if self.tries_layers:
            kept["weights"] = {}
        if self.is_moved:
            kept |= {
                "mean_norms": {},
                "changes": [{**one, "at": HookPoint.parse(one["at"]).site} for one in kept["changes"]],
            }
        return kept


def layers_of(change: Intervention) -> tuple[int, ...]:
    """The layers that a step acts at."""
    return tuple(sorted({at.layer for at in change.hook_points() if at.layer is not None}))


def _contrast_json(contrast: Contrast | None) -> dict[str, Any] | None:
    return None if contrast is None else asdict(contrast)


def _contrast_of_json(given: Mapping[str, Any] | None) -> Contrast | None:
    if given is None:
        return None
    examples = [Example(**one) for one in given["examples"]]
    return contrast_of(given["title"], given["labels"], examples, given["is_paired"])


def _can_move(step: Step) -> bool:
    """Whether all its changes act at one hook point each, which can be another."""
    return len(layers_of(step)) > 1 or all(hasattr(one, "at") for one in step.changes)


def _check_layers(plan: TunePlan, n_layers: int) -> None:
    if not plan.tries_layers:
        return
    if not plan.takes_layers:
        raise UserError("Only a step of vectors can be tried at other layers.", "Leave its layer as it is.")
    known = plan.known_layers(n_layers)
    if wrong := [layer for layer in plan.layers if layer not in known]:
        raise UserError(
            f"{plan.tuned.name!r} cannot be tried at layer {wrong[0]}.",
            f"Choose from {', '.join(map(str, known))}: the layers it has vectors for, or, with one vector, any.",
        )
