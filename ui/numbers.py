"""Numbers as a person would say them, and token texts as a label shows them."""

import html
import math
from decimal import ROUND_HALF_UP, Context, Decimal

NO_VALUE = "no value"
_MARKS = str.maketrans({" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"})
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_THREE_DIGITS = Context(prec=3, rounding=ROUND_HALF_UP)


def say_number(value: float) -> str:
    """The number with three digits as a person would say it: 12.4 k, 0.83, −5.9 M, 4.2×10⁻⁵.

    The components' heat.js says numbers the same way.
    """
    if math.isnan(value):
        return NO_VALUE
    sign, size = ("−" if value < 0 else ""), abs(float(value))
    if math.isinf(size):
        return f"{sign}∞"
    if size == 0:
        return "0"
    rounded = _THREE_DIGITS.create_decimal(Decimal(size))
    exponent = rounded.adjusted()
    if not -3 <= exponent < 15:
        return f"{sign}{_plain(rounded.scaleb(-exponent))}×10{str(exponent).translate(_SUPERSCRIPTS)}"
    step = max(0, exponent // 3)
    return f"{sign}{_plain(rounded.scaleb(-3 * step))}{['', ' k', ' M', ' G', ' T'][step]}"


def say_quantity(value: float, unit: str) -> str:
    """The number and its unit, such as 0.83 nats; the number alone where there is no unit or no value."""
    return say_number(value) if math.isnan(value) or not unit else f"{say_number(value)} {unit}"


def say_bytes(n_bytes: float) -> str:
    """A size as a person would say it: 205 B, 12.4 MB."""
    said = say_number(n_bytes)
    return f"{said}B" if said[-1].isalpha() else f"{said} B"


def marked(token: str, n_chars: int = 16) -> str:
    """A token as it is shown: spaces as a thin mark, newline as ⏎, cut where long. It is not escaped."""
    shown = token.translate(_MARKS) or "∅"
    return shown if len(shown) <= n_chars else f"{shown[: n_chars - 1]}…"


def token_label(token: str, n_chars: int = 16) -> str:
    """A token as it is shown, for a chart's label or HTML: tags escaped."""
    return escape(marked(token, n_chars))


def quantity_label(value: float, unit: str) -> str:
    """The number and its unit for a chart's label or HTML: tags in the unit escaped."""
    return escape(say_quantity(value, unit))


def escape(text: str) -> str:
    """The text with nothing in it that plotly would read as a tag."""
    return html.escape(text, quote=False)


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")
