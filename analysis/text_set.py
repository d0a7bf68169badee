"""Text sets: named lists of texts that the project ships or a user puts beside them."""

import json
from dataclasses import dataclass
from pathlib import Path

from capture.errors import UserError

TEXTS_FOLDER = Path(__file__).resolve().parent.parent / "data" / "texts"


@dataclass(frozen=True)
class TextSet:
    """A name, what it is in a few words, and its texts."""

    name: str
    title: str
    texts: tuple[str, ...]


def text_sets(folder: Path = TEXTS_FOLDER) -> tuple[str, ...]:
    """Names of the text sets at hand, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def read_text_set(name: str, folder: Path = TEXTS_FOLDER) -> TextSet:
    """The text set of that name; raises UserError for an unknown name (a path is never followed) or a broken file."""
    if name not in text_sets(folder):
        raise UserError(f"No text set is called {name[:40]!r}.", f"Choose one of: {', '.join(text_sets(folder))}.")
    try:
        data = json.loads((folder / f"{name}.json").read_text("utf-8"))
        texts = tuple(text for text in data["texts"] if isinstance(text, str) and text.strip())
        title = str(data["title"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The text set {name!r} cannot be read: {error!r}.", "It must be JSON with title, texts."
        ) from error
    if not texts:
        raise UserError(f"The text set {name!r} has no text.", "Put at least one text into it.")
    return TextSet(name, title, texts)
