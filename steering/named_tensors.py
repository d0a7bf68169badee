"""Vectors as tensors with names such as `resid_post.2`: site and block, so that no bare number has to be guessed at."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from capture.errors import UserError
from capture.hook_point import BLOCK_SITES, HookPoint


def tensor_key(at: HookPoint) -> str:
    """What the tensor of a hook point is called in a file."""
    return f"{at.site}.{at.layer}"


def vectors_of(tensors: Mapping[str, Any], file_name: str) -> dict[HookPoint, Tensor]:
    """The vectors by hook point; names of TransformerLens are read too. Raises UserError for any other name."""
    found = {}
    for key, value in tensors.items():
        site, _, layer = key.rpartition(".")
        if site in BLOCK_SITES and layer.isascii() and layer.isdigit() and len(layer) <= 4:
            at = HookPoint(int(layer), site)
        elif key.startswith("blocks."):
            at = HookPoint.parse(key)
        else:
            raise UserError(
                f"A tensor of {file_name} must be called after its place, such as resid_post.2; {key[:40]!r} was met.",
                "Rename it: a number alone is read differently by every tool.",
            )
        if not isinstance(value, Tensor) or value.is_complex():
            raise UserError(f"{key[:40]!r} in {file_name} must be a row of numbers; it is not.", "Export it again.")
        found[at] = value
    return found


def not_in_a_block(at: HookPoint, title: str) -> str:
    """Why a file of named tensors cannot carry a vector there; "" where it can."""
    return "" if at.layer is not None else f"{title} names vectors by their block; {at} is in none."
