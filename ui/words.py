"""Numbers and foreign text as a person would read them: nothing that was typed or linked acts as markup."""

import re

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:<>&@=/])")


def plain(text: str) -> str:
    """The text for a Streamlit Markdown field, with every mark escaped, so that it is shown as it was written."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def said(value: float) -> str:
    """A number as a person would say it: 12.4 k, 5.9 M, 0.83."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {sign}"
    return f"{value:.3g}"


def shortened(text: str, n_chars: int = 60) -> str:
    """The text on one line, cut with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= n_chars else f"{line[: n_chars - 1].rstrip()}…"
