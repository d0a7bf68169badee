"""The checkpoints of a training run: folders of weights inside a model's folder, and how many tokens each had seen.

The count is in the folder's name (at-4M, 250M, step-1.5B), or in `tokens.json` beside it: {"at-4M": 4005888, ".":
36003840}, where "." is the model of the folder itself and the counts go before those in names.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.model_source import checkpoint_folders

TOKENS_FILE = "tokens.json"
ITSELF = "."
MAX_TOKENS = 10**16
_COUNT = re.compile(r"(?:.*[^0-9.])?(\d+(?:\.\d+)?)([kMBT])", re.DOTALL)
_UNITS = {"k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@dataclass(frozen=True)
class TrainedModel:
    """A model after so many tokens; `name` is what loads it, such as stories@at-4M."""

    name: str
    n_tokens: int


def checkpoints_of(name: str, folder: Path) -> tuple[TrainedModel, ...]:
    """The checkpoints in the folder of a model, fewest tokens first, and the model itself where its count is known.

    Folders whose count neither their name nor `tokens.json` tells are left out. Raises UserError for a `tokens.json`
    that cannot be read.
    """
    said = _said_counts(folder)
    found = [
        TrainedModel(f"{name}@{checkpoint}", n_tokens)
        for checkpoint in checkpoint_folders(folder)
        if (n_tokens := said.get(checkpoint, tokens_in_name(checkpoint)))
    ]
    if ITSELF in said and (folder / "config.json").is_file():
        found.append(TrainedModel(name, said[ITSELF]))
    return tuple(sorted(found, key=lambda one: (one.n_tokens, one.name)))


def tokens_in_name(name: str) -> int | None:
    """The count in a folder's name: 4,000,000 for at-4M; None where it has none."""
    found = _COUNT.fullmatch(name)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None


def _said_counts(folder: Path) -> dict[str, int]:
    path = folder / TOKENS_FILE
    if not path.is_file():
        return {}
    try:
        said: Any = json.loads(path.read_text("utf-8"))
        return {name: _count(count) for name, count in said.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} must give a whole number of tokens for each folder; it cannot be read: {str(error)[:100]}.",
            'Write it as {"at-4M": 4000000, ".": 36000000}.',
        ) from error


def _count(given: Any) -> int:
    if type(given) is not int or not 0 < given < MAX_TOKENS:
        raise ValueError(f"{str(given)[:20]!r} is no number of tokens")
    return given
