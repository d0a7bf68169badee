"""AxBench (Wu et al. 2025, arXiv 2501.17148): train_data.parquet, or its rows as JSON lines.

The label speaks of `output`, which shows the concept: a controller reads that. `input` is drawn apart from it, and the
same one stands before answers with the concept and without. Negatives of all genres have one label.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "axbench"
TITLE = "AxBench rows with output and output_concept (parquet, JSON lines)"
NEGATIVE = "no concept"


def is_mine(data: Any) -> bool:
    """Whether these rows have AxBench's columns."""
    return isinstance(data, list) and bool(data) and isinstance(data[0], Mapping) and "output_concept" in data[0]


def read(data: Any, path: Path) -> list[tuple[str, str]]:
    """The answer and the concept of each row."""
    return [
        (str(row["output"]), NEGATIVE if str(row.get("category")) == "negative" else str(row["output_concept"]))
        for row in data
    ]
