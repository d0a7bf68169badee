"""Importing a bundle: its recipe onto the shelf, and with it each controller, hypernetwork, SAE and vectors it names.

1. The manifest says which files there are, with a checksum of each. No name leads out of the folder, and what no
   checksum is of is not looked at; of a ZIP nothing is unpacked before sizes are added up.
2. Each thing is read by its own reader before anything is put on a shelf.
3. All go on the shelf, where they have the digests that the recipe names, and the recipe is read. Where it cannot be,
   what came with it is taken off again.
"""

import hashlib
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.home import home_folder
from sae import shelf as sae_shelf
from sae.config_file import read_config
from sae.library import load_sae
from sae.tensor_file import check_directory
from steering import carried, shelf
from steering.controller_folder import read_controller
from steering.hypernetwork_folder import read_hypernetwork
from steering.recipe_file import named_recipe
from steering.recipe_sweeps import read_sweeps
from steering.shelf import Shelved, put_on_shelf
from steering.vector_folder import MANIFEST, read_vectors

RECIPES = "recipes"
RECIPE = "recipe.json"
MARK = "bundle_version"
RECIPE_FOLDER = "recipe"
LONGEST_FILE = 300
MAX_FILES = 2_000
MAX_BYTES = 1_000_000_000
READERS: dict[str, Callable[[Path], Any]] = {
    "controllers": read_controller,
    "hypernetworks": read_hypernetwork,
    "saes": load_sae,
    "vectors": read_vectors,
}
DAMAGED = (
    *(OSError, ValueError, RuntimeError, NotImplementedError, EOFError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What reading a ZIP of a stranger raises."""


@dataclass(frozen=True)
class Imported:
    """What an import was of, and what else it put on the shelves."""

    first: Shelved
    more: tuple[Shelved, ...] = ()
    saes: tuple[sae_shelf.Shelved, ...] = ()


def is_bundle(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is that of a bundle."""
    return MARK in manifest


def import_bundle(folder: Path, name: str) -> Imported:
    """The recipe of a bundle under a name, and the things it names that were not on the shelf.

    Raises UserError for a folder that is not as its manifest says, and puts nothing then.
    """
    files = checked_files(folder)
    if RECIPE not in files:
        raise UserError(f"This bundle has no {RECIPE}.", "Get the whole folder again.")
    read_sweeps(read_config(folder / MANIFEST))
    with tempfile.TemporaryDirectory() as made:
        place = Path(made) / "bundle"
        for file in (MANIFEST, *files):
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, place / file)
        things = sorted({_thing_of(file) for file in files} - {""})
        for thing in things:
            READERS[thing.partition("/")[0]](_sae_file(place / thing))
        return _on_shelf(place, things, name)


def _on_shelf(place: Path, things: Sequence[str], name: str) -> Imported:
    """All things, then the recipe; all of it or nothing."""
    recipe, new, saes = place.with_name(RECIPE_FOLDER), list[Shelved](), list[sae_shelf.Shelved]()
    recipe.mkdir()
    for file in (MANIFEST, RECIPE):
        shutil.copyfile(place / file, recipe / file)
    try:
        for thing in things:
            _put(thing, place / thing, new, saes)
        named_recipe(str(recipe / RECIPE))
        return Imported(put_on_shelf(RECIPES, recipe, name), tuple(new), tuple(saes))
    except UserError:
        _take_back(new, saes)
        raise


def checked_files(folder: Path) -> list[str]:
    """The files of a folder that its manifest speaks of, each the right one; raises UserError for any other."""
    checksums = _checksums(read_config(folder / MANIFEST))
    for file, digest in checksums.items():
        if not _is_whole(folder, file, digest):
            raise UserError(f"{file[:60]} is not the file that the manifest speaks of.", "Get the folder again.")
    return list(checksums)


def unpack(path: Path, folder: Path) -> None:
    """A folder's ZIP, unpacked to a folder: what lies beside and below its manifest, and nothing else.

    Raises UserError for what is no such ZIP, has a name that leads elsewhere, or unpacks to more than MAX_BYTES.
    """
    try:
        check_directory(path)
        with zipfile.ZipFile(path) as archive:
            parts = {one.filename: one for one in archive.infolist() if not one.is_dir()}
            home = _home(parts)
            found = {name.removeprefix(home): one for name, one in parts.items() if name.startswith(home)}
            total = sum(one.file_size for one in found.values())
            if total > MAX_BYTES or len(found) > MAX_FILES:
                raise ValueError(f"it unpacks to {len(found):,} files of {total / 1e6:,.0f} MB")
            for file, part in found.items():
                check_file_name(file, path.name)
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(part) as packed, (folder / file).open("wb") as written:
                    shutil.copyfileobj(packed, written)
    except DAMAGED as error:
        raise UserError(
            f"{path.name} cannot be read as a bundle: {str(error)[:120]}.",
            f"Give the ZIP of a folder that this program wrote: one with a {MANIFEST}.",
        ) from error


def check_file_name(file: str, where: str) -> None:
    """Raises UserError for a name that is none of a file in a folder, or leads out of it."""
    parts = file.split("/")
    is_plain = all(one and not one.startswith(".") and "\\" not in one and "\0" not in one for one in parts)
    if not is_plain or len(file) > LONGEST_FILE:
        raise UserError(f"{where} speaks of {file[:60]!r}, which is no file in it.", "Get it again.")


def _home(parts: Mapping[str, Any]) -> str:
    """The folder of the ZIP in which the one outermost manifest lies; "" for none, else with a slash behind it."""
    manifests = sorted((one for one in parts if one.rpartition("/")[2] == MANIFEST), key=lambda one: one.count("/"))
    if not manifests or (len(manifests) > 1 and manifests[0].count("/") == manifests[1].count("/")):
        raise ValueError(f"it has {'several' if manifests else 'no'} {MANIFEST}")
    return manifests[0].removesuffix(MANIFEST)


def _checksums(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Digest by name; raises UserError for a name that is none of a file in the folder, or leads out of it."""
    given = manifest.get("checksums")
    if not isinstance(given, Mapping) or not 0 < len(given) <= MAX_FILES:
        raise UserError(f"{MANIFEST} must have the checksums of 1 to {MAX_FILES:,} files.", "Get the folder again.")
    for file in given:
        check_file_name(file, MANIFEST)
    return {file: str(digest) for file, digest in given.items()}


def _is_whole(folder: Path, file: str, digest: str) -> bool:
    path = folder / file
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        return False
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest() == digest


def _thing_of(file: str) -> str:
    """The folder of the carried thing that a file belongs to; "" for a file of the bundle itself."""
    kind, _, rest = file.partition("/")
    return f"{kind}/{rest.partition('/')[0]}" if kind in carried.KINDS and "/" in rest else ""


def _put(thing: str, place: Path, new: list[Shelved], saes: list[sae_shelf.Shelved]) -> None:
    kind, _, name = thing.partition("/")
    if kind == "saes":
        if (sae := _put_sae(place, name)) is not None:
            saes.append(sae)
        return
    known = {one.digest for one in shelf.shelved(kind)}
    one = put_on_shelf(kind, place, name)
    if one.digest not in known:
        new.append(one)


def _put_sae(place: Path, name: str) -> sae_shelf.Shelved | None:
    """The SAE among one's own, in a folder of that name; None where it is on the shelf already."""
    digest = load_sae(_sae_file(place)).digest
    if any(one.digest == digest for one in sae_shelf.shelved()):
        return None
    target = sae_shelf.trained_folder() / name
    target = target if not target.exists() else target.with_name(f"{name} {digest[:12]}")
    try:
        shutil.copytree(place, target, dirs_exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The SAE cannot be kept: {error.strerror or error}.", f"Make room in {home_folder()}."
        ) from error
    return sae_shelf.put_on_shelf(_sae_file(target))


def _sae_file(place: Path) -> Path:
    """The folder of an SAE, or the one .pt file in it where that is all there is."""
    files = [one for one in place.iterdir() if one.is_file()]
    return files[0] if len(files) == 1 and files[0].suffix == ".pt" else place


def _take_back(new: list[Shelved], saes: list[sae_shelf.Shelved]) -> None:
    for one in new:
        with suppress(UserError):
            shelf.take_off_shelf(one)
    for sae in saes:
        sae_shelf.take_off_shelf(sae)
        folder = sae.folder if sae.folder.is_dir() else sae.folder.parent
        shutil.rmtree(folder, ignore_errors=True)
