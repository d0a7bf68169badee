"""Editing the view's recipe, as plain JSON: every edit asks for the Spec with the changed list."""

from collections.abc import Callable, Mapping
from typing import Any

from ui import state
from ui.step_words import STEP, verb

Recipe = Mapping[str, Any]
EVERY_TOKEN = {"kind": "all", "ranges": [[0, None]]}
CONSTANT = {"kind": "constant", "start": 0, "end": None, "low": 0.0, "high": 1.0, "n_tokens": 16}


def entries() -> list[Recipe]:
    """The entries of the recipe, in order."""
    return list(state.session().asked.interventions)


def has_own_controls(recipe: Recipe) -> bool:
    """Whether an entry can be muted by itself; any other is put into a step for that."""
    return "is_muted" in recipe


def as_step(recipe: Recipe) -> dict[str, Any]:
    """A change as the only one of a step, acting as it does alone."""
    return {
        "kind": STEP,
        "name": str(recipe.get("name") or verb(recipe)),
        "changes": [dict(recipe)],
        "strength": 1.0,
        "unit": "absolute",
        "mean_norms": {},
        "weights": {},
        "scope": EVERY_TOKEN,
        "schedule": CONSTANT,
        "condition": None,
        "is_muted": False,
        "is_solo": False,
    }


def set_fields(place: int, **fields: Any) -> None:
    """Change fields of an entry; a bare change becomes a step first."""
    some = entries()
    if place < len(some):
        one = some[place]
        some[place] = {**(one if has_own_controls(one) else as_step(one)), **fields}
        _ask(some)


def setter(place: int, name: str) -> Callable[[Any], None]:
    """What a widget of a field calls with its new value."""
    return lambda value: None if value is None else set_fields(place, **{name: value})


def set_within(place: int, name: str, **fields: Any) -> None:
    """Change fields of a field that is a set of named values, such as the scope."""
    some = entries()
    if place < len(some):
        set_fields(place, **{name: {**(some[place].get(name) or {}), **fields}})


def within_setter(place: int, name: str, field: str) -> Callable[[Any], None]:
    """What a widget of a field within a field calls with its new value."""
    return lambda value: None if value is None else set_within(place, name, **{field: value})


def set_of_changes(place: int, name: str, value: Any) -> None:
    """Change a field of every change of a step that has it, such as the value of a clamp."""
    some = entries()
    if place < len(some) and value is not None:
        changes = [{**one, name: value} if name in one else one for one in some[place].get("changes", ())]
        set_fields(place, changes=changes)


def move(place: int, by: int) -> None:
    """Move an entry up (-1) or down (1)."""
    some = entries()
    if 0 <= place + by < len(some) and place < len(some):
        some.insert(place + by, some.pop(place))
        _ask(some)


def remove(place: int) -> None:
    """Take an entry out."""
    _ask([one for index, one in enumerate(entries()) if index != place])


def _ask(some: list[Recipe]) -> None:
    state.session().drafts.clear()
    state.change(interventions=tuple(some))
