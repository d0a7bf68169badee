"""IBM's activation-steering: lists of responses, or rows of `train` and `test` with one prompt for each condition."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "ibm"
TITLE = "IBM activation-steering: non_compliant_responses, or train rows of harmful and harmless"
RESPONSES = ("non_compliant_responses", "compliant_responses")


def is_mine(data: Any) -> bool:
    """Whether it has both lists of responses, or a train part whose rows have two or more prompts."""
    if not isinstance(data, Mapping):
        return False
    if set(RESPONSES) <= set(data):
        return True
    rows = data.get("train")
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], Mapping) and len(rows[0]) > 1


def read(data: Any, path: Path) -> list[tuple[str, str]]:
    """Each response or prompt with the name of its list or column; the test part is left for testing."""
    if set(RESPONSES) <= set(data):
        return [(str(text), name.removesuffix("_responses")) for name in RESPONSES for text in data[name]]
    return [(str(text), str(name)) for row in data["train"] for name, text in row.items()]
