"""Bundle: one folder that other tools can steer with, made from a recipe; equal recipes give equal bytes.

1. The recipe is folded into vectors that are added (steering/folding.py), and proved on one token of the model.
2. Each format of `steering.formats` writes those that it can carry; a script for plain transformers has more.
3. `recipe.json` has all of it, and each thing of the shelf that it names lies beside it, whole (steering/carried.py).
4. `manifest.json` says from what everything was made, how it scored, and has a checksum of each file.
5. What a file cannot say, or leaves out, is a sentence in README.md, in the manifest, and in `warnings`.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.binding import audible
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.session import ModelSession
from capture.written_file import write_file
from steering import apply_steering
from steering.bundle_readme import readme
from steering.bundle_steps import foreign, step_row
from steering.carried import Carried, carried_of
from steering.fitted import Fitted
from steering.fitting import tokenizer_digest
from steering.folding import Folded, as_output, fold, step_title, summed
from steering.methods.hypernetwork import spoken
from steering.script_steps import script_of
from steering.vector_file import VectorFile, formats
from steering.vector_folder import MANIFEST, VECTORS, vector_manifest

BUNDLE_VERSION = 2
"""2 carries what the recipe names; what a reader of 1 looks for is where it was."""
RECIPE_VERSION = 1
RECIPE, README, SCRIPT = "recipe.json", "README.md", "apply_steering.py"
NORMS = "strength, unit and layer weights are in the vectors: each is added once, as it is"


@dataclass(frozen=True)
class Bundle:
    """The files by their names, and a sentence for everything that one of them cannot say or leaves out."""

    name: str
    files: Mapping[str, bytes]
    warnings: tuple[str, ...]
    carried: tuple[Carried, ...] = ()
    """What of the shelf lies in it, in folders of their own."""

    @property
    def n_bytes(self) -> int:
        """The size of all files together."""
        return sum(map(len, self.files.values()))


def make_bundle(
    session: ModelSession,
    interventions: Sequence[Intervention],
    name: str = "",
    sweeps: Sequence[Mapping[str, Any]] = (),
) -> Bundle:
    """The bundle of a recipe for the model of the session, with the sweeps of this very recipe in plain JSON.

    Raises UserError for an empty recipe, a hook point that the model does not have, a vector of another width, and a
    controller, hypernetwork or SAE that is not on the shelf.
    """
    if not audible(interventions):
        raise UserError("A bundle is made from at least one change; the recipe has none.", "Add a step to it.")
    session.check_interventions(interventions)
    session.logits((0,), interventions)
    carried, not_carried = carried_of(interventions)
    plain = spoken(interventions, session)
    folded = fold(plain)
    name = name or step_title(audible(interventions)[0], 1)
    found = VectorFile(summed(folded.additions), name, session.name, session.shape.family, session.shape.n_layers)
    by_format, left_out = _files_of_formats(found, folded)
    script = script_of(plain, session, {one.digest: one.folder for one in carried})
    rows = [step_row(one, place) for place, one in enumerate(interventions, 1)]
    foreign_ones = [words for row in rows if (words := foreign(row, session))]
    warnings = tuple(
        dict.fromkeys((*foreign_ones, *folded.caveats, *folded.refused, *left_out, *script.refused, *not_carried))
    )
    files = {file: data for one in by_format.values() for file, data in one.items()} | script.files
    files[SCRIPT] = Path(apply_steering.__file__).read_bytes()
    files[RECIPE] = _json(recipe_object(interventions, session))
    files |= {f"{one.folder}/{file}": path.read_bytes() for one in carried for file, path in one.files.items()}
    manifest = _manifest(session, interventions, rows, found, files[VECTORS]) | {
        "carried": [one.to_json() for one in carried],
        "recipe_scores": [dict(one) for one in sweeps],
        "warnings": list(warnings),
    }
    files[README] = readme(found, manifest, {kind: sorted(one) for kind, one in by_format.items()}).encode()
    manifest["checksums"] = {file: hashlib.sha256(data).hexdigest() for file, data in sorted(files.items())}
    files[MANIFEST] = _json(manifest)
    return Bundle(name, dict(sorted(files.items())), warnings, carried)


def write_bundle(bundle: Bundle, folder: Path) -> None:
    """Write the files; raises UserError where the folder has others already, or cannot be written."""
    there = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    strangers = set(there) - set(bundle.files) if folder.is_dir() else set()
    if strangers:
        raise UserError(
            f"A bundle is a folder of its own; {folder} holds {sorted(strangers)[0][:60]!r}.", "Name another folder."
        )
    for name, data in bundle.files.items():
        write_file(folder / name, data)


def bundle_zip(bundle: Bundle) -> bytes:
    """The bundle in one archive; equal bundles give equal bytes."""
    return zipped(bundle.files)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Files in one archive, all of one date."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def recipe_object(interventions: Sequence[Intervention], session: ModelSession) -> dict[str, Any]:
    """The recipe as plain JSON, with the model that it is for."""
    return {
        "recipe_version": RECIPE_VERSION,
        "model": session.name,
        "fingerprint": session.fingerprint,
        "interventions": [one.recipe() for one in interventions],
    }


def _files_of_formats(found: VectorFile, folded: Folded) -> tuple[dict[str, dict[str, bytes]], list[str]]:
    """Each format's files, and what each leaves out. safetensors is always there: it is what is read again here."""
    carried: dict[str, dict[str, bytes]] = {}
    left_out: list[str] = []
    for kind, module in formats().items():
        refused = {at: words for at in found.vectors if (words := module.left_out(at))}
        steps = {at: _steps_at(folded, at) for at in refused}
        left_out += [
            f"{', '.join(steps[at])}: {words} It is left out of {module.FILE}." for at, words in refused.items()
        ]
        kept = {at: vector for at, vector in found.vectors.items() if at not in refused}
        if kept or module.FILE == VECTORS:
            few = VectorFile(kept, found.name, found.model, found.model_type, found.n_layers, found.facts)
            carried[kind] = module.write(few)
        elif found.vectors:
            left_out.append(f"{module.TITLE} is not written: it could carry none of the vectors.")
    return carried, left_out


def _steps_at(folded: Folded, at: HookPoint) -> list[str]:
    return list(dict.fromkeys(one.step for one in folded.additions if as_output(one.at) == at))


def _manifest(
    session: ModelSession,
    interventions: Sequence[Intervention],
    steps: Sequence[Mapping[str, Any]],
    found: VectorFile,
    data: bytes,
) -> dict[str, Any]:
    """A manifest of a vector folder, which the bundle is as well, with the steps that it was made from."""
    norms = {as_output(at): norm for one in interventions for at, norm in getattr(one, "mean_norms", {}).items()}
    facts = {
        "model": session.name,
        "revision": session.revision,
        "fingerprint": session.fingerprint,
        "dtype": session.dtype,
        "processing": session.processing,
        "tokenizer": tokenizer_digest(session),
        "family": session.shape.family,
        "n_layers": session.shape.n_layers,
        "d_model": session.shape.d_model,
        "steps": list(steps),
    }
    scores = [row["scores"] for row in steps if isinstance(row.get("scores"), Mapping)]
    fitted = Fitted(
        "add_direction", found.vectors, {at: norm for at, norm in norms.items() if at.layer is not None}, facts
    )
    manifest = vector_manifest(fitted, data, scores[0] if len(scores) == len(steps) == 1 else None)
    return {"bundle_version": BUNDLE_VERSION, "name": found.name, **manifest, "norm_convention": NORMS}


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
