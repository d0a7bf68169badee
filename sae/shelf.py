"""Shelf: the SAEs that can be named here: bundled, trained here, fetched from the registry, opened by a person.

A view names an SAE by its digest, so that a changed one is noticed; a name or digest in a link never leads to a folder
that nobody here put on the shelf. What a folder holds is remembered by its files, so that it is read and hashed once.
"""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capture.errors import UserError
from capture.home import home_folder
from capture.written_file import replace_file
from sae.facts import Facts

if TYPE_CHECKING:
    from sae.autoencoder import Autoencoder

BUNDLED = Path(__file__).parent.parent / "data" / "saes"
INDEX = "saes.json"
SHORT = 12
"""Digits that are enough to name an SAE by."""
N_HELD = 2
_writing = threading.Lock()


@dataclass(frozen=True)
class Shelved:
    """An SAE on the shelf; `origin` is bundled, trained, fetched or opened."""

    name: str
    folder: Path
    digest: str
    facts: Facts
    origin: str

    def fits(self, fingerprint: str) -> bool:
        """Whether it was trained on the model of that fingerprint."""
        return bool(fingerprint) and self.facts.provenance.get("fingerprint") == fingerprint

    def is_called(self, wanted: str) -> bool:
        """Whether that is its name, or the beginning of its digest."""
        is_digest = len(wanted) >= SHORT and self.digest.startswith(wanted)
        return is_digest or self.name == wanted

    @property
    def model(self) -> str:
        """The model that it says it was trained on; "" where it does not say."""
        named = self.facts.provenance.get("model") or self.facts.provenance.get("model_name")
        return str(named or "")


def trained_folder() -> Path:
    """Where SAEs trained from the app go; each in a folder of its own."""
    return home_folder() / "saes"


def shelved() -> tuple[Shelved, ...]:
    """Every SAE on the shelf: bundled, trained here, opened, each by name; one that cannot be read is left out."""
    found: dict[str, Shelved] = {}
    for origin, folder in _folders():
        try:
            one = _look_at(folder, origin)
        except UserError:
            continue
        found.setdefault(one.digest, one)
    return tuple(found.values())


def put_on_shelf(folder: Path) -> Shelved:
    """Remember a folder (or an OpenAI .pt file) that a person named; raises UserError where it is no SAE."""
    where = folder.expanduser().resolve()
    if not where.exists():
        raise UserError(f"There is no folder {str(folder)[:120]!r}.", "Name the folder of an SAE, or a .pt file.")
    one = _look_at(where, "opened")
    _change_opened(lambda opened: [*(other for other in opened if other != str(where)), str(where)])
    return one


def open_sae(named: str) -> Shelved:
    """Put on the shelf what a person named: a folder, a .pt file, or `release/id` of SAELens's registry.

    Raises UserError for what is none, and where the hub cannot be reached.
    """
    from sae import registry

    if not Path(named).expanduser().exists() and registry.may_be_listed(named):
        folder = registry.fetch(named)
        return _look_at(folder, "fetched")
    return put_on_shelf(Path(named))


def load_named(named: str) -> "Autoencoder":
    """The SAE in a folder or a .pt file, of a name or digest on the shelf, or of `release/id` in SAELens's registry."""
    from sae.library import load_sae

    if Path(named).expanduser().exists():
        return load_sae(Path(named).expanduser())
    if found := next((one for one in shelved() if one.is_called(named)), None):
        return load_shelved(found.digest)
    return load_shelved(open_sae(named).digest)


def take_off_shelf(one: Shelved) -> None:
    """Forget a folder that was opened; its files stay where they are."""
    _change_opened(lambda opened: [other for other in opened if other != str(one.folder)])


def _change_opened(change: Callable[[list[str]], list[str]]) -> None:
    with _writing:
        index = _index()
        index["opened"] = change(index["opened"])
        _keep(index)


def find_shelved(wanted: str, fingerprint: str = "") -> Shelved:
    """The SAE of a digest (12 digits are enough) or a name; "" is the first trained on the model of the fingerprint.

    Raises UserError where none is.
    """
    known = shelved()
    fitting = [one for one in known if one.fits(fingerprint)]
    found = [one for one in known if one.is_called(wanted)] if wanted else fitting
    if found:
        return found[0]
    names = ", ".join(f"{one.name} ({one.digest[:SHORT]})" for one in known[:8]) or "none"
    if not wanted:
        raise UserError(
            f"No SAE on the shelf was trained on this model ({fingerprint[:8] or 'not loaded'}); there are: {names}.",
            "Open the folder of one, train one, or choose the model stories.",
        )
    raise UserError(
        f"No SAE on the shelf is called {wanted[:40]!r}; there are: {names}.",
        "If you have its folder, open it first: an SAE that has changed since has another digest.",
    )


def load_shelved(digest: str) -> "Autoencoder":
    """The SAE of a digest, held in memory for the next call; raises UserError where its files have changed since."""
    one = find_shelved(digest)
    return _held(str(one.folder), _stamp(one.folder), one.digest)


def named_sae(wanted: str, fingerprint: str = "") -> tuple[str, "Autoencoder"]:
    """The SAE in a folder or .pt file, or of a name or digest on the shelf, and what to call it."""
    from sae.library import load_sae

    if (path := Path(wanted).expanduser()).exists():
        return path.resolve().stem if path.is_file() else path.resolve().name, load_sae(path)
    one = find_shelved(wanted, fingerprint)
    return one.name, load_shelved(one.digest)


@lru_cache(maxsize=N_HELD)
def _held(folder: str, stamp: str, digest: str) -> "Autoencoder":
    from sae.library import load_sae

    sae = load_sae(Path(folder))
    if sae.digest != digest:
        raise UserError(
            f"The SAE in {Path(folder).name} has changed: its digest is {sae.digest[:SHORT]}, not {digest[:SHORT]}.",
            "Choose the SAE again.",
        )
    return sae


def _folders() -> Iterator[tuple[str, Path]]:
    from sae.registry import fetched_folder

    for origin, home in (("bundled", BUNDLED), ("trained", trained_folder()), ("fetched", fetched_folder())):
        if home.is_dir():
            yield from ((origin, one) for one in sorted(home.iterdir()) if (one / "cfg.json").is_file())
    yield from (("opened", Path(one)) for one in _index()["opened"] if Path(one).exists())


def _look_at(folder: Path, origin: str) -> Shelved:
    """What a folder holds, from the index where its files are those of then."""
    stamp, seen = _stamp(folder), _index()["seen"].get(str(folder))
    if seen is None or seen["stamp"] != stamp:
        seen = _read(folder, stamp)
        with _writing:
            index = _index()
            index["seen"][str(folder)] = seen
            _keep(index)
    known = {one.name for one in fields(Facts)}
    given = {name: value for name, value in seen["facts"].items() if name in known}
    facts = Facts(**{**given, "group_sizes": tuple(given.get("group_sizes", ()))})
    return Shelved(_name(folder, facts, origin), folder, seen["digest"], facts, origin)


def _name(folder: Path, facts: Facts, origin: str) -> str:
    if origin == "fetched":
        return str(facts.provenance.get("registry") or folder.name)
    return folder.stem if folder.is_file() else folder.name


def _read(folder: Path, stamp: str) -> dict[str, Any]:
    from sae.library import load_sae

    sae = load_sae(folder)
    return {"stamp": stamp, "digest": sae.digest, "facts": {**asdict(sae.facts), "provenance": _plain(sae)}}


def _plain(sae: "Autoencoder") -> dict[str, Any]:
    kept = sae.facts.provenance.items()
    return {str(name): value for name, value in kept if isinstance(value, str | int | float | bool)}


def _stamp(folder: Path) -> str:
    """What changes when the files do: names, sizes and times."""
    files = [folder] if folder.is_file() else sorted(one for one in folder.iterdir() if one.is_file())
    return " ".join(f"{one.name} {one.stat().st_size} {one.stat().st_mtime_ns}" for one in files)


def _index() -> dict[str, Any]:
    try:
        index = json.loads((home_folder() / INDEX).read_text("utf-8"))
        if isinstance(index["opened"], list) and isinstance(index["seen"], dict):
            return {"opened": [str(one) for one in index["opened"]], "seen": index["seen"]}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"opened": [], "seen": {}}


def _keep(index: dict[str, Any]) -> None:
    """Write the index; a folder that cannot be written costs reading the SAEs again, nothing else."""
    try:
        replace_file(home_folder() / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())
    except UserError:
        return
