"""CAA (Rimsky et al. 2023) and Anthropic's evaluations: a question, and the answers that match the behaviour or not.

Each becomes two texts, the question with either answer behind it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "caa"
TITLE = "CAA and Anthropic evaluations: question, answer_matching_behavior, answer_not_matching_behavior"
ANSWERS = {"matching": "answer_matching_behavior", "not matching": "answer_not_matching_behavior"}


def is_mine(data: Any) -> bool:
    """Whether these rows have a question and both answers."""
    needed = {"question", *ANSWERS.values()}
    return isinstance(data, list) and bool(data) and isinstance(data[0], Mapping) and needed <= set(data[0])


def read(data: Any, path: Path) -> list[tuple[str, str]]:
    """Both texts of each row."""
    rows = []
    for row in data:
        for label, name in ANSWERS.items():
            rows.append((f"{str(row['question']).rstrip()} {str(row[name]).strip()}", label))
    return rows
