"""The panes of the steering lab: multiples of the recipe's strength, as they are written and called."""

from collections.abc import Mapping, Sequence
from typing import Any

from capture.errors import UserError

MAX_PANES = 3
MAX_MULTIPLE = 1_000


def read_multiples(given: Any) -> tuple[float, ...]:
    """The multiples of the recipe's strength, one a pane, out of a text such as "0.5, 1, 2"; refuses anything else."""
    words = [word.strip() for word in str(given).split(",") if word.strip()]
    try:
        multiples = tuple(float(word) for word in words)
    except ValueError:
        multiples = ()
    # NaN compares as false too.
    if not 1 <= len(multiples) <= MAX_PANES or not all(abs(one) <= MAX_MULTIPLE for one in multiples):
        raise UserError(
            f"Panes must be one to three multiples of the strength, such as 0.5, 1, 2; {str(given)[:40]!r} was given.",
            "The default is 1: the recipe as it is.",
        )
    return multiples


def settle(options: Mapping[str, Any], fingerprint: str) -> Mapping[str, Any]:
    """The options with the multiples spelled one way, so that the same panes have the same link."""
    return {**options, "panes": ", ".join(f"{one:g}" for one in read_multiples(options["panes"]))}


def titles_of(multiples: Sequence[float]) -> tuple[str, ...]:
    """What the panes are called: the clean one, and one for each multiple of the recipe's strength."""
    return ("clean", *(f"× {one:g}".replace("-", "−") for one in multiples))
