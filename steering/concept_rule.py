"""Rule: when a text shows a concept, by counting words, beginnings, endings or signs; no judge, no model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from capture.errors import UserError

PLACES = ("word", "start", "end", "text")
"""Where a term is looked for: whole words, beginnings of words, ends of words, anywhere."""
MAX_TERMS, MAX_TERM_CHARS = 100, 100


@dataclass(frozen=True)
class Rule:
    """A text shows the concept where its terms occur at least so often, all of them counted together.

    A term with a capital letter is looked for as it is written, any other in every spelling of capitals.
    """

    terms: tuple[str, ...]
    where: str = "word"
    at_least: int = 1

    def __post_init__(self) -> None:
        if self.where not in PLACES:
            raise UserError(f"A rule looks in no {str(self.where)[:20]!r}.", f"Choose one of: {', '.join(PLACES)}.")
        if not 0 < len(self.terms) <= MAX_TERMS or not all(0 < len(one) <= MAX_TERM_CHARS for one in self.terms):
            raise UserError(
                f"A rule has 1 to {MAX_TERMS} terms of 1 to {MAX_TERM_CHARS} characters; {len(self.terms)} were given.",
                "Name the words that show the concept.",
            )
        if self.at_least < 1:
            raise UserError(f"A rule asks for at least 1 occurrence; {self.at_least} was given.", "Begin with 1.")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Terms are escaped, so that a file cannot bring an expression that never ends.
        escaped = [re.escape(one) if one != one.lower() else f"(?i:{re.escape(one)})" for one in self.terms]
        before = r"(?<!\w)" if self.where in ("word", "start") else ""
        after = r"(?!\w)" if self.where in ("word", "end") else ""
        return re.compile(f"{before}(?:{'|'.join(escaped)}){after}")

    def count(self, text: str) -> int:
        """How often the terms occur."""
        return sum(1 for _ in self._pattern.finditer(text))

    def holds(self, text: str) -> bool:
        """Whether the text shows the concept."""
        return self.count(text) >= self.at_least

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"terms": list(self.terms), "where": self.where, "at_least": self.at_least}

    @classmethod
    def from_json(cls, given: Any) -> "Rule":
        """The rule in plain JSON; raises ValueError or TypeError for anything else."""
        if not isinstance(given, Mapping) or not isinstance(given.get("terms"), list):
            raise TypeError("a rule has a list of terms")
        at_least = given.get("at_least", 1)
        if not all(isinstance(one, str) for one in given["terms"]) or type(at_least) is not int:
            raise TypeError("terms are texts, and at_least is a whole number")
        return cls(tuple(given["terms"]), str(given.get("where", "word")), at_least)
