"""A direction as interventions hold it: a tuple of numbers, and the tensor of them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number

Direction = tuple[float, ...]


def as_direction(vector: Float[Tensor, "d"]) -> Direction:
    """The numbers of a tensor, as an intervention holds them."""
    return tuple(float(entry) for entry in vector.float().tolist())


def read_direction(given: Any) -> Direction:
    """A direction from plain JSON; raises ValueError or TypeError for anything else."""
    if not isinstance(given, list | tuple):
        raise TypeError(f"{str(given)[:40]!r} is no list of numbers")
    return tuple(read_number(entry) for entry in given)


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
