"""A recipe as Python: steps of vectors on the shelf by their digest, everything else as the plain JSON that it is.

Whatever is spelled out is tried: code stands for an entry only where it makes that very entry again.
"""

import json
import pprint
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from textwrap import indent
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from steering.methods.cast_condition import Condition
from steering.recipe import Step
from steering.shelf import CONDITION, SHORT, Shelved, find_shelved, shelved
from steering.shelf_step import KIND, condition_from_shelf, step_from_shelf

WIDTH = 100
SPELLED = (
    "strength",
    "unit",
    "weights",
    "scope",
    "schedule",
    "condition",
    "is_muted",
    "is_solo",
    "strength_range",
    "usual_strength",
)
"""Fields of a step that a call may say, in this order."""
HOMES = {
    "step_from_shelf": "steering.shelf_step",
    "condition_from_shelf": "steering.shelf_step",
    "TokenScope": "steering.token_scope",
    "Schedule": "steering.schedule",
    "Condition": "steering.methods.cast_condition",
    "replace": "dataclasses",
}


@dataclass(frozen=True)
class RecipeCode:
    """Lines of imports, and an expression: the list of a recipe's entries as plain JSON."""

    imports: tuple[str, ...]
    expression: str


def recipe_code(recipe: Sequence[Mapping[str, Any]]) -> RecipeCode:
    """The recipe as Python on this program's own API."""
    entries = [_entry(one) for one in recipe]
    expression = "[\n" + "".join(f"{indent(one, '    ')},\n" for one in entries) + "]"
    used: dict[str, list[str]] = {}
    for name, home in HOMES.items():
        if f"{name}(" in expression or f"{name}.from_recipe(" in expression:
            used.setdefault(home, []).append(name)
    return RecipeCode(tuple(f"from {home} import {', '.join(sorted(used[home]))}" for home in sorted(used)), expression)


def _entry(recipe: Mapping[str, Any]) -> str:
    if recipe.get("kind") == Step.kind:
        try:
            step: Any = operator_from_recipe(dict(recipe))
            one = find_shelved(KIND, step.source) if step.source else None
        except UserError:
            one = None
        if one is not None and (call := _call_of(step, one, recipe)):
            return f"{call}.recipe()"
    return pprint.pformat(json.loads(json.dumps(recipe)), width=WIDTH, sort_dicts=False)


def _call_of(step: Step, one: Shelved, recipe: Mapping[str, Any]) -> str:
    """The call that makes a step again; "" where none does."""
    value = float(getattr(step.changes[0], "value", 0.0))
    fixed: dict[str, Any] = {} if step.method == one.manifest.get("method") else {"method": step.method}
    fixed |= {} if step.name == one.name.replace("_", " ") else {"name": step.name}
    fixed |= {"value": value} if value else {}
    for places in _places(step, one):
        said = {**places, **fixed}
        try:
            made = step_from_shelf(one.digest, **said)
            # Twice, since the strength decides what a reset goes back to.
            for _ in range(2):
                said |= {name: getattr(step, name) for name in SPELLED if getattr(step, name) != getattr(made, name)}
                made = step_from_shelf(one.digest, **said)
        except UserError:
            continue
        if json.dumps(made.recipe(), sort_keys=True) == json.dumps(recipe, sort_keys=True):
            return _call(one, said)
    return ""


def _places(step: Step, one: Shelved) -> Iterator[dict[str, Any]]:
    """What may be said of the places, the shortest first."""
    points = [str(at) for at in step.hook_points()]
    yield {}
    yield {"layers": sorted({at.layer for at in step.hook_points() if at.layer is not None})}
    yield {"at": points}
    for name in one.manifest.get("hook_points", {}).values():
        yield {"layers": [HookPoint.parse(str(name)).layer], "at": points}


def _call(one: Shelved, said: Mapping[str, Any]) -> str:
    lines = [f'    "{one.digest[:SHORT]}",  # {one.name}', *(f"    {name}={literal(v)}," for name, v in said.items())]
    return "\n".join(["step_from_shelf(", *lines, ")"])


def literal(value: Any) -> str:
    """A value as Python: dataclasses as calls with what is not their default, conditions by their digest."""
    if isinstance(value, Condition):
        return _condition(value)
    if is_dataclass(value) and not isinstance(value, type):
        said = [one for one in fields(value) if one.default is MISSING or getattr(value, one.name) != one.default]
        return f"{type(value).__name__}({', '.join(f'{one.name}={literal(getattr(value, one.name))}' for one in said)})"
    return pprint.pformat(value, width=WIDTH, sort_dicts=False)


def _condition(condition: Condition) -> str:
    for one in shelved(KIND):
        if one.manifest.get("method") == CONDITION:
            known = condition_from_shelf(one.digest)
            names = [
                each.name for each in fields(condition) if getattr(known, each.name) != getattr(condition, each.name)
            ]
            if not {"vector", "at"} & set(names):
                call = f'condition_from_shelf("{one.digest[:SHORT]}")'
                changed = ", ".join(f"{name}={getattr(condition, name)!r}" for name in names)
                return f"replace({call}, {changed})" if names else call
    return f"Condition.from_recipe({pprint.pformat(condition.recipe(), width=WIDTH, sort_dicts=False)})"
