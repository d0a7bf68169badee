"""An option, declared once where it is used: it gives the widget, URL field, CLI flag, check and help."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from capture.errors import UserError

OptionValue = bool | int | float | str
MAX_TEXT_CHARS = 64_000


@dataclass(frozen=True)
class Option:
    """One named choice: a selection where it has `choices`, else a switch, a text or a number as its default is."""

    name: str
    label: str
    help: str
    default: OptionValue
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    is_of_model: bool = False
    """Whether its value belongs to one model: a link says what it was settled to, and another model lets go of it."""

    def read(self, given: Any) -> OptionValue:
        """The value that was given (as JSON or as text), checked; raises UserError with what is allowed."""
        if self.choices:
            if given not in self.choices:
                raise self._refusal(given, f"one of {', '.join(self.choices)}")
            return given
        if isinstance(self.default, bool):
            return self._read_switch(given)
        if isinstance(self.default, str):
            return self._read_text(given)
        return self._read_number(given)

    def _read_switch(self, given: Any) -> bool:
        known = {True: True, False: False, "true": True, "false": False, "yes": True, "no": False}
        if not isinstance(given, bool | str) or given not in known:
            raise self._refusal(given, "true or false")
        return known[given]

    def _read_text(self, given: Any) -> str:
        if not isinstance(given, str) or len(given) > MAX_TEXT_CHARS:
            raise self._refusal(given, f"a text of at most {MAX_TEXT_CHARS:,} characters")
        return given

    def _read_number(self, given: Any) -> int | float:
        kind = type(self.default)
        allowed = f"a number from {self.minimum:g} to {self.maximum:g}" if self.minimum is not None else "a number"
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            raise self._refusal(given, allowed)
        try:
            number = float(given)
        except (ValueError, OverflowError) as error:
            raise self._refusal(given, allowed) from error
        inside = (self.minimum is None or number >= self.minimum) and (self.maximum is None or number <= self.maximum)
        if not inside or not math.isfinite(number) or (kind is int and number != int(number)):
            raise self._refusal(given, f"a whole {allowed[2:]}" if kind is int else allowed)
        return int(number) if kind is int else number

    def _refusal(self, given: Any, allowed: str) -> UserError:
        return UserError(
            f"{self.label} must be {allowed}; {_shortened(given)} was given.", f"The default is {self.default!r}."
        )


def _shortened(given: Any) -> str:
    spelled = repr(given)
    return spelled if len(spelled) <= 60 else f"{spelled[:60]}…"


def read_options(options: tuple[Option, ...], given: Mapping[str, Any]) -> dict[str, OptionValue]:
    """All options with given values checked and the rest at their defaults; refuses unknown names."""
    known = {option.name: option for option in options}
    if unknown := sorted(set(given) - set(known)):
        raise UserError(
            f"No option is called {_shortened(unknown[0])}.", f"Choose one of: {', '.join(known) or 'none'}."
        )
    return {name: option.read(given.get(name, option.default)) for name, option in known.items()}
