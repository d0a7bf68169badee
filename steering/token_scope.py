"""At which tokens an intervention acts: as a person says it, and as ranges of absolute positions.

An intervention has ranges of positions, so that it acts the same with and without a key/value cache; a scope such as
"generated" becomes ranges once the prompt is known.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.intervention import Recipe
from capture.recipe_number import read_position

Ranges = tuple[tuple[int, int | None], ...]
"""Half-open ranges of absolute positions; None means without end."""
EVERYWHERE: Ranges = ((0, None),)
_RANGE = re.compile(r"(\d{1,6})(?:\s*(-)\s*(\d{1,6})?)?", re.ASCII)
SCOPES = (
    "all",
    "skip_special",
    "prompt",
    "prompt_ends",
    "generated",
    "last_prompt",
    "last_prompt_and_generated",
    "ranges",
)
N_ENDS = 5
"""Positions at either end of the prompt, as LoReFT's paper usually takes."""


@dataclass(frozen=True)
class TokenScope:
    """One of SCOPES; `ranges` counts for "ranges" alone, and `n_ends` for the first and last of "prompt_ends"."""

    kind: str = "all"
    ranges: Ranges = EVERYWHERE
    n_ends: int = N_ENDS

    def __post_init__(self) -> None:
        if self.kind not in SCOPES:
            raise UserError(
                f"No token scope is called {str(self.kind)[:40]!r}.", f"Choose one of: {', '.join(SCOPES)}."
            )

    def of(self, tokens: Sequence[int], special: Collection[int] = ()) -> Ranges:
        """The ranges for this prompt; `special` are the ids that "skip_special" leaves out of it."""
        n = len(tokens)
        if self.kind == "skip_special":
            kept = tuple((pos, pos + 1) for pos, token in enumerate(tokens) if token not in special)
            return (*kept, (n, None))
        return {
            "all": EVERYWHERE,
            "prompt": ((0, n),),
            "prompt_ends": ((0, n),) if 2 * self.n_ends >= n else ((0, self.n_ends), (n - self.n_ends, n)),
            "generated": ((n, None),),
            "last_prompt": ((n - 1, n),),
            "last_prompt_and_generated": ((n - 1, None),),
            "ranges": self.ranges,
        }[self.kind]

    def recipe(self) -> Recipe:
        """Plain JSON; only a scope of ends says how many, so that all others are written as ever."""
        ends = {"n_ends": self.n_ends} if self.kind == "prompt_ends" else {}
        return {"kind": self.kind, "ranges": [list(one) for one in self.ranges], **ends}

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "TokenScope":
        """The scope that a recipe describes."""
        return cls(recipe["kind"], read_ranges(recipe["ranges"]), read_position(recipe.get("n_ends", N_ENDS)))


def read_ranges(given: Any) -> Ranges:
    """Ranges from plain JSON; raises ValueError or TypeError for anything else."""
    if not isinstance(given, list | tuple):
        raise TypeError(f"{str(given)[:40]!r} is no list of ranges")
    return tuple((read_position(start), None if end is None else read_position(end)) for start, end in given)


def ranges_text(ranges: Ranges) -> str:
    """Ranges as a person writes them, the last position included: 1-4, 7, 9-."""
    said = [f"{a}-" if b is None else str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in ranges]
    return ", ".join(said)


def ranges_of_text(text: str) -> Ranges:
    """The ranges in a text such as 1-4, 7, 9-; raises UserError for any other."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = [_RANGE.fullmatch(part) for part in parts]
    ranges = [(int(one[1]), _end(one)) for one in found if one]
    if not parts or not all(found) or any(b is not None and b <= a for a, b in ranges):
        raise UserError(
            f"Positions are written as 1-4, 7, 9-; {text[:40]!r} was given.", "Begin with 0, the first token."
        )
    return tuple(ranges)


def _end(found: "re.Match[str]") -> int | None:
    if not found[2]:
        return int(found[1]) + 1
    return int(found[3]) + 1 if found[3] else None


def clipped(ranges: Ranges, start: int, end: int | None) -> Ranges:
    """What of the ranges lies from `start` until before `end`."""
    parts = ((max(start, a), end if b is None else b if end is None else min(b, end)) for a, b in ranges)
    return tuple((a, b) for a, b in parts if b is None or a < b)


def change_within(
    activation: Float[Tensor, "batch pos d"],
    first_pos: int,
    ranges: Ranges,
    change: Callable[[Float[Tensor, "batch some d"]], Float[Tensor, "batch some d"]],
) -> Float[Tensor, "batch pos d"]:
    """The activation with `change` made, in float32, at the positions of the ranges, and elsewhere as it was."""
    n_pos = activation.shape[1]
    wanted = [pos - first_pos for pos in range(first_pos, first_pos + n_pos) if _is_within(pos, ranges)]
    if not wanted:
        return activation
    if len(wanted) == n_pos:
        return change(activation.float()).to(activation.dtype)
    index = torch.tensor(wanted, device=activation.device)
    changed = activation.clone()
    changed[:, index] = change(activation[:, index].float()).to(activation.dtype)
    return changed


def _is_within(pos: int, ranges: Ranges) -> bool:
    return any(start <= pos and (end is None or pos < end) for start, end in ranges)
