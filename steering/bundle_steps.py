"""What the manifest of a bundle says of each entry of its recipe: method, source, pairs, seed, sentence, scores."""

from collections.abc import Mapping
from typing import Any

from capture.errors import UserError
from capture.intervention import Intervention
from capture.session import ModelSession
from steering.carried import source_of
from steering.folding import step_title
from steering.methods.controller import SteerByController
from steering.methods.hypernetwork import SteerBySentence
from steering.recipe import Step
from steering.shelf import Shelved, find_shelved

UNKNOWN = "not on the shelf of the machine that wrote this"


def step_row(one: Intervention, place: int) -> dict[str, Any]:
    """What an entry is, and what its vectors or its network were made from."""
    row: dict[str, Any] = {"name": step_title(one, place), "kind": one.recipe()["kind"]}
    if isinstance(one, SteerByController):
        said = {name: one.recipe()[name] for name in ("strength", "unit", "output", "layers", "is_muted")}
        return row | said | _origin(_found("controllers", one.controller))
    if isinstance(one, SteerBySentence):
        said = {"sentence": one.sentence, "strength": one.strength, "unit": "factor", "scope": one.scope.kind}
        found = _found("hypernetworks", one.hypernetwork)
        return row | said | {"is_muted": one.is_muted} | _origin(found) | _variant(found)
    if not isinstance(one, Step):
        return row
    row |= {name: one.recipe()[name] for name in ("method", "source", "strength", "unit", "weights", "is_muted")}
    row |= {"scope": one.scope.kind, "schedule": one.schedule.kind, "has_condition": one.condition is not None}
    return row | _source(one) if one.source else row


def foreign(row: Mapping[str, Any], session: ModelSession) -> str:
    """That the vectors of a step were made on another model than the bundle is for; "" where they were not."""
    made_on = row.get("made_on")
    if not isinstance(made_on, Mapping) or made_on["fingerprint"] in ("", None, session.fingerprint):
        return ""
    return (
        f"The vectors of {row['name']!r} were made on {made_on['model']} with other weights, or in another precision."
    )


def _source(step: Step) -> dict[str, Any]:
    source = source_of(step.source)
    if source is None:
        return {"origin": UNKNOWN}
    if source.kind == "hypernetworks":
        return _origin(source) | {"sentence": step.name} | _variant(source)
    options, sentence = source.facts.get("options"), source.facts.get("sentence")
    return {
        **_origin(source),
        **({"sentence": str(sentence)} if sentence else {}),
        "pairs": source.facts.get("texts"),
        "options": options,
        "seed": options.get("seed") if isinstance(options, Mapping) else None,
        "scores": source.manifest.get("scores"),
    }


def _found(kind: str, digest: str) -> Shelved | None:
    try:
        return find_shelved(kind, digest)
    except UserError:
        return None


def _origin(source: Shelved | None) -> dict[str, Any]:
    if source is None:
        return {"origin": UNKNOWN}
    made_on = {name: source.facts.get(name) for name in ("model", "fingerprint")}
    return {"origin": source.name, "digest": source.digest, "made_on": made_on}


def _variant(source: Shelved | None) -> dict[str, Any]:
    recipe = source.manifest.get("recipe") if source is not None else None
    return {"variant": recipe.get("variant")} if isinstance(recipe, Mapping) else {}
