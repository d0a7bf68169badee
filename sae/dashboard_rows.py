"""The rows of a dashboard as the store takes them, from what a LatentStream has seen so far."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Shaped

from capture.store_dashboards import DashboardRows
from sae.card_codec import packed
from sae.latent_stream import LatentStream

N_FIRES_ON = 5
N_TEXTS = 10


def dashboard_rows(
    stream: LatentStream, directions: Shaped[np.ndarray, "d_sae"], vocabulary: Sequence[str]
) -> DashboardRows:
    """Everything that is kept of all latents; `vocabulary` has the text of every token."""
    texts = pa.array(vocabulary, pa.string())
    columns = _numbers(stream)
    columns["first_bin"], columns["bin_counts"] = _histograms(stream.sums.counts)
    columns["fires_on"] = _fires_on(stream, texts)
    for name, column in (("promotes", "promoted"), ("suppresses", "suppressed")):
        tokens = directions[column][:, :N_TEXTS]
        columns[name] = _lists(texts.take(pa.array(tokens[tokens >= 0])), (tokens >= 0).sum(axis=1))
    tokens_table = pa.table({"token": pa.array(np.arange(len(vocabulary), dtype=np.int32)), "text": texts})
    return DashboardRows(pa.table(columns), packed(stream, directions), tokens_table)


def _numbers(stream: LatentStream) -> dict[str, pa.Array]:
    sums = stream.sums
    is_dead = sums.n_fired == 0
    n = np.maximum(sums.n_fired, 1)
    first, second, third, fourth = sums.powers / n
    second_or_1 = np.where(is_dead, 1.0, second)
    return {
        "latent": pa.array(np.arange(stream.d_sae, dtype=np.int32)),
        "n_fired": pa.array(sums.n_fired),
        "density": pa.array(sums.n_fired / max(1, stream.n_tokens)),
        "max": pa.array(sums.largest.astype(np.float64)),
        "mean": pa.array(first, mask=is_dead),
        "mean_square": pa.array(second, mask=is_dead),
        "skew": pa.array(third / second_or_1**1.5, mask=is_dead),
        "kurtosis": pa.array(fourth / second_or_1**2, mask=is_dead),
    }


def _histograms(counts: Int[np.ndarray, "d_sae bins"]) -> tuple[pa.Array, pa.Array]:
    """The first filled bin of each latent, and the counts from there to the last filled one."""
    is_filled: Any = counts > 0
    first = is_filled.argmax(axis=1)
    last = np.where(is_filled.any(axis=1), counts.shape[1] - is_filled[:, ::-1].argmax(axis=1), 0)
    bins = np.arange(counts.shape[1])
    shown = np.asarray((bins >= first[:, None]) & (bins < last[:, None]))
    return pa.array(first.astype(np.int32)), _lists(pa.array(counts[shown]), shown.sum(axis=1))


def _fires_on(stream: LatentStream, texts: pa.Array) -> pa.Array:
    """The texts of the tokens on which each latent fires most often among its examples, the most frequent first."""
    kept = [stream.top.places(), stream.drawn.places()]
    latent = np.concatenate([one.latent for one in kept])
    token = np.concatenate([stream.texts.ids[stream.texts.start[one.text] + one.pos] for one in kept])
    pairs, n = np.unique(latent * len(texts) + token, return_counts=True)
    latent, token = np.divmod(pairs, len(texts))
    order = np.lexsort((token, -n, latent))
    latent, token = latent[order], token[order]
    counts = np.bincount(latent, minlength=stream.d_sae)
    rank = np.arange(len(latent)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _lists(texts.take(pa.array(token[rank < N_FIRES_ON])), np.minimum(counts, N_FIRES_ON))


def _lists(values: pa.Array, lengths: Int[np.ndarray, "d_sae"]) -> pa.Array:
    """One list for each latent, cut from values laid end to end."""
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    return pa.ListArray.from_arrays(pa.array(offsets), values)
