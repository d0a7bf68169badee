"""A latent's examples and direction as bytes: fixed records, compressed; written all at once, read singly."""

import zlib
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sae.kept_examples import BEFORE, WINDOW, KeptExamples, Places
from sae.latent_card import Example
from sae.latent_directions import DIRECTION
from sae.latent_stream import LatentStream

EXAMPLE = np.dtype(
    [
        ("is_top", "?"),
        ("text", "<i4"),
        ("pos", "<i4"),
        ("value", "<f4"),
        ("tokens", "<i4", (WINDOW,)),
        ("values", "<f4", (WINDOW,)),
    ]
)
"""One example: the tokens around it, -1 where the text has none, and the latent's value on each."""


def packed(stream: LatentStream, directions: Shaped[np.ndarray, "d_sae"]) -> list[bytes]:
    """The card of every latent: its direction, its top examples, then its drawn ones."""
    top, drawn = (_records(one, stream) for one in (stream.top, stream.drawn))
    top_end, drawn_end = (np.cumsum(np.bincount(one.places().latent, minlength=stream.d_sae)) for one in _kept(stream))
    cards, top_start, drawn_start = [], 0, 0
    for latent in range(stream.d_sae):
        parts = (directions[latent : latent + 1], top[top_start : top_end[latent]])
        data = b"".join(part.tobytes() for part in (*parts, drawn[drawn_start : drawn_end[latent]]))
        cards.append(zlib.compress(data, 1))
        top_start, drawn_start = top_end[latent], drawn_end[latent]
    return cards


def unpacked(data: bytes) -> tuple[Any, Shaped[np.ndarray, "n"]]:
    """A latent's direction (a record of DIRECTION) and its examples (records of EXAMPLE)."""
    raw = zlib.decompress(data)
    return np.frombuffer(raw, DIRECTION, 1)[0], np.frombuffer(raw, EXAMPLE, offset=DIRECTION.itemsize)


def _kept(stream: LatentStream) -> tuple[KeptExamples, KeptExamples]:
    return stream.top, stream.drawn


def _records(examples: KeptExamples, stream: LatentStream) -> Shaped[np.ndarray, "n"]:
    places: Places = examples.places()
    records = np.zeros(len(places), EXAMPLE)
    records["is_top"] = examples is stream.top
    for name, values in (("text", places.text), ("pos", places.pos), ("value", places.value)):
        records[name] = values
    records["tokens"] = stream.texts.around(places.text, places.pos, BEFORE, WINDOW - 1 - BEFORE)
    records["values"] = places.window
    return records


def example_of(record: Any, token_text: dict[int, str]) -> Example:
    """One record with the texts of its tokens."""
    is_there = record["tokens"] >= 0
    tokens = tuple(record["tokens"][is_there].tolist())
    return Example(
        text=int(record["text"]),
        pos=int(record["pos"]),
        value=float(record["value"]),
        tokens=tokens,
        texts=tuple(token_text.get(token, f"<{token}>") for token in tokens),
        values=tuple(record["values"][is_there].tolist()),
        peak=int(is_there[:BEFORE].sum()),
    )
