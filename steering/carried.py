"""What a recipe names on the shelf by its digest, carried whole: each thing's own files, in a folder of its own.

1. Wherever a recipe has a field of FIELDS, its value is a digest: of a controller, a hypernetwork, an SAE, or of what
   the vectors of a step were made from.
2. All files of the thing's folder are carried, so that it has the same digest on any shelf.
3. Where a step holds its vectors itself, what they were made from may be missing; anything else must be there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.intervention import Intervention
from sae.shelf import find_shelved as find_sae
from steering.folding import changes_of, step_name
from steering.methods.logit_shift import LogitShift
from steering.shelf import Shelved, files_of, find_shelved

SOURCE = "source"
FIELDS = {"controller": "controllers", "hypernetwork": "hypernetworks", "sae": "saes", SOURCE: "vectors"}
"""A field of a recipe, and the kind of thing whose digest it has."""
KINDS = ("controllers", "hypernetworks", "saes", "vectors")
TITLES = {"controllers": "controller", "hypernetworks": "hypernetwork", "saes": "SAE", "vectors": "vectors"}
MAX_BYTES = 256_000_000
"""Of one thing: a bundle is made in memory, and sent by mail."""


@dataclass(frozen=True)
class Carried:
    """One thing of the shelf with its files by their names in its folder."""

    kind: str
    name: str
    digest: str
    files: Mapping[str, Path]

    @property
    def folder(self) -> str:
        """Where its files lie in a bundle."""
        return f"{self.kind}/{self.name}"

    @cached_property
    def n_bytes(self) -> int:
        """The size of its files together."""
        return sum(path.stat().st_size for path in self.files.values())

    def words(self) -> str:
        """What it is, where, and how large."""
        return f"{self.folder}: {TITLES[self.kind]} {self.digest[:12]}, {self.n_bytes / 1e6:.2f} MB"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "digest": self.digest,
            "folder": self.folder,
            "n_bytes": self.n_bytes,
        }


def carried_of(interventions: Sequence[Intervention]) -> tuple[tuple[Carried, ...], tuple[str, ...]]:
    """What a recipe names, and a sentence for each thing that is not carried: too large, or a model.

    Raises UserError where something that it cannot do without is not on the shelf.
    """
    found: dict[str, Carried] = {}
    for field, digest in named_in([one.recipe() for one in interventions]):
        for one in _things(field, digest):
            names = {other.name for other in found.values() if other.kind == one.kind and other.digest != one.digest}
            found.setdefault(one.digest, one if one.name not in names else _renamed(one))
    kept = tuple(sorted((one for one in found.values() if one.n_bytes <= MAX_BYTES), key=lambda one: one.folder))
    too_large = tuple(
        f"The {TITLES[one.kind]} {one.name} has {one.n_bytes / 1e6:,.0f} MB and is not in the bundle, which carries at "
        f"most {MAX_BYTES // 1_000_000} MB of each: copy its folder ({one.digest[:12]})."
        for one in found.values()
        if one.n_bytes > MAX_BYTES
    )
    models = tuple(
        f"{step_name(one, place)} names the models {change.tuned} and {change.untuned}: no bundle carries a model, so "
        "they must be where the recipe is opened."
        for place, one in enumerate(interventions, 1)
        for change in changes_of(one)
        if isinstance(change, LogitShift)
    )
    return kept, (*too_large, *models)


def named_in(recipe: Any) -> Iterator[tuple[str, str]]:
    """Each field of a recipe in plain JSON that names something on the shelf, and the digest in it."""
    if isinstance(recipe, Mapping):
        for name, value in recipe.items():
            if name in FIELDS and isinstance(value, str):
                if value:
                    yield name, value
            else:
                yield from named_in(value)
    elif isinstance(recipe, list | tuple):
        for one in recipe:
            yield from named_in(one)


def source_of(digest: str) -> Shelved | None:
    """What the vectors of a step were made from: other vectors, or a hypernetwork; None where it is not here."""
    for kind in ("vectors", "hypernetworks"):
        try:
            return find_shelved(kind, digest)
        except UserError:
            continue
    return None


def _things(field: str, digest: str) -> list[Carried]:
    if field == "sae":
        sae = find_sae(digest)
        files = {sae.folder.name: sae.folder} if sae.folder.is_file() else dict(files_of(sae.folder))
        return [Carried("saes", _folder_name(sae.name), sae.digest, files)]
    if field != SOURCE:
        return [_shelved(find_shelved(FIELDS[field], digest))]
    source = source_of(digest)
    if source is None:
        return []
    by = source.facts.get("hypernetwork")
    maker = source_of(str(by)) if by else None
    return [_shelved(one) for one in (source, maker) if one is not None]


def _shelved(one: Shelved) -> Carried:
    return Carried(one.kind, one.name, one.digest, dict(files_of(one.folder)))


def _renamed(one: Carried) -> Carried:
    return Carried(one.kind, f"{one.name[:40]} {one.digest[:12]}", one.digest, one.files)


def _folder_name(name: str) -> str:
    """A name that a folder on the shelf can have."""
    return re.sub(r"[^\w.+,()&'-]+", "-", name).strip("-.")[:60] or "sae"
