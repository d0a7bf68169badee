"""repeng and RepE: a JSON list of texts without labels; every list in the folder is a label, by its file's name."""

import json
from pathlib import Path
from typing import Any

from capture.errors import UserError

NAME = "lists"
TITLE = "repeng and RepE: JSON lists of texts, one file a label; the file named is the target"


def is_mine(data: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(data, list) and bool(data) and all(isinstance(one, str) for one in data)


def read(data: Any, path: Path) -> list[tuple[str, str]]:
    """The texts of the file, then those of the other lists beside it that it does not have; empty ones are left out."""
    rows = [(text, path.stem) for text in data if text.strip()]
    own = {text for text, _ in rows}
    for other in sorted(path.parent.glob("*.json")):
        given: Any = None if other == path else json.loads(other.read_text("utf-8-sig"))
        if is_mine(given):
            rows += [(text, other.stem) for text in given if text.strip() and text not in own]
    if len({label for _, label in rows}) < 2:
        raise UserError(
            f"{path.name} is a list of texts without labels, and no other list lies beside it.",
            "Put the other texts into a second list in the same folder.",
        )
    return rows
