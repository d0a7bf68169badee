"""The SAEs on the shelf in words: a table for the app and the command line."""

from collections.abc import Sequence

from sae.shelf import SHORT, Shelved

NOT_SAID = "not said"


def shelf_table(shelf: Sequence[Shelved]) -> dict[str, list[str | int | None]]:
    """One row for each SAE: what it is called, what it is, where it reads, for which model, and where it came from."""
    return {
        "name": [one.name for one in shelf],
        "kind": [kind_words(one) for one in shelf],
        "d_in": [one.facts.d_in for one in shelf],
        "latents": [one.facts.d_sae for one in shelf],
        "k": [one.facts.k for one in shelf],
        "hook point": [one.facts.hook_point or NOT_SAID for one in shelf],
        "model": [one.model or NOT_SAID for one in shelf],
        "digest": [one.digest[:SHORT] for one in shelf],
        "origin": [one.origin for one in shelf],
    }


def kind_words(one: Shelved) -> str:
    """The kind, and whether it is a transcoder or has nested prefixes."""
    facts = one.facts
    nested = "matryoshka " if len(facts.group_sizes) > 1 else ""
    return f"{nested}{facts.kind}{' transcoder' if facts.is_transcoder else ''}"


def short_words(one: Shelved) -> str:
    """One SAE on a line: name, hook point, how many latents."""
    return f"{one.name} · {one.facts.hook_point or 'hook point not said'} · {one.facts.d_sae:,} latents"


def shelf_lines(shelf: Sequence[Shelved]) -> list[str]:
    """The table as lines of text."""
    table = shelf_table(shelf)
    columns = [[name, *("–" if cell is None else f"{cell}" for cell in cells)] for name, cells in table.items()]
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
