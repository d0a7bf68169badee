"""What is on the shelf, as a table's rows and in words: from what, how good, under what terms."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ui.numbers import say_number
from ui.step_words import place_words
from ui.words import shortened

if TYPE_CHECKING:
    from capture.hook_point import HookPoint
    from steering.shelf import Shelved

NOTHING = "–"
LICENCE = "Apache-2.0"
"""Of what comes with the program."""
TITLES = {"vectors": "Vectors", "controllers": "Controllers", "hypernetworks": "Hypernetworks", "recipes": "Recipes"}


def table_of(shelf: "Sequence[Shelved]") -> dict[str, list[Any]]:
    """A column for each thing to compare; scores where vectors have them."""
    rows = [_row(one) for one in shelf]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _row(one: "Shelved") -> dict[str, Any]:
    scores = scores_of(one)
    row: dict[str, Any] = {"name": one.name, "origin": origin_of(one), "made by": made_by(one)}
    if one.kind == "vectors":
        row |= {
            "where": place_words(points_of(one)),
            "texts": texts_of(one),
            "AUROC": best_auroc(scores),
            "strength": chosen if isinstance(chosen := scores.get("chosen_strength"), float) and chosen else None,
            "steers": "yes" if scores.get("steers") is True else "not shown" if scores else NOTHING,
        }
    if one.kind == "recipes":
        row |= {"steps": ", ".join(str(step["name"]) for step in steps_of(one)), "texts": texts_of(one)}
    return row | {"licence": licence_of(one), "model": str(one.facts.get("model") or NOTHING)}


def made_by(one: "Shelved") -> str:
    """The method, in words; of what was imported, what it was imported from."""
    imported = one.facts.get("imported")
    if "bundle_version" in one.manifest:
        return "a recipe"
    if isinstance(imported, Mapping):
        return f"a .{str(imported.get('file')).rpartition('.')[2][:12]} file"
    named = one.manifest.get("method") or one.manifest.get("kind") or one.kind
    return str(named).replace("_", " ")[:60]


def origin_of(one: "Shelved") -> str:
    """Whether it came with the program, was imported, or was made here."""
    if one.is_bundled:
        return "bundled"
    is_foreign = isinstance(one.facts.get("imported"), Mapping) or "bundle_version" in one.manifest
    return "imported" if is_foreign else "made here"


def licence_of(one: "Shelved") -> str:
    """Under what terms it may be used; nothing where nobody said."""
    if one.is_bundled:
        return LICENCE
    return shortened(str(one.facts.get("licence") or one.manifest.get("licence") or NOTHING), 60)


def points_of(one: "Shelved") -> "list[HookPoint]":
    """Hook points of vectors, in the order of the manifest; those that cannot be read are left out."""
    from capture.errors import UserError
    from capture.hook_point import HookPoint

    named = one.manifest.get("hook_points")
    found = []
    for name in named.values() if isinstance(named, Mapping) else ():
        try:
            found.append(HookPoint.parse(str(name)))
        except UserError:
            continue
    return found


def texts_of(one: "Shelved") -> str:
    """The sets that it was fitted on; of a bundle, those of its steps."""
    found = [one.facts.get("texts"), *(step.get("pairs") for step in steps_of(one))]
    titles = [str(texts["title"]) for texts in found if isinstance(texts, Mapping) and texts.get("title")]
    return shortened(", ".join(dict.fromkeys(titles)), 40) or NOTHING


def steps_of(one: "Shelved") -> list[Mapping[str, Any]]:
    """What the manifest of a bundle says of each step that has a name."""
    steps = one.facts.get("steps")
    return [step for step in steps if isinstance(step, Mapping) and "name" in step] if isinstance(steps, list) else []


def sweep_of(one: "Shelved") -> Mapping[str, Any]:
    """The first sweep of a recipe in its manifest; empty where there is none."""
    sweeps = one.manifest.get("recipe_scores")
    first = sweeps[0] if isinstance(sweeps, list) and sweeps else None
    return first if isinstance(first, Mapping) else {}


def scores_of(one: "Shelved") -> Mapping[str, Any]:
    """The scores in the manifest; empty where there are none."""
    scores = one.manifest.get("scores")
    return scores if isinstance(scores, Mapping) else {}


def doses_of(one: "Shelved") -> list[dict[str, float]]:
    """The dose-response in the manifest, in numbers; empty where it has none that can be read."""
    from steering.kept_scores import middle

    found = []
    try:
        for dose in scores_of(one)["doses"]:
            null = [dose[name] for name in ("null_random", "null_shuffled") if dose[name] is not None]
            concept = {name: float(dose["concept"][name]) for name in ("mean", "low", "high")}
            cost = middle(dose["kl"])
            found.append({"strength": float(dose["strength"]), "kl": cost, "null": max(null), **concept})
    except (KeyError, TypeError, ValueError):
        return []
    return found


def unit_of(one: "Shelved") -> str:
    """The unit of the strengths in the scores."""
    facts = scores_of(one).get("facts")
    return str(facts.get("unit", "")) if isinstance(facts, Mapping) else ""


def best_auroc(scores: Mapping[str, Any]) -> float | None:
    """The highest AUROC of held-out projections."""
    areas = scores.get("auroc")
    numbers = [one for one in areas.values() if isinstance(one, int | float)] if isinstance(areas, Mapping) else []
    return max(numbers, default=None)


def provenance(one: "Shelved") -> dict[str, str]:
    """What is known of its making, as names and words; only what the manifest says."""
    facts = one.facts
    texts, imported = facts.get("texts"), facts.get("imported")
    found: dict[str, Any] = {
        "Made by": made_by(one),
        "Model": facts.get("model"),
        "Weights": str(facts.get("fingerprint") or "")[:8],
        "Precision": facts.get("dtype"),
        "Tokenizer": str(facts.get("tokenizer") or "")[:8],
        "Where": place_words(points_of(one)) if points_of(one) else None,
    }
    if steps := steps_of(one):
        found["Steps"] = ", ".join(str(step["name"]) for step in steps)
        found["Carries"] = _carried(one)
    if isinstance(texts, Mapping):
        n, digest = facts.get("n_texts"), str(texts.get("digest") or "")[:8]
        counted = f"{say_number(n)} texts of " if isinstance(n, int) else ""
        found["Texts"] = f"{counted}“{texts.get('title')}” ({digest})"
    elif (named := texts_of(one)) != NOTHING:
        found["Texts"] = f"“{named}”"
    options = facts.get("options")
    if isinstance(options, Mapping) and options:
        found["Options"] = ", ".join(f"{name}: {_said(value)}".replace("_", " ") for name, value in options.items())
    if isinstance(imported, Mapping):
        found["File"] = f"{imported.get('file')} ({str(imported.get('sha256'))[:8]}), blocks {imported.get('blocks')}"
    found |= {"Licence": licence_of(one), "Digest": one.digest[:12]}
    return {name: shortened(str(value), 200) for name, value in found.items() if value not in (None, "", NOTHING)}


def _carried(one: "Shelved") -> str:
    """What came with a recipe, by the folders in its bundle."""
    given = one.manifest.get("carried")
    return (
        ", ".join(str(each.get("folder")) for each in given if isinstance(each, Mapping))
        if isinstance(given, list)
        else ""
    )


def _said(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
