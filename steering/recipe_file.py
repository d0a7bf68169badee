"""A recipe by what a person names: a JSON file, a recipe or vectors on the shelf, or a view."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.intervention import Intervention, operator_from_recipe
from steering.shelf import shelved

MAX_BYTES = 32_000_000
MAX_ENTRIES = 100
RECIPE = "recipe.json"
VIEWS = "analysis.command_words"
"""The module that reads a view's link. It is not below this room, so it is known by its name alone."""


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe, what to call it, and the model that it says it is for; "" where it does not say."""

    interventions: tuple[Intervention, ...]
    name: str
    model: str = ""
    sweeps: tuple[Mapping[str, Any], ...] = ()
    """Sweeps that came with it in a bundle, in plain JSON."""


def named_recipe(words: str) -> NamedRecipe:
    """The recipe in a file, a recipe or vectors on the shelf by name or digest, or that of a view's address or code.

    Raises UserError for what is none of these, and for a recipe that cannot be read.
    """
    path = Path(words).expanduser()
    if path.suffix == ".json" or path.is_file():
        return _of_file(path)
    for one in shelved("recipes"):
        if one.is_called(words):
            from steering.recipe_sweeps import read_sweeps

            return replace(_of_file(one.folder / RECIPE), name=one.name, sweeps=read_sweeps(one.manifest))
    for one in shelved("vectors"):
        if one.is_called(words):
            from steering.shelf_step import step_from_shelf

            return NamedRecipe((step_from_shelf(one.digest),), one.name, str(one.facts.get("model") or ""))
    try:
        view = importlib.import_module(VIEWS).spec_of_view(words)
    except UserError as error:
        names = ", ".join(one.name for one in shelved("vectors")[:8])
        raise UserError(
            f"{words[:60]!r} is no .json file, no recipe or vectors on the shelf, and no view that can be read.",
            f"Name a recipe.json, one of {names}, or the address of a view.",
        ) from error
    return NamedRecipe(_interventions(view.interventions), "", view.model)


def _of_file(path: Path) -> NamedRecipe:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES // 1_000_000} MB")
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a recipe: {str(error)[:160]}.", "Name a recipe.json.") from error
    model = str(data.get("model") or "") if isinstance(data, dict) else ""
    return NamedRecipe(_interventions(data.get("interventions") if isinstance(data, dict) else data), path.stem, model)


def _interventions(given: Any) -> tuple[Intervention, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(one, Mapping) for one in given):
        raise UserError("A recipe is a list of changes, or has one as `interventions`.", "Export it again.")
    if not 1 <= len(given) <= MAX_ENTRIES:
        raise UserError(f"A recipe has 1 to {MAX_ENTRIES} changes; this one has {len(given):,}.", "Add a step to it.")
    return tuple(operator_from_recipe(dict(one)) for one in given)
