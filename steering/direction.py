"""A direction as interventions hold it: a tuple of numbers, the tensor of them, and the text that recipes have."""

import base64
import binascii
import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number

Direction = tuple[float, ...]
MAX_ENTRIES = 2**18
"""Entries of a vector that a recipe may have: more than any model's hook point is wide."""


def as_direction(vector: Float[Tensor, "d"]) -> Direction:
    """The numbers of a tensor, as an intervention holds them."""
    return tuple(float(entry) for entry in vector.float().tolist())


def direction_text(direction: Direction) -> str:
    """The numbers as base64 of little-endian float32."""
    return base64.b64encode(np.asarray(direction, dtype="<f4").tobytes()).decode()


def read_direction(given: Any) -> Direction:
    """A direction from plain JSON: what `direction_text` wrote, or a list of numbers.

    Raises UserError for a text that is no vector, ValueError or TypeError for a broken list and for anything else.
    """
    if isinstance(given, str):
        return _read_text(given)
    if not isinstance(given, list | tuple):
        raise TypeError(f"{str(given)[:40]!r} is no list of numbers")
    return tuple(read_number(entry) for entry in given)


def _read_text(given: str) -> Direction:
    if len(given) > (most := math.ceil(MAX_ENTRIES * 4 / 3) * 4):
        raise _no_vector(f"it has {len(given):,} characters, and {most:,} is the most")
    try:
        data = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_vector("it is no base64") from error
    if not data or len(data) % 4:
        raise _no_vector(f"it has {len(data):,} bytes, and each number takes 4")
    numbers = np.frombuffer(data, dtype="<f4")
    if not np.isfinite(numbers).all():
        raise _no_vector("not every number in it is finite")
    return tuple(numbers.tolist())


def _no_vector(reason: str) -> UserError:
    return UserError(
        f"A vector in a recipe is base64 of little-endian float32 numbers; this one cannot be read: {reason}.",
        "Export the recipe again where it was made.",
    )


def unit(vector: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
    """The vector at length 1; raises UserError for a vector of zeros."""
    length = vector.double().norm()
    if not torch.isfinite(length) or length == 0:
        raise UserError(
            "A direction must have a length above 0; this one is zero in every entry.",
            "The two classes may not differ at this hook point: choose another layer, or other texts.",
        )
    return (vector.double() / length).to(vector.dtype)


def check_width(width: int, activation: Float[Tensor, "batch pos d"], at: HookPoint) -> None:
    """Raises UserError where a direction does not fit the activation."""
    if width != activation.shape[-1]:
        raise UserError(
            f"The vector for {at} must have {activation.shape[-1]} entries; it has {width}.",
            "Make it from activations of this model at this hook point.",
        )


def coordinate(x: Float[Tensor, "... d"], direction: Float[Tensor, "d"]) -> Float[Tensor, "... 1"]:
    """x·v, by a sum over the last axis, whose rounding does not depend on how many rows there are."""
    return (x * direction).sum(dim=-1, keepdim=True)
