"""The facts of a Report: how its numbers were made, of one run or of several."""

from typing import Any

from capture.hook_point import HookPoint
from capture.model_facts import model_facts
from capture.session import ModelSession

SPOKEN = ("model", "revision", "dtype", "device", "processing")


def provenance(session: ModelSession, bos: bool, at: tuple[HookPoint, ...], n_tokens: int) -> dict[str, Any]:
    """What every view states: model revision, dtype, hook points, BOS, weight processing, faithfulness, tokens."""
    return {
        **model_facts(session),
        "device": session.device,
        "bos": bos,
        "hook_points": [str(point) for point in at],
        "n_tokens": n_tokens,
        "faithfulness": session.faithfulness.to_json() if session.faithfulness else None,
    }


def joined(sides: list[dict[str, Any]]) -> dict[str, Any]:
    """Facts of several Reports: the one value where they agree, all of them where they do not."""
    found: dict[str, Any] = {}
    for name in ("model", "revision", "dtype", "device", "processing", "bos", "hook_points", "faithfulness"):
        values = [side.get(name) for side in sides]
        agree = all(value == values[0] for value in values)
        found[name] = values[0] if agree else " | ".join(map(str, values)) if name in SPOKEN else None
    found["hook_points"] = found["hook_points"] or []
    found["n_tokens"] = sum(side.get("n_tokens", 0) for side in sides)
    return found
