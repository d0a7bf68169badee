"""Sweeps of the very recipe that is looked at: found in the store by their plans, and told as a manifest keeps them.

A sweep is of a recipe where the plan that it was made by, with that recipe in place of its own, has the sweep's digest:
all is equal but the strength and the layer of what was tuned, which are what the sweep tries.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from capture.errors import UserError
from capture.intervention import Recipe
from capture.recipe_number import read_number
from capture.store import ActivationStore
from capture.store_tuning import plans_of
from steering.tune_plan import Point, TunePlan
from steering.tuning import Tuning, kept_tuning

MOST = 4
HALVES = "every second pair and prompt, from the first on, chose the knee; doses and knee are of the others"


@dataclass(frozen=True)
class RecipeSweep:
    """A sweep with the plan that made it, and the point at which the recipe stands."""

    plan: TunePlan
    tuning: Tuning
    standing: Point

    @property
    def tuned(self) -> str:
        """What was tuned."""
        return "all steps together" if self.plan.step is None else f"step {self.plan.step + 1}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: what was tuned on what, in which halves, KL budget, knee, and every dose with its intervals."""
        plan, found = self.plan, self.tuning
        facts, contrast = found.facts, plan.contrast
        pairs = None if contrast is None else {"title": contrast.title, "digest": contrast.digest()}
        texts = hashlib.sha256(json.dumps(plan.prompts).encode()).hexdigest()[:20]
        return {
            "tuned": self.tuned,
            "unit": plan.unit,
            "halves": HALVES,
            "pairs": None if pairs is None else pairs | _parts(facts, "pairs"),
            "prompts": {"digest": texts, **_parts(facts, "prompts")},
            "bos": plan.bos,
            "n_tokens": plan.n_tokens,
            "kl_budget": found.budget,
            "standing": asdict(self.standing),
            "knee": None if found.knee is None else asdict(found.knee),
            "is_at_knee": found.point == self.standing,
            "slider": list(found.slider),
            "steerability": found.slope,
            "doses": [asdict(one) for one in found.doses],
            "doses_of_choosing_half": [asdict(one) for one in found.chosen_on],
        }


def recipe_sweeps(
    store: ActivationStore | None, recipe: Sequence[Recipe], fingerprint: str, dtype: str
) -> tuple[dict[str, Any], ...]:
    """The sweeps of this recipe on this model, in plain JSON; those with pairs first, then those of most points."""
    found = list(_sweeps(store, recipe, fingerprint, dtype)) if store is not None else []
    found.sort(key=lambda one: (one.plan.contrast is None, -len(one.tuning.doses)))
    spelled = (one.to_json() for one in found)
    return tuple(one for one in spelled if _is_finite(one))[:MOST]


def sweep_words(found: Mapping[str, Any]) -> str:
    """What a sweep tuned on what, how many points it has, and what they chose."""
    pairs = "without pairs" if found["pairs"] is None else f"on {found['pairs']['title']!r}"
    knee = "no knee" if found["knee"] is None else f"knee {found['knee']['strength']:g}"
    return f"a sweep of {found['tuned']}, {pairs}: {len(found['doses']):,} points, {knee} ({found['unit']})"


def read_sweeps(manifest: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The sweeps in the manifest of a bundle; raises UserError for what is none that was written here."""
    given = manifest.get("recipe_scores", [])
    try:
        for one in given:
            sweep_words(one)
            parts = [one["prompts"], *([] if one["pairs"] is None else [one["pairs"]])]
            numbers = [part[name] for part in parts for name in ("n_choosing", "n_reported")]
            numbers += [one["kl_budget"], one["standing"]["strength"]]
            for dose in (*one["doses"], *([] if one["knee"] is None else [one["knee"]])):
                numbers += [dose["strength"], *([] if dose["layer"] is None else [dose["layer"]])]
                spreads = [dose["kl"], dose["perplexity_ratio"], *([dose["concept"]] if dose["concept"] else [])]
                numbers += [spread[name] for spread in spreads for name in ("mean", "low", "high")]
            for number in numbers:
                read_number(number)
        return tuple(dict(one) for one in given)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The sweeps in the manifest cannot be read: {repr(error)[:120]}.", "Take `recipe_scores` out of it."
        ) from error


def _is_finite(found: Mapping[str, Any]) -> bool:
    """Whether another machine will read it: a model that broke under a strength has losses that are no number."""
    try:
        return bool(read_sweeps({"recipe_scores": [found]}))
    except UserError:
        return False


def _sweeps(store: ActivationStore, recipe: Sequence[Recipe], fingerprint: str, dtype: str) -> Iterator[RecipeSweep]:
    for sweep, data in plans_of(store).items():
        try:
            plan = replace(TunePlan.from_json(json.loads(data)), recipe=tuple(dict(one) for one in recipe))
            if plan.sweep(fingerprint, dtype) != sweep:
                continue
            tuning, standing = kept_tuning(store, sweep, plan.budget), plan.standing()
        except (UserError, KeyError, TypeError, ValueError, IndexError):
            # A plan of another version, or one whose step this recipe does not have: no sweep of this recipe.
            continue
        if tuning is not None:
            yield RecipeSweep(plan, tuning, standing)


def _parts(facts: Any, what: str) -> dict[str, Any]:
    return {"n_choosing": facts[f"n_{what}_choosing"], "n_reported": facts[f"n_{what}"]}
