"""Importing: vectors of a file of another tool, or a folder of this one, onto the shelf, with where they came from.

A folder that this program wrote (vectors, a controller, a hypernetwork, a bundle), or its ZIP, goes there as it is, so
that it has the digest it has elsewhere. A file of another tool says little: it is checked against a model (widths,
blocks), and the mean norms of that model's activations are measured, in which a relative strength counts.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number
from capture.session import ModelSession
from sae.config_file import read_config
from steering import controller_folder, hypernetwork_folder
from steering.bundle_import import RECIPES, Imported, checked_files, import_bundle, is_bundle, unpack
from steering.carried import TITLES
from steering.fitted import Fitted
from steering.formats.llama_cpp import SHIFTED
from steering.kept_scores import middle
from steering.recipe_file import named_recipe
from steering.shelf import SHORT, Shelved, put_on_shelf
from steering.vector_file import BLOCK_OUTPUTS, VectorFile, read_vector_file
from steering.vector_folder import MANIFEST, VECTORS, read_vectors, write_vectors

KIND = "vectors"
AS_USED, AS_MEASURED = "as-used", "as-measured"
BLOCKS = {
    "": "as the file says; one that looks like llama.cpp's cvector-generator must be answered for",
    AS_USED: "the blocks that llama.cpp steers with this file",
    AS_MEASURED: "one block earlier: where llama.cpp's cvector-generator measured",
}
NETWORKS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "controllers": (controller_folder.WEIGHTS, controller_folder.read_controller),
    "hypernetworks": (hypernetwork_folder.WEIGHTS, hypernetwork_folder.read_hypernetwork),
}
"""Folders of networks: the file of their weights, and their reader."""
SUFFIXES = (".gguf", ".svec", ".json", ".npz", ".safetensors", ".zip")


def import_any(
    path: Path,
    name: str = "",
    session: ModelSession | None = None,
    texts: Sequence[str] = (),
    blocks: str = "",
    licence: str = "",
) -> Imported:
    """What a file, a folder, or a folder's ZIP holds, on the shelf under a name.

    `texts` are those that mean norms are measured on. Raises UserError for what cannot be read, does not fit the model
    of the session, or must be asked about (`blocks`, a key of BLOCKS).
    """
    if path.is_dir():
        return _import_folder(path, name or path.resolve().name)
    if path.suffix == ".zip":
        with tempfile.TemporaryDirectory() as folder:
            unpack(path, Path(folder))
            return _import_folder(Path(folder), name or path.stem)
    return Imported(import_vectors(path, name, session, texts, blocks, licence))


def import_vectors(
    path: Path,
    name: str = "",
    session: ModelSession | None = None,
    texts: Sequence[str] = (),
    blocks: str = "",
    licence: str = "",
) -> Shelved:
    """What a file of another tool holds, as `import_any` has it."""
    found = placed(read_vector_file(path), blocks)
    norms = {} if session is None else _norms(found, session, texts)
    fitted = Fitted("add_direction", found.vectors, norms, _facts(found, path, session, blocks, licence))
    with tempfile.TemporaryDirectory() as folder:
        write_vectors(fitted, Path(folder))
        return put_on_shelf(KIND, Path(folder), name or found.name or path.stem)


def placed(found: VectorFile, blocks: str) -> VectorFile:
    """The vectors at the blocks that were asked for; raises UserError where that must be asked and was not."""
    if blocks not in BLOCKS:
        raise UserError(f"Blocks are {AS_USED} or {AS_MEASURED}; {blocks[:20]!r} was given.", "Choose one of them.")
    if not blocks and found.facts.get(SHIFTED):
        raise UserError(
            "This file looks like one of llama.cpp's cvector-generator, which writes what it measured at the output of "
            "block N as direction.N+1; it is not said which block is meant.",
            f"Say --blocks {AS_USED} for the blocks that llama.cpp steers with it, or --blocks {AS_MEASURED} for one "
            "block earlier.",
        )
    if blocks != AS_MEASURED:
        return found
    if not all(at.site == BLOCK_OUTPUTS and at.layer for at in found.vectors):
        raise UserError("Only what is added to the output of a block from 1 on can be moved.", f"Say {AS_USED}.")
    moved = {HookPoint((at.layer or 0) - 1, at.site): vector for at, vector in found.vectors.items()}
    return replace(found, vectors=moved)


def _norms(found: VectorFile, session: ModelSession, texts: Sequence[str]) -> dict[HookPoint, float]:
    """Mean norms at the hook points of the vectors; raises UserError where the model has others, or other widths."""
    points = list(found.vectors)
    for at, vector in found.vectors.items():
        if not session.has_site(at):
            last = session.shape.n_layers - 1
            raise UserError(
                f"The file has a vector for {at}; {session.name} has blocks 0 to {last} and no such place.",
                "Name the model that the file is for.",
            )
        if (width := session.capture((0,), [at])[at].flatten(1).shape[1]) != vector.numel():
            raise UserError(
                f"The vector for {at} has {vector.numel():,} entries; {session.name} has {width:,} there.",
                "Name the model that the file is for.",
            )
    return mean_norms(session, points, texts)


def mean_norms(session: ModelSession, at: Sequence[HookPoint], texts: Sequence[str]) -> dict[HookPoint, float]:
    """Mean norm of the activations at each hook point, over all tokens of the texts but the first of each."""
    norms: dict[HookPoint, list[float]] = {point: [] for point in at}

    def take(point: HookPoint, values: Any, _: Any, pos: Any) -> None:
        norms[point] += values[pos > 0].float().flatten(1).norm(dim=1).tolist()

    session.stream([session.tokens(text, bos=True) for text in texts], at, take)
    return {point: sum(one) / len(one) for point, one in norms.items() if one}


def _facts(found: VectorFile, path: Path, session: ModelSession | None, blocks: str, licence: str) -> dict[str, Any]:
    """Where the vectors came from, and what model they are for."""
    own = {name: value for name, value in found.facts.items() if name != SHIFTED}
    about = {"model": found.model or found.model_type, "revision": "", "fingerprint": "", "family": found.model_type}
    if session is not None:
        about |= {"model": session.name, "revision": session.revision, "fingerprint": session.fingerprint}
        about |= {"family": session.shape.family, "dtype": session.dtype, "processing": session.processing}
    origin = {
        "file": path.name[:120],
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "named": found.name[:120],
        "for": found.model or found.model_type,
        "blocks": blocks or AS_USED,
    }
    return about | own | {"imported": origin, "licence": licence[:200]}


def imported_lines(found: Imported) -> list[str]:
    """What is on the shelf now, in words."""
    one = found.first
    if one.kind == KIND:
        return _vector_lines(one)
    lines = [f"{one.name} is on the shelf: {_words(one)}, digest {one.digest[:SHORT]}"]
    lines += [f"with it {_words(more)} {more.name}, digest {more.digest[:SHORT]}" for more in found.more]
    lines += [f"with it the SAE {sae.name}, digest {sae.digest[:SHORT]}" for sae in found.saes]
    return lines


def _vector_lines(one: Shelved) -> list[str]:
    fitted = read_vectors(one.folder)
    lines = [f"{one.name} is on the shelf: {_counted(len(fitted.vectors))}, digest {one.digest[:SHORT]}"]
    for at, vector in sorted(fitted.vectors.items()):
        norm = fitted.mean_norms.get(at)
        beside = "" if norm is None else f", mean activation there {norm:.4g}"
        lines.append(f"{at}: length {float(vector.norm()):.4g}{beside}")
    return lines


def _words(one: Shelved) -> str:
    """What one thing of the shelf is."""
    if one.kind != RECIPES:
        return TITLES[one.kind]
    n = len(named_recipe(one.digest).interventions)
    return f"a recipe of {'1 change' if n == 1 else f'{n:,} changes'}"


def _counted(n: int) -> str:
    return "1 vector" if n == 1 else f"{n:,} vectors"


def _import_folder(folder: Path, name: str) -> Imported:
    """A folder of this program as it is, once every file that its manifest has a checksum of is the right one."""
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder.name} holds no {MANIFEST}.", "Name a folder that this program wrote, or a file of vectors."
        )
    manifest = read_config(folder / MANIFEST)
    if is_bundle(manifest):
        return import_bundle(folder, name)
    files = checked_files(folder)
    for kind, (weights, read) in NETWORKS.items():
        if weights in files:
            read(folder)
            return Imported(put_on_shelf(kind, folder, name))
    if not read_vectors(folder).vectors:
        raise UserError(f"{name} has no vector in it.", "Name another folder.")
    check_scores(manifest.get("scores"))
    with tempfile.TemporaryDirectory() as place:
        for file in (MANIFEST, VECTORS):
            shutil.copyfile(folder / file, Path(place) / file)
        return Imported(put_on_shelf(KIND, Path(place), name))


def check_scores(scores: Any) -> None:
    """Raises UserError for scores in a stranger's manifest that are not as `steer score` writes them."""
    if scores is None:
        return
    try:
        read_number(scores["chosen_strength"])
        str(scores["facts"]["unit"])
        numbers = [read_number(one) for one in scores["auroc"].values()]
        for dose in scores["doses"]:
            numbers.append(read_number(dose["strength"]))
            numbers += [middle(dose[name]) for name in ("kl", "perplexity_ratio")]
            numbers += [read_number(dose["concept"][name]) for name in ("mean", "low", "high")]
            numbers += [read_number(one) for one in (dose["null_random"], dose["null_shuffled"]) if one is not None]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f"The scores in {MANIFEST} cannot be read: {repr(error)[:120]}.", "Take `scores` out of it, or score again."
        ) from error
