"""Checks of the fields of a recipe: a UserError says which field, what it must be, and what it is."""

import math
from collections.abc import Collection
from typing import Any

from capture.errors import UserError


def check_choices(recipe: Any, **known: Collection[str]) -> None:
    """Each named field must be one of the words given for it."""
    for name, choices in known.items():
        if (value := getattr(recipe, name)) not in choices:
            said = name.replace("_", " ")
            raise UserError(f"No {said} is called {str(value)[:40]!r}.", f"Choose one of: {', '.join(choices)}.")


def check_least(recipe: Any, **least: int) -> None:
    """Each named field must be a number from the one given for it on."""
    for name, bound in least.items():
        value = getattr(recipe, name)
        if not (math.isfinite(value) and value >= bound):
            raise UserError(f"{name} must be at least {bound}; {value} was given.", "Raise it.")


def check_above(recipe: Any, **bounds: int) -> None:
    """Each named field must be a finite number above the one given for it."""
    for name, bound in bounds.items():
        value = getattr(recipe, name)
        if not (math.isfinite(value) and value > bound):
            raise UserError(f"{name} must be above {bound}; {value} was given.", "Raise it.")
