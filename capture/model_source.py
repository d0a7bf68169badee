"""Where a model lies: a name becomes a folder on this machine, or a sentence saying why not."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from capture.errors import UserError

HUB_TIMEOUT_S = 5.0
# Everything that is needed, and nothing that would have to be unpickled or run.
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_CHOICES = "Choose a model of the catalogue, a folder on this machine, or a hub name such as openai-community/gpt2."


@dataclass(frozen=True)
class Source:
    """A model's folder; `hub_name` is set, and the folder has only the config yet, where it comes from the hub."""

    folder: Path
    revision: str = ""
    hub_name: str = ""
    tokenizer: Path | None = None
    """Where its tokenizer lies, if not beside the weights."""

    @property
    def words_folder(self) -> Path:
        """The folder of its tokenizer."""
        return self.tokenizer or self.folder


def stories_folder() -> Path:
    """The folder of the bundled model."""
    named = os.environ.get("STEERSCOPE_STORIES")
    return Path(named) if named else Path(__file__).parent.parent / "data" / "models" / "stories"


def find_source(name: str, revision: str | None = None) -> Source:
    """The folder that a local path or a hub name stands for; of a hub model only the config is fetched.

    Raises UserError for a folder that is not there, a name that cannot be one, and a hub that cannot be reached.
    """
    if not name.strip():
        raise UserError("A model must have a name; none was given.", _CHOICES)
    if folder := local_folder(name):
        return Source(folder, revision or "")
    base, checkpoint = parted(name)
    if checkpoint and (folder := local_folder(base)):
        return checkpoint_source(folder, name, checkpoint)
    if name[0] in "./~" or "\\" in name or name.count("/") > 1:
        raise UserError(f"There is no model folder {_quoted(name)}.", _CHOICES)
    if not _HUB_NAME.fullmatch(name) or ".." in name:
        raise UserError(f"{_quoted(name)} is neither a model folder nor a hub name.", _CHOICES)
    fetched = _fetch(name, revision, ["config.json"])
    return Source(fetched, fetched.name, name)


def fetch_weights(source: Source) -> Source:
    """The same source with all its files on this machine."""
    if not source.hub_name:
        return source
    return Source(_fetch(source.hub_name, source.revision, HUB_FILES), source.revision, source.hub_name)


def _fetch(name: str, revision: str | None, files: list[str]) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        # hf_hub_download would try an unreachable hub for 23 s; this asks for the revision once.
        return Path(
            snapshot_download(name, revision=revision or None, allow_patterns=files, etag_timeout=HUB_TIMEOUT_S)
        )
    except errors.GatedRepoError as error:
        raise UserError(
            f"The hub gives {name} only to people who accepted its terms.", "Accept them there, then log in with hf."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"The hub has no model {name}, or it is private.", _CHOICES) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"The hub's {name} has no revision {revision!r}.", "Leave the revision out.") from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"The hub cannot be reached, and {name} is neither a folder here nor fetched already.",
            "Check the connection, choose the bundled model, or give the path of a model folder.",
        ) from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise UserError(
            f"The hub did not give {name}: {str(error).splitlines()[0][:200]}", "Try again later."
        ) from error


def parted(name: str) -> tuple[str, str]:
    """A model's name and that of a checkpoint of it: stories@at-4M; the second is empty where none is named.

    A folder whose own name has an @ is a model.
    """
    if "@" not in name or local_folder(name):
        return name, ""
    base, _, checkpoint = name.rpartition("@")
    return base, checkpoint


def checkpoint_source(folder: Path, name: str, checkpoint: str) -> Source:
    """The checkpoint of that name in a model's folder or in its folder `checkpoints`.

    Its tokenizer is its own, else that of the model's folder. Raises UserError where there is none of that name.
    """
    known = checkpoint_folders(folder)
    if checkpoint not in known:
        offered = f"Choose one of: {', '.join(known)}." if known else "Choose a folder with checkpoints in it."
        raise UserError(f"There is no checkpoint {_quoted(checkpoint)} of {_quoted(name.rpartition('@')[0])}.", offered)
    found = known[checkpoint]
    has_own = any((found / file).is_file() for file in TOKENIZER_FILES)
    return Source(found, checkpoint, tokenizer=None if has_own else folder)


def checkpoint_folders(folder: Path) -> dict[str, Path]:
    """Folders with a config and safetensors weights in a folder or in its folder `checkpoints`, by name."""
    inside = [path for place in (folder, folder / "checkpoints") if place.is_dir() for path in place.iterdir()]
    return {path.name: path for path in sorted(inside) if (path / "config.json").is_file() and _has_weights(path)}


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def local_folder(name: str) -> Path | None:
    """The folder of that path; None where there is none."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        # A name that no file system takes, as one of 10,000 characters, or the home of nobody.
        return None


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
