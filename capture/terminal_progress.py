"""How far a long command is, on one line of a terminal."""

import sys
from collections.abc import Callable


def terminal_progress() -> Callable[[float, str], None]:
    """Progress on one line of a terminal; silent where standard error is a file."""

    def show(share: float, words: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[2K{share:4.0%} {words}" + ("\n" if share >= 1 else ""))
            sys.stderr.flush()

    return show
