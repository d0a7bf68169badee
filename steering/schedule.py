"""Schedule: how strongly a step acts at each generated token, as pieces of absolute positions with a factor each.

Generated tokens are counted from 0. The prompt counts as token 0, where the step's scope has it.
"""

from dataclasses import dataclass

from capture.errors import UserError
from capture.intervention import Recipe
from capture.recipe_number import read_number, read_position

SCHEDULES = ("constant", "window", "ramp")
MAX_RAMP = 256
"""Most tokens of a ramp: each is a piece of its own."""
MAX_FACTOR = 1000.0
"""Largest factor of a ramp, in either direction."""
Piece = tuple[int, int | None, float]
"""Half-open range of absolute positions, None without end, and the factor there."""


@dataclass(frozen=True)
class Schedule:
    """Constant; a window from token `start` until before `end`; or a ramp from factor `low` to `high` over `n_tokens`.

    A ramp has (1 − t/n) low + (t/n) high at token t, and `high` from token n on.
    """

    kind: str = "constant"
    start: int = 0
    end: int | None = None
    low: float = 0.0
    high: float = 1.0
    n_tokens: int = 16

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise UserError(
                f"No schedule is called {str(self.kind)[:20]!r}.", f"Choose one of: {', '.join(SCHEDULES)}."
            )
        if self.end is not None and self.end <= self.start:
            raise UserError(
                f"A window must end behind its beginning; it is from token {self.start} to {self.end}.",
                "Give a later end, or none.",
            )
        if not 1 <= self.n_tokens <= MAX_RAMP:
            raise UserError(
                f"A ramp takes 1 to {MAX_RAMP} tokens; {self.n_tokens} were given.", "Choose a length in between."
            )
        if not max(abs(self.low), abs(self.high)) <= MAX_FACTOR:
            raise UserError(
                f"The factors of a ramp lie within ±{MAX_FACTOR:g}; {self.low:g} to {self.high:g} was given.",
                "Begin with 0 to 1, and set the strength of the step itself.",
            )

    def pieces(self, n_prompt: int) -> tuple[Piece, ...]:
        """Disjoint pieces behind a prompt of `n_prompt` tokens, in order; where there is none, nothing is done."""
        if self.kind == "constant":
            return ((0, None, 1.0),)
        if self.kind == "window":
            return (
                (n_prompt + self.start if self.start else 0, None if self.end is None else n_prompt + self.end, 1.0),
            )
        n = self.n_tokens
        factors = [(self.low * (n - t) + self.high * t) / n for t in range(n + 1)]
        between = [(n_prompt + t, n_prompt + t + 1, factors[t]) for t in range(1, n)]
        return ((0, n_prompt + 1, factors[0]), *between, (n_prompt + n, None, factors[n]))

    def recipe(self) -> Recipe:
        """Plain JSON."""
        return {
            "kind": self.kind,
            "start": self.start,
            "end": self.end,
            "low": self.low,
            "high": self.high,
            "n_tokens": self.n_tokens,
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "Schedule":
        """The schedule that a recipe describes."""
        return cls(
            recipe["kind"],
            read_position(recipe["start"]),
            None if recipe["end"] is None else read_position(recipe["end"]),
            read_number(recipe["low"]),
            read_number(recipe["high"]),
            read_position(recipe["n_tokens"]),
        )


EVEN = Schedule()
