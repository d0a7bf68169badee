"""The JSON beside tensors that may come from a stranger, read without torch: a shelf is looked through at once."""

import json
from pathlib import Path
from typing import Any

from capture.errors import UserError, first_line

MAX_JSON_BYTES = 1_000_000


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a small file; raises UserError for anything else."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it is not a set of named values")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.name} cannot be read: {first_line(error)}.", "Get the folder again.") from error
    return data
