"""Shelf of steering things that can be named here: vectors, controllers, hypernetworks, recipes; bundled or one's own.

Each is a folder with a `manifest.json`. A view names one by its digest, over the names and SHA-256 of its files, so
that a changed one is noticed; a name or digest in a link never leads to a folder that nobody here put on the shelf. A
person's own are copies below STEERSCOPE_HOME: what happens to the folder that they came from does not matter.
"""

import hashlib
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.home import home_folder
from sae.config_file import read_config

KINDS = {
    "vectors": "steering vectors",
    "controllers": "controllers",
    "hypernetworks": "hypernetworks",
    "recipes": "recipes",
}
"""What the shelf holds, and what to call several of them."""
BUNDLED = Path(__file__).parent.parent / "data"
MANIFEST = "manifest.json"
SHORT = 12
"""Digits of a digest that are enough to name something by."""
LONGEST_NAME = 60
CONDITION = "cast_condition"
"""What vectors were fitted by that gate a step, and are not added."""
_NAME = re.compile(r"\w[\w .+,()&'-]*")
_writing = threading.Lock()


@dataclass(frozen=True)
class Shelved:
    """One folder on the shelf; its name is the folder's, its manifest says what it is and from what."""

    kind: str
    digest: str
    name: str
    folder: Path
    manifest: Mapping[str, Any]
    is_bundled: bool

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the manifest says of its origin: model, fingerprint, texts, options; empty where it says nothing."""
        facts = self.manifest.get("facts")
        return facts if isinstance(facts, Mapping) else {}

    def fits(self, fingerprint: str) -> bool:
        """Whether it was made on the model of that fingerprint."""
        return bool(fingerprint) and self.facts.get("fingerprint") == fingerprint

    def is_called(self, wanted: str) -> bool:
        """Whether that is its name, or the beginning of its digest."""
        return self.name == wanted or (len(wanted) >= SHORT and self.digest.startswith(wanted))


def shelved(kind: str) -> tuple[Shelved, ...]:
    """Everything of a kind: bundled first, then a person's own, each by name; what cannot be read is left out.

    Of two with equal files the first is there.
    """
    found: dict[str, Shelved] = {}
    for home, is_bundled in ((BUNDLED / _checked(kind), True), (own_folder(kind), False)):
        for folder in sorted(home.iterdir()) if home.is_dir() else ():
            if not folder.name.startswith(".") and (folder / MANIFEST).is_file():
                try:
                    one = _look_at(kind, folder, is_bundled)
                except (UserError, OSError):
                    continue
                found.setdefault(one.digest, one)
    return tuple(found.values())


def find_shelved(kind: str, wanted: str) -> Shelved:
    """What a name or digest (12 digits are enough) leads to; raises UserError where that is nothing."""
    known = shelved(kind)
    for one in known:
        if one.is_called(wanted):
            return one
    names = ", ".join(one.name for one in known[:12]) or "none"
    raise UserError(
        f"None of the {KINDS[kind]} on the shelf is called {wanted[:40]!r}; there are: {names}.",
        "Choose one of them, or import its file again: what has changed since has another digest.",
    )


def put_on_shelf(kind: str, folder: Path, name: str) -> Shelved:
    """Copy a folder to the shelf under a name, or under that name and a number where another has it.

    Files that are on the shelf already stay under the name that they have there. Raises UserError for a folder without
    a manifest, and a name that no folder can have.
    """
    _check_name(name)
    given = _look_at(kind, folder, is_bundled=False)
    with _writing:
        known = shelved(kind)
        for one in known:
            if one.digest == given.digest:
                return one
        place = own_folder(kind) / _free_name(name, {one.name for one in known})
        _copy(folder, place)
    return _look_at(kind, place, is_bundled=False)


def rename_shelved(one: Shelved, name: str) -> Shelved:
    """The same under another name; its digest stays. Raises UserError for what is bundled, and a name that is taken."""
    _check_own(one, "renamed")
    _check_name(name)
    with _writing:
        if name in {other.name for other in shelved(one.kind)} | {other.name for other in _own(one.kind)}:
            raise UserError(f"Another of the {KINDS[one.kind]} is called {name!r}.", "Choose another name.")
        try:
            one.folder.rename(one.folder.with_name(name))
        except OSError as error:
            raise UserError(f"{one.name} cannot be renamed: {error.strerror}.", "Choose another name.") from error
    return _look_at(one.kind, one.folder.with_name(name), is_bundled=False)


def take_off_shelf(one: Shelved) -> None:
    """Remove a person's own copy; raises UserError for what is bundled."""
    _check_own(one, "removed")
    with _writing:
        shutil.rmtree(one.folder, ignore_errors=True)


def own_folder(kind: str) -> Path:
    """Where a person's own of a kind lie; it need not be there yet."""
    return home_folder() / _checked(kind)


def files_of(folder: Path) -> list[tuple[str, Path]]:
    """Every file of a folder by its name from there; hidden ones and links to elsewhere are not part of it."""
    found = [(path.relative_to(folder), path) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted((name.as_posix(), path) for name, path in found if not any(one[0] == "." for one in name.parts))


def _own(kind: str) -> list[Path]:
    home = own_folder(kind)
    return [one for one in home.iterdir() if one.is_dir()] if home.is_dir() else []


def _checked(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"the shelf holds {', '.join(KINDS)}; got {kind!r}")
    return kind


def _check_name(name: str) -> None:
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name) or name != name.strip():
        raise UserError(
            f"A name has 1 to {LONGEST_NAME} letters, digits, spaces, and marks such as -; {name[:80]!r} was given.",
            "Give a name that begins with a letter or a digit.",
        )


def _check_own(one: Shelved, doing: str) -> None:
    if one.is_bundled:
        raise UserError(f"{one.name} comes with the program and cannot be {doing}.", "Choose one of your own.")


def _free_name(name: str, taken: set[str]) -> str:
    numbered = (f"{name[: LONGEST_NAME - 5].rstrip()} {n}" for n in range(2, 9999))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _copy(folder: Path, place: Path) -> None:
    """All files of the folder at the place, or nothing."""
    part = place.with_name(f".{place.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        for name, path in files_of(folder):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part / name)
        part.rename(place)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(
            f"{place.name} cannot be put on the shelf: {error.strerror or error}.",
            f"Make room, or make {place.parent} a folder you may write to.",
        ) from error


def _look_at(kind: str, folder: Path, is_bundled: bool) -> Shelved:
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"A folder of {KINDS[_checked(kind)]} has a {MANIFEST}; {str(folder)[-80:]!r} has none.",
            "Name a folder that this program has written.",
        )
    stamp = " ".join(f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}" for name, path in files_of(folder))
    return Shelved(kind, _digest(folder, stamp), folder.name, folder, read_config(folder / MANIFEST), is_bundled)


@lru_cache(maxsize=512)
def _digest(folder: Path, _stamp: str) -> str:
    """Over the names and SHA-256 of all files; 32 hex digits, and computed once while the files stay as they are."""
    whole = hashlib.sha256()
    for name, path in files_of(folder):
        with path.open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:32]
