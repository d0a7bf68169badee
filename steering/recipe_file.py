"""A recipe from a file, or from the name of vectors on the shelf, as plain JSON."""

import json
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.intervention import Recipe, operator_from_recipe
from steering.method import method_named
from steering.recipe import step_of
from steering.shelf import find_shelved
from steering.vector_folder import read_vectors

MAX_BYTES = 64_000_000
USUAL_STRENGTH = 0.1
"""Of vectors by their name, in mean norms of the activations."""


def read_recipe(named: str) -> tuple[Recipe, ...]:
    """The recipe in a JSON file (a list of changes, one change, or a view), or one step of vectors on the shelf.

    Raises UserError for what is no recipe; every change is read once, so that a broken one is refused here.
    """
    path = Path(named)
    if path.suffix == ".json" or path.is_file():
        found = _changes_in(_json_in(path))
    else:
        shelved = find_shelved("vectors", named)
        fitted = read_vectors(shelved.folder)
        step = step_of(
            fitted,
            method_named(fitted.method),
            shelved.name,
            strength=USUAL_STRENGTH,
            unit="relative",
            source=shelved.digest,
        )
        found = (step.recipe(),)
    for one in found:
        operator_from_recipe(one)
    return found


def _json_in(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.name} cannot be read: {str(error)[:160]}.", "Export the recipe again.") from error


def _changes_in(given: Any) -> tuple[Recipe, ...]:
    if isinstance(given, dict):
        given = given.get("interventions", [given])
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise UserError(
            f"A recipe is a list of changes; {str(given)[:60]!r} was read.",
            "Give a JSON list of changes, or a view's JSON with `interventions`.",
        )
    return tuple(given)
