"""The record that a training leaves beside its SAE, as a page shows it: the curve, or why there is none."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae.shelf import Shelved

RECORD = "training.json"
MAX_BYTES = 10_000_000
SHOWN = ("step", "fvu", "l0", "dead_share")


def training_curve(one: "Shelved") -> tuple[list[dict[str, float]], str]:
    """The curve [{step, fvu, l0, dead_share}] of the training of an SAE, and a sentence where there is none."""
    path = one.folder / RECORD
    if one.folder.is_file() or not path.is_file():
        return [], f"{one.name} came without the record of its training, so that there is no curve."
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.stat().st_size <= MAX_BYTES else {}
        curve = [{name: float(point[name]) for name in SHOWN} for point in record["curve"]]
    except (OSError, ValueError, KeyError, TypeError):
        return [], f"The record of the training of {one.name} cannot be read."
    if record.get("digest") != one.digest:
        return [], f"The record beside {one.name} is of another training: it names another SAE."
    return curve, "" if curve else f"The training of {one.name} noted no step."
