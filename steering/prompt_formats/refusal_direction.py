"""refusal_direction (Arditi et al. 2024): files of one kind, whose rows have `instruction`; the other kind lies beside.

`harmful_train.json` is read with `harmless_train.json` from the same folder, and the other way round.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capture.errors import UserError

NAME = "refusal_direction"
TITLE = "refusal_direction: harmful_train.json with harmless_train.json beside it"
KINDS = ("harmful", "harmless")


def is_mine(data: Any) -> bool:
    """Whether these rows have an instruction, and no label."""
    is_rows = isinstance(data, list) and bool(data) and isinstance(data[0], Mapping)
    return is_rows and "instruction" in data[0] and not {"label", "text"} & set(data[0])


def read(data: Any, path: Path) -> list[tuple[str, str]]:
    """The instructions of both files, the harmful ones first."""
    own, _, part = path.name.partition("_")
    if own not in KINDS:
        raise UserError(
            f"Rows with instructions are labelled by their file's name; {path.name!r} says neither.",
            "Name the two files harmful_train.json and harmless_train.json.",
        )
    rows = []
    for kind in KINDS:
        beside = path.with_name(f"{kind}_{part}")
        if not beside.is_file():
            raise UserError(f"{path.name} needs {beside.name} beside it, for prompts of the other kind.", "Get both.")
        given = data if kind == own else json.loads(beside.read_text("utf-8-sig"))
        rows += [(str(row["instruction"]), kind) for row in given]
    return rows
