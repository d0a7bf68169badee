"""Sampling: how the next token is chosen."""

import math
from dataclasses import dataclass

from capture.errors import UserError

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Sampling:
    """Numbers of a generation; temperature 0 takes the likeliest token, `top_k` 0 and `top_p` 1 leave all to choose.

    Raises UserError for a number that means nothing.
    """

    seed: int = 0
    temperature: float | int = 0.8
    top_p: float | int = 0.95
    top_k: int = 0
    repetition_penalty: float | int = 1.0
    """Above 1, tokens that were there already become less likely; 1 leaves them as they are."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError(f"A seed is a whole number from 0 to {MAX_SEED}; {self.seed} was given.", "Choose 0.")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(
                f"A temperature must be a finite number from 0 on; {self.temperature} was given.",
                "Choose 0 for the likeliest token each time, or about 0.8.",
            )
        if not 0 < self.top_p <= 1:
            raise UserError(
                f"top_p must be above 0 and at most 1; {self.top_p} was given.", "Choose 0.95, or 1 to leave it out."
            )
        if self.top_k < 0:
            raise UserError(
                f"top_k must be a whole number from 0 on; {self.top_k} was given.", "Choose 40, or 0 to leave it out."
            )
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise UserError(
                f"A repetition penalty must be a finite number above 0; {self.repetition_penalty} was given.",
                "Choose 1 for none, or about 1.2.",
            )
