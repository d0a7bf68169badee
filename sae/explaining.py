"""Explaining an SAE's latents: examples from texts, patterns by running the model, precision and recall held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from kernels.topk import TopK
from sae.autoencoder import Autoencoder
from sae.evaluation import Row
from sae.explanation import Agreement, Example, Explanation, Tokens, agreement, explain
from sae.resampling import mean_interval

N_TOP, N_RANDOM = 8, 8
"""Examples of a latent: the highest activations, one a text, and activations drawn at random."""
MIN_FIRES = 4
BATCH_TOKENS = 4096
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Explained:
    """A latent, its patterns, and how they do on the held-out texts."""

    latent: int
    explanation: Explanation
    held_out: Agreement


def filler_of(session: ModelSession) -> int:
    """The token that stands in for others: the last of " _", which is the one that Gao et al.'s code takes of GPT-2."""
    return session.tokens(" _", False)[-1]


def latent_values(codes: TopK, latent: int) -> Float[Tensor, "rows"]:
    """The activation of one latent on each row."""
    return (codes.values * (codes.indices == latent)).sum(dim=-1)


def last_activations(
    sae: Autoencoder, session: ModelSession, at: HookPoint, latent: int, lead: Tokens
) -> Callable[[Sequence[Tokens]], Float[np.ndarray, "rows"]]:
    """The activation of a latent at the last token of each row, run behind `lead` (BOS, or nothing)."""

    def run(rows: Sequence[Tokens]) -> Float[np.ndarray, "rows"]:
        found = np.zeros(len(rows))
        last = torch.tensor([len(lead) + len(row) - 1 for row in rows])

        def take(_: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
            whose = text_index.cpu()
            is_last = pos.cpu() == last[whose]
            with torch.no_grad():
                codes = sae.encode(values[is_last.to(values.device)].float().cpu())
            found[whose[is_last].numpy()] = latent_values(codes, latent).double().numpy()

        session.stream([(*lead, *row) for row in rows], (at,), take, batch_tokens=BATCH_TOKENS)
        return found

    return run


def explain_latent(
    sae: Autoencoder, session: ModelSession, at: HookPoint, latent: int, examples: Sequence[Example], lead: Tokens
) -> Explanation:
    """The token patterns of one latent from examples of it, whose tokens come without `lead`."""
    return explain(examples, last_activations(sae, session, at, latent, lead), filler_of(session))


def explain_rows(
    sae: Autoencoder,
    session: ModelSession,
    texts: Sequence[Tokens],
    at: HookPoint,
    n_latents: int,
    from_pos: int = 1,
    seed: int = 0,
    progress: Progress = lambda share, words: None,
) -> tuple[tuple[Row, ...], tuple[Explained, ...]]:
    """Precision and recall of the explanations of latents drawn at random, and the explanations.

    Every other text gives examples; the rest is held out. Raises UserError where no latent fires often enough.
    """
    shown, held_out = list(texts[0::2]), list(texts[1::2])
    counts = _fires(sae, session, shown, at, from_pos)
    often = np.flatnonzero(counts >= MIN_FIRES)
    if not len(often) or not held_out:
        raise UserError(
            f"Explanations need a latent that fires on {MIN_FIRES} tokens of half of the texts; there is none.",
            "Give more text.",
        )
    draw = np.random.default_rng(seed)
    latents = np.sort(draw.choice(often, size=min(n_latents, len(often)), replace=False))
    of_shown = _of_latents(sae, session, shown, at, latents, from_pos)
    of_held_out = _of_latents(sae, session, held_out, at, latents, from_pos)
    explained = []
    for n, latent in enumerate(latents.tolist()):
        progress(n / len(latents), f"explaining latent {latent}, {n + 1:,} of {len(latents):,}")
        examples = choose_examples([tokens[from_pos:] for tokens in shown], of_shown[n], draw)
        found = explain_latent(sae, session, at, latent, examples, tuple(texts[0][:from_pos]))
        rest = [tuple(tokens[from_pos:]) for tokens in held_out]
        explained.append(Explained(latent, found, agreement(found, rest, of_held_out[n])))
    return _rows(explained), tuple(explained)


def choose_examples(
    texts: Sequence[Tokens], activations: Sequence[Float[np.ndarray, "_"]], draw: np.random.Generator
) -> list[Example]:
    """The tokens of highest activation, one a text, and others where the latent fires, drawn at random."""
    places = [(text, int(pos)) for text, values in enumerate(activations) for pos in np.flatnonzero(values > 0)]
    peaks = [(text, int(values.argmax())) for text, values in enumerate(activations) if values.max(initial=0) > 0]
    peaks = sorted(peaks, key=lambda at: -activations[at[0]][at[1]])[:N_TOP]
    others = sorted(set(places) - set(peaks))
    chosen = peaks + [others[n] for n in draw.permutation(len(others))[:N_RANDOM].tolist()]
    return [Example(tuple(texts[text]), pos, float(activations[text][pos])) for text, pos in chosen]


def _fires(
    sae: Autoencoder, session: ModelSession, texts: Sequence[Tokens], at: HookPoint, from_pos: int
) -> Int64[np.ndarray, "d_sae"]:
    counts = torch.zeros(sae.facts.d_sae, dtype=torch.int64)

    def take(_: HookPoint, values: Tensor, __: Tensor, pos: Tensor) -> None:
        with torch.no_grad():
            codes = sae.encode(values[pos >= from_pos].float().cpu())
        counts.add_(torch.bincount(codes.indices[codes.values > 0], minlength=len(counts)))

    session.stream(texts, (at,), take)
    return counts.numpy()


def _of_latents(
    sae: Autoencoder, session: ModelSession, texts: Sequence[Tokens], at: HookPoint, latents: np.ndarray, from_pos: int
) -> list[list[np.ndarray]]:
    """For each latent and each text, its activation at every position from `from_pos` on."""
    slots = torch.full((sae.facts.d_sae,), -1)
    slots[torch.from_numpy(latents)] = torch.arange(len(latents))
    found = [[np.zeros(max(0, len(tokens) - from_pos)) for tokens in texts] for _ in latents]

    def take(_: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        is_counted = pos >= from_pos
        with torch.no_grad():
            codes = sae.encode(values[is_counted].float().cpu())
        slot = slots[codes.indices]
        row, column = ((slot >= 0) & (codes.values > 0)).nonzero(as_tuple=True)
        whose, where = text_index[is_counted].cpu()[row], pos[is_counted].cpu()[row] - from_pos
        places = torch.stack([slot[row, column], whose, where], dim=1).tolist()
        for (n, text, place), value in zip(places, codes.values[row, column].tolist(), strict=True):
            found[n][text][place] = value

    session.stream(texts, (at,), take)
    return found


def _rows(explained: Sequence[Explained]) -> tuple[Row, ...]:
    rows = []
    by_name: dict[str, list[float | None]] = {
        "explanation_precision": [one.held_out.precision for one in explained],
        "explanation_recall": [one.held_out.recall for one in explained],
        "explanation_chance": [one.held_out.n_active / one.held_out.n_tokens for one in explained],
    }
    for name, found in by_name.items():
        values = np.array([value for value in found if value is not None])
        value = float(values.mean()) if len(values) else None
        counted = f"; mean over {len(values):,} latents"
        rows.append(Row(name, value, *mean_interval([values]), "", FORMULAS[name] + counted, "latents"))
    return tuple(rows)


FORMULAS = {
    "explanation_precision": "tokens where the latent fires, of those that its patterns predict",
    "explanation_recall": "tokens that the patterns predict, of those where the latent fires",
    "explanation_chance": "precision of predicting any tokens: how often the latent fires",
}
"""Formula of each row; patterns are those of `explanation`, on the half of the texts that gave no example."""
