"""A step of a recipe in words, from its plain JSON: what it does, where, how strongly, at which tokens, and if."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from ui.numbers import say_number

STEP = "step"
Recipe = Mapping[str, Any]
VERBS = {
    "add_direction": "adds",
    "add_vector": "adds",
    "add_rows": "adds rows",
    "add_gated": "adds as much as each token asks for",
    "project_out": "projects out",
    "clamp_direction": "clamps",
    "replace_direction": "replaces",
    "multiply_entries": "multiplies entries",
    "gradient_step": "steps down a classifier",
    "affine_low_rank": "edits a subspace",
    "edit_latent": "edits a latent",
    "replace_entries": "replaces entries",
    "mask_below": "masks",
    "keep_largest": "masks",
    "mask_weak_neurons": "masks",
    "hypernetwork": "steers by a sentence",
}
SCOPES = {
    "all": "every token",
    "skip_special": "all but special tokens",
    "prompt": "prompt",
    "prompt_ends": "first and last of the prompt",
    "generated": "generated",
    "last_prompt": "last of the prompt",
    "last_prompt_and_generated": "last of the prompt on",
    "ranges": "ranges",
}
UNITS = {"absolute": "× as stored", "relative": "× mean norm"}
BARS = "▁▂▃▄▅▆▇█"


def step_words(step: Recipe) -> str:
    """A step in one line, such as: happy endings: adds 0.1 × mean norm at block 2, all but special tokens."""
    verbs = dict.fromkeys(verb(one) for one in _list(step.get("changes")))
    words = [f"{step.get('name')}: {', '.join(verbs)} {strength_words(step)} at {place_words(points_of(step))}"]
    words += [part for part in (scope_words(step), schedule_words(step), condition_words(step)) if part]
    words += [word for word, field in (("muted", "is_muted"), ("solo", "is_solo")) if step.get(field) is True]
    return ", ".join(words)


def short_step_words(step: Recipe) -> str:
    """A step in a few words: its name and strength, and whether it is muted or solo."""
    marks = [word for word, field in (("muted", "is_muted"), ("solo", "is_solo")) if step.get(field) is True]
    return ", ".join([f"{step.get('name')} {strength_words(step)}", *marks])


def strength_words(step: Recipe) -> str:
    """The strength of a step with its unit: 0.1 × mean norm, or ×1.5."""
    number = _number(step.get("strength"))
    return f"{number} {UNITS['relative']}" if step.get("unit") == "relative" else f"×{number}"


def verb(change: Any) -> str:
    """What an operator does."""
    kind = str(change.get("kind", "?")) if isinstance(change, Mapping) else "?"
    return VERBS.get(kind, kind.replace("_", " "))


def points_of(step: Recipe) -> tuple[HookPoint, ...]:
    """The hook points of a step's changes, in order; those that cannot be read are left out."""
    found: dict[HookPoint, None] = {}
    for change in _list(step.get("changes")):
        try:
            found[HookPoint.parse(str(change["at"]))] = None
        except (UserError, KeyError, TypeError):
            continue
    return tuple(found)


def place_words(points: Sequence[HookPoint]) -> str:
    """Hook points as a person says them: blocks 2 to 4, resid_post."""
    if not points:
        return "no hook point"
    sites: dict[str, list[int]] = {}
    for at in points:
        sites.setdefault(at.site, []).extend([] if at.layer is None else [at.layer])
    grouped: dict[str, list[str]] = {}
    for site, layers in sites.items():
        grouped.setdefault(layer_words(layers), []).append(site)
    return "; ".join(f"{layers}, {', '.join(names)}".removeprefix(", ") for layers, names in grouped.items())


def layer_words(layers: Iterable[int]) -> str:
    """Layers as a person says them: block 2; blocks 0, 2 to 4."""
    ordered = sorted(set(layers))
    if not ordered:
        return ""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])]
    said = [str(run[0]) if len(run) == 1 else f"{run[0]} {'to' if len(run) > 2 else 'and'} {run[-1]}" for run in runs]
    return f"block{'s' if len(ordered) > 1 else ''} {', '.join(said)}"


def scope_words(step: Recipe) -> str:
    """At which tokens a step acts; "" for all of them."""
    scope = step.get("scope")
    kind = str(scope.get("kind")) if isinstance(scope, Mapping) else "all"
    return "" if kind == "all" else SCOPES.get(kind, kind)


def schedule_words(step: Recipe) -> str:
    """How its strength moves over the generated tokens; "" for a constant one."""
    schedule = step.get("schedule")
    if not isinstance(schedule, Mapping) or schedule.get("kind") == "constant":
        return ""
    if schedule.get("kind") == "window":
        end = schedule.get("end")
        return f"from token {schedule.get('start')}{'' if end is None else f' until before {end}'}"
    return (
        f"ramp {_number(schedule.get('low'))} to {_number(schedule.get('high'))} over {schedule.get('n_tokens')} tokens"
    )


def condition_words(step: Recipe) -> str:
    """The condition that a step has; "" where it has none."""
    condition = step.get("condition")
    if not isinstance(condition, Mapping):
        return ""
    return f"if similarity {condition.get('comparator')} {_number(condition.get('threshold'))}"


def weight_bars(weights: Sequence[float]) -> str:
    """Weights as bars of text, tallest for the largest."""
    most = max((abs(one) for one in weights), default=0.0)
    return "".join(BARS[round(abs(one) / most * (len(BARS) - 1))] if most else BARS[0] for one in weights)


def _list(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list | tuple) else ()


def _number(value: Any) -> str:
    return say_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else "?"
