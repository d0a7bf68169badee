"""A controller among the changes of a view, in a few words."""

from collections.abc import Mapping
from typing import Any

from capture.errors import UserError
from ui.numbers import say_number

CONTROLLER = "controller"


def controller_words(recipe: Mapping[str, Any]) -> str:
    """Its name on the shelf, or the beginning of its digest, and its strength."""
    strength = recipe.get("strength")
    said = say_number(strength) if isinstance(strength, int | float) and not isinstance(strength, bool) else "?"
    unit = " × mean norm" if recipe.get("unit") == "relative" else ""
    return f"controller {_name(str(recipe.get('controller')))}, α {said}{unit}"


def _name(digest: str) -> str:
    from steering.shelf import SHORT, find_shelved

    try:
        return find_shelved("controllers", digest).name
    except UserError:
        return f"{digest[:SHORT]}, not here"


def blocks_words(inputs: Any) -> str:
    """The blocks of the hook points that a controller reads."""
    names = [str(one).split(".")[1] for one in inputs or () if str(one).count(".") > 1]
    return f"block{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "no block"
