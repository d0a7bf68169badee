"""Sentences about latents, computed and scored on the scale of the other lenses.

score = log2(magnitude / usual), where `usual` is what the quantity would be with nothing to see: the token's share of
the text for a latent of one kind of token, the median token's strongest latent for a loud one, the SAE's own card for
FVU, latents that fire at random for silent ones. A finding whose score is not above 0 is not made.
"""

from collections.abc import Callable, Iterator
from math import log2
from typing import Any

import numpy as np
from jaxtyping import Float

from analysis.latent_view import Counts
from analysis.report import Finding

MIN_FIRED = 3
"""A latent that fired more rarely is of one kind of token by chance."""
MIN_TOKENS = 8
"""The FVU of fewer tokens says little: their own mean explains most of their variance."""
N_OF_ONE_TOKEN = 2
MAX_SERIES = 40
"""Tokens that the small picture beside a sentence has room for."""


def findings_of(
    counts: Counts,
    tokens: Callable[[int, int], str],
    share_of_token: Callable[[int], float],
    strongest: Float[np.ndarray, "tokens"] | None,
    usual_fvu: float | None,
    is_text_set: bool,
) -> tuple[Finding, ...]:
    """The findings of one text or of a set, highest score first.

    `tokens(text, pos)` names a token, `share_of_token(id)` says how much of the text it is, `strongest` has the largest
    value of each token where there is one text.
    """
    made = [
        *_of_one_token(counts, tokens, share_of_token, is_text_set),
        _loudest(counts, tokens, strongest),
        _badly_told(counts, usual_fvu, is_text_set),
        _silent(counts, is_text_set),
    ]
    found = [one for one in made if one is not None and one.score > 0]
    return tuple(sorted(found, key=lambda one: -one.score))


def _finding(
    sentence: str, magnitude: float, unit: str, usual: float, place: dict[str, Any], series: tuple[float, ...] = ()
) -> Finding:
    score = log2(magnitude / usual) if magnitude > 0 and usual > 0 else 0.0
    return Finding(sentence, float(magnitude), unit, score, place, series=series)


def _place(counts: Counts, latent: int, is_text_set: bool) -> dict[str, Any]:
    return {"latent": latent} if is_text_set else {"latent": latent, "pos": int(counts.highest_pos[latent])}


def _of_one_token(
    counts: Counts, tokens: Callable[[int, int], str], share_of_token: Callable[[int], float], is_text_set: bool
) -> Iterator[Finding]:
    """The latents that fire on one kind of token: of each kind the strongest, of the kinds the rarest first."""
    is_pure = (counts.fired >= MIN_FIRED) & (counts.least_token == counts.most_token)
    latents = np.nonzero(is_pure)[0]
    strength = counts.total[latents] / counts.total.max(initial=1e-30)
    shares = np.array([share_of_token(int(token)) for token in counts.most_token[latents]])
    seen: set[int] = set()
    for place in np.lexsort((-strength, shares)).tolist():
        latent, token = int(latents[place]), int(counts.most_token[latents[place]])
        if token in seen or len(seen) == N_OF_ONE_TOKEN:
            continue
        seen.add(token)
        name = tokens(int(counts.highest_text[latent]), int(counts.highest_pos[latent]))
        n, n_there = int(counts.fired[latent]), round(shares[place] * counts.n)
        yield _finding(
            f"Latent {latent} fires only on {name!r} here: {n} of the {n_there:,} times that the token comes, and on "
            f"none of the other {counts.n - n_there:,} tokens.",
            100.0,
            "% of its firing on one token",
            100 * float(shares[place]),
            _place(counts, latent, is_text_set),
        )


def _loudest(
    counts: Counts, tokens: Callable[[int, int], str], strongest: Float[np.ndarray, "tokens"] | None
) -> Finding | None:
    if strongest is None or len(strongest) < MIN_FIRED or not counts.highest.any():
        return None
    latent = int(counts.highest.argmax())
    value, usual = float(counts.highest[latent]), float(np.median(strongest))
    if usual <= 0:
        return None
    pos = int(counts.highest_pos[latent])
    return _finding(
        f"Latent {latent} is the strongest of this text: {value:.3g} on {tokens(0, pos)!r} (position {pos}), where the "
        f"strongest latent of the median token reaches {usual:.3g}.",
        value / usual,
        "times the median token's strongest",
        1.0,
        {"latent": latent, "pos": pos},
        tuple(strongest.tolist()) if len(strongest) <= MAX_SERIES else (),
    )


def _badly_told(counts: Counts, usual_fvu: float | None, is_text_set: bool) -> Finding | None:
    fvu = counts.fvu
    if fvu is None or usual_fvu is None or counts.n < MIN_TOKENS:
        return None
    what = "this text set" if is_text_set else "this text"
    return _finding(
        f"The SAE leaves {fvu:.0%} of the variance of {what} unexplained (FVU {fvu:.3g}; on its card {usual_fvu:.3g}).",
        100 * fvu,
        "% of variance unexplained",
        100 * usual_fvu,
        {"latent": int(counts.total.argmax())},
    )


def _silent(counts: Counts, is_text_set: bool) -> Finding | None:
    """Latents that fire on no token, against as many as would where every latent fired as often as the others."""
    if not is_text_set or counts.n == 0:
        return None
    d_sae, n_silent = len(counts.fired), int((counts.fired == 0).sum())
    even = (1 - min(1.0, counts.fired.sum() / counts.n / d_sae)) ** counts.n
    # Fewer than one latent is none.
    usual = max(even, 1 / d_sae)
    return _finding(
        f"{n_silent:,} of {d_sae:,} latents fire on none of the {counts.n:,} tokens; were all equally frequent, "
        f"{even * d_sae:,.0f} would not.",
        100 * n_silent / d_sae,
        "% of latents silent",
        100 * usual,
        {"latent": int(counts.total.argmax())},
    )
