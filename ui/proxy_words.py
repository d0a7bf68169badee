"""A score behind its popover, in words: what it is called, its value where it is known, its formula, its source."""

from steering.proxies import Proxy
from ui.numbers import say_number
from ui.words import plain


def formula_words(one: Proxy, value: float | None = None) -> str:
    """Markdown of one score."""
    now = "" if value is None else f": **{plain(say_number(value))}**"
    return f"**{plain(one.label)}**{now} {plain(one.unit)}  \n{plain(one.formula)}  \n:small[{plain(one.source)}]"
