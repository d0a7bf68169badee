"""Scores as a manifest keeps them: a number, or an interval with its mean."""

from collections.abc import Mapping
from typing import Any

from capture.recipe_number import read_number


def middle(score: Any) -> float:
    """The score, or the mean of its interval; raises ValueError, TypeError or KeyError for anything else."""
    return read_number(score["mean"] if isinstance(score, Mapping) else score)
