"""SAEs of SAELens's registry by `release/id`: fetched from the hub once, and then a folder like any other.

1. Look the id up in the list that comes with SAELens. 2. Ask the hub once, and fetch its files. 3. Let SAELens turn
them into its own layout. 4. Keep that as a folder under this program's home, which `sae.library` reads.
"""

import json
import pickle
import re
import shutil
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from capture.errors import UserError, first_line
from capture.home import home_folder
from capture.model_source import HUB_TIMEOUT_S

NAME = "registry"
"""Where the config of a fetched SAE says its `release/id`."""


def fetched_folder() -> Path:
    """Where SAEs of the registry are kept."""
    return home_folder() / "fetched-saes"


def may_be_listed(named: str) -> bool:
    """Whether that could be a `release/id` rather than a path."""
    release, _, identity = named.partition("/")
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*", release) and identity)


def fetch(named: str) -> Path:
    """The folder of the SAE that `release/id` names, fetched where it is not here yet.

    Raises UserError for a release or an id that is not listed, and where the hub cannot be reached.
    """
    release, _, identity = named.partition("/")
    entry = _entry(release, identity)
    folder = fetched_folder() / re.sub(r"[^\w.-]+", "--", named)
    if not (folder / "cfg.json").is_file():
        _fetch_files(named, entry.repo_id, entry.saes_map[identity])
        _convert(named, folder)
    return folder


def _entry(release: str, identity: str) -> Any:
    known = _saelens().loading.pretrained_saes_directory.get_pretrained_saes_directory()
    if release not in known:
        near = ", ".join(get_close_matches(release, known, 5)) or f"{next(iter(known))} and {len(known) - 1} more"
        raise UserError(
            f"There is no folder {release[:60]!r} here, and no release of that name in SAELens's registry.",
            f"Name a folder, or release/id; releases are: {near}.",
        )
    ids = known[release].saes_map
    if identity not in ids:
        near = ", ".join(get_close_matches(identity, ids, 3, 0.3) or list(ids)[:3])
        raise UserError(f"The release {release} has no SAE {identity[:60]!r}.", f"It has {len(ids)}, such as {near}.")
    return known[release]


def _fetch_files(named: str, repository: str, path: str) -> None:
    """Fetch into the hub's cache; asked so, a hub that cannot be reached is known at once."""
    from huggingface_hub import errors, snapshot_download

    try:
        snapshot_download(repository, allow_patterns=[path, f"{path}/*"], etag_timeout=HUB_TIMEOUT_S)
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"The hub cannot be reached, and {named} was not fetched before.",
            f"Check the connection; or fetch {repository} elsewhere and open the folder {path}.",
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"The hub gives {repository} only to people who accepted its terms.", "Accept them there, log in with hf."
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise UserError(f"The hub did not give {named}: {first_line(error)}.", "Try again later.") from error


def _convert(named: str, folder: Path) -> None:
    """Write SAELens's own layout, whole or not at all."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        _saelens().SAE.from_pretrained(*named.split("/", 1)).save_model(str(part))
        config = json.loads((part / "cfg.json").read_text("utf-8"))
        config["metadata"] = {**(config.get("metadata") or {}), NAME: named}
        (part / "cfg.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
        part.rename(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(f"SAELens could not read {named}: {first_line(error)}.", "Choose another SAE.") from error


def _saelens() -> Any:
    """The library, whose own imports call each other deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sae_lens
    return sae_lens
