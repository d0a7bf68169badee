"""How good an SAE is on a set of texts: each figure by the glossary's formula, with an interval over texts.

Losses are nats per predicted token, whole model: clean, with the reconstruction spliced in, and with the activation set
to zero or to its mean. Loss recovered = (CE_ablated − CE_spliced) / (CE_ablated − CE_clean), for both ablations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.session import ModelSession
from sae.autoencoder import Autoencoder
from sae.losses import FIRES
from sae.splice import Ablate, Splice
from sae.text_sums import Checkpoint, KeptSums, TextSums

N_RESAMPLES = 500
DENSE = (0.01, 0.1)
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Row:
    """One figure: its value, the middle 95 % over resampled texts (None where there is no such thing), its formula.

    `interval_over` is what was resampled: texts, latents or places.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    formula: str
    interval_over: str = "texts"


@dataclass(frozen=True)
class Evaluation:
    """The table, and what was counted for each latent and token.

    `token_fvu` and `token_delta_ce` have an array for each text that was counted: ‖x − x̂‖² of each token from
    `from_pos` on over the mean of ‖x − x̄‖², so that their mean is FVU; and how many nats more each token after those
    costs with x̂ in place of x.
    """

    rows: tuple[Row, ...]
    density: Float[np.ndarray, "d_sae"]
    n_texts: int
    n_tokens: int
    facts: dict[str, Any]
    token_fvu: tuple[Float[np.ndarray, "_"], ...]
    token_delta_ce: tuple[Float[np.ndarray, "_"], ...]

    def value(self, name: str) -> float | None:
        """The value of one row; raises KeyError for an unknown one."""
        return {row.name: row.value for row in self.rows}[name]


@dataclass(frozen=True)
class _Run:
    """What every text is run by."""

    sae: Autoencoder
    session: ModelSession
    at: HookPoint
    from_pos: int
    under: tuple[Intervention, ...]


def evaluate(
    sae: Autoencoder,
    session: ModelSession,
    texts: Sequence[tuple[int, ...]],
    at: HookPoint,
    from_pos: int = 1,
    progress: Progress = lambda share, words: None,
    interventions: Sequence[Intervention] = (),
    checkpoint: Checkpoint | None = None,
) -> Evaluation:
    """The table of an SAE on texts; positions before `from_pos` are neither reconstructed nor counted.

    Every forward pass is made under the interventions. With a checkpoint, a stopped one goes on at its last text.

    Raises UserError for texts without a token to count and predict, and for a transcoder.
    """
    if sae.facts.is_transcoder:
        raise UserError(
            f"An evaluation compares an SAE's output with what it reads; this transcoder reads {sae.facts.hook_point} "
            f"and writes {sae.facts.hook_point_out}.",
            "Choose an SAE that reconstructs its own input.",
        )
    texts = [tokens for tokens in texts if len(tokens) > from_pos + 1]
    if not texts:
        raise UserError("An evaluation needs texts of a few tokens; there is none.", "Give longer texts.")
    run = _Run(sae, session, at, from_pos, tuple(interventions))
    mean = _mean(run, texts)
    kept = KeptSums(checkpoint, {"sae": sae.digest, "from_pos": from_pos, "n_texts": len(texts)})
    sums, fired = kept.load(sae.facts.d_sae)
    for n, tokens in enumerate(texts[len(sums) :], start=len(sums)):
        progress(n / len(texts), f"text {n + 1:,} of {len(texts):,}")
        sums.append(_measure(run, tokens, mean, fired))
        kept.save(sums, fired)
    n_tokens = sum(one.n for one in sums)
    density = (fired / n_tokens).numpy()
    facts = {
        "model": session.name,
        "fingerprint": session.fingerprint,
        "dtype": session.dtype,
        "processing": session.processing,
        "hook_point": str(at),
        "from_pos": from_pos,
        "sae": sae.digest,
    }
    spread = float(_variance(sums, np.ones((1, len(sums))))[0]) / n_tokens
    return Evaluation(
        (*_ratios(sums), *_shares(density)),
        density,
        len(texts),
        n_tokens,
        facts,
        tuple((one.token_errors / spread if spread else one.token_errors).numpy() for one in sums),
        tuple(one.token_delta_ce.numpy() for one in sums),
    )


def _mean(run: _Run, texts: Sequence[tuple[int, ...]]) -> Float[Tensor, "d"]:
    total, n = torch.zeros(()), 0

    def take(_: HookPoint, values: Tensor, __: Tensor, pos: Tensor) -> None:
        nonlocal total, n
        kept = values[pos >= run.from_pos].float().cpu()
        total, n = total + kept.sum(dim=0), n + len(kept)

    run.session.stream(texts, (run.at,), take, run.under)
    return total / n


def _measure(run: _Run, tokens: tuple[int, ...], mean: Tensor, fired: Tensor) -> TextSums:
    sae, at, from_pos = run.sae, run.at, run.from_pos
    x = run.session.capture(tokens, (at,), run.under)[at][from_pos:].float()
    with torch.no_grad():
        guess, codes = sae.reconstruct(x)
    fires = codes.values > FIRES
    fired.index_add_(0, codes.indices[fires], torch.ones(int(fires.sum())))
    changes: dict[str, tuple[Intervention, ...]] = {
        "clean": (),
        "spliced": (Splice(at, sae, from_pos=from_pos),),
        "zero": (Ablate(at, torch.zeros_like(mean), from_pos=from_pos),),
        "mean": (Ablate(at, mean, from_pos=from_pos),),
    }
    logits = {
        name: run.session.logits(tokens, (*run.under, *change)).log_softmax(dim=-1) for name, change in changes.items()
    }
    clean = logits["clean"]
    # Only predictions made from changed positions on can differ.
    wanted = torch.tensor(tokens[from_pos + 1 :])[:, None]
    by_token = {name: -one[from_pos:-1].gather(1, wanted)[:, 0] for name, one in logits.items()}
    losses = {name: float(one.sum()) for name, one in by_token.items()}
    kls = {
        name: float((clean.exp() * (clean - one))[from_pos:-1].sum()) for name, one in logits.items() if name != "clean"
    }
    return TextSums(
        n=len(x),
        error=float(((x - guess) ** 2).sum()),
        square=float((x**2).sum()),
        total=x.sum(dim=0),
        guess_square=float((guess**2).sum()),
        dot=float((x * guess).sum()),
        cosine=float(torch.cosine_similarity(x, guess, dim=1).sum()),
        n_active=float(fires.sum()),
        n_predicted=len(wanted),
        losses=losses,
        kls=kls,
        token_errors=((x - guess) ** 2).sum(dim=1),
        token_delta_ce=by_token["spliced"] - by_token["clean"],
    )


def _ratios(sums: Sequence[TextSums]) -> tuple[Row, ...]:
    draw, n = np.random.default_rng(0), len(sums)
    samples = [np.bincount(draw.integers(n, size=n), minlength=n) for _ in range(N_RESAMPLES)] if n > 1 else []
    found = _figures(sums, np.array([np.ones(n), *samples]))
    rows = []
    for name, values in found.items():
        unit, formula = FORMULAS[name]
        value, spread = float(values[0]), values[1:][np.isfinite(values[1:])]
        low, high = np.quantile(spread, [0.025, 0.975]).tolist() if len(spread) else (None, None)
        rows.append(Row(name, value if isfinite(value) else None, low, high, unit, formula))
    return tuple(rows)


def _figures(
    sums: Sequence[TextSums], weights: Float[np.ndarray, "samples texts"]
) -> dict[str, Float[np.ndarray, "samples"]]:
    """Every figure of each sample, which counts each text as often as its weight says; NaN where it means nothing."""

    def over(values: Sequence[int | float]) -> np.ndarray:
        return np.asarray(weights @ np.array(values, dtype=np.float64))

    n, n_predicted = over([one.n for one in sums]), over([one.n_predicted for one in sums])
    unexplained = _share(over([one.error for one in sums]), _variance(sums, weights))
    loss = {name: over([one.losses[name] for one in sums]) / n_predicted for name in sums[0].losses}
    kl = {name: over([one.kls[name] for one in sums]) / n_predicted for name in sums[0].kls}
    return {
        "fvu": unexplained,
        "explained_variance": 1 - unexplained,
        "cosine": over([one.cosine for one in sums]) / n,
        "relative_reconstruction_bias": _share(
            over([one.guess_square for one in sums]), over([one.dot for one in sums])
        ),
        "l0": over([one.n_active for one in sums]) / n,
        "ce_clean": loss["clean"],
        "ce_spliced": loss["spliced"],
        "delta_ce": loss["spliced"] - loss["clean"],
        "ce_zero": loss["zero"],
        "ce_mean": loss["mean"],
        "loss_recovered_zero": _share(loss["zero"] - loss["spliced"], loss["zero"] - loss["clean"]),
        "loss_recovered_mean": _share(loss["mean"] - loss["spliced"], loss["mean"] - loss["clean"]),
        "kl_spliced": kl["spliced"],
        "kl_recovered_zero": _share(kl["zero"] - kl["spliced"], kl["zero"]),
    }


def _variance(sums: Sequence[TextSums], weights: Float[np.ndarray, "samples texts"]) -> Float[np.ndarray, "samples"]:
    """Σ‖x − x̄‖² over the texts of each sample, each counted as often as its weight says."""
    totals = torch.stack([one.total for one in sums]).double().numpy()
    n = weights @ np.array([one.n for one in sums])
    mean = weights @ totals / n[:, None]
    return np.asarray(weights @ np.array([one.square for one in sums]) - n * (mean**2).sum(axis=1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """A ratio, or NaN where it means nothing."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole != 0)


def _shares(density: Float[np.ndarray, "d_sae"]) -> tuple[Row, ...]:
    dead = Row("dead_share", float((density == 0).mean()), None, None, "share", "latents that fired on no token here")
    dense = [
        Row(
            f"denser_than_{level:g}",
            float((density > level).mean()),
            None,
            None,
            "share",
            f"latents that fired on more than {level:.0%} of tokens",
        )
        for level in DENSE
    ]
    return (dead, *dense)


FORMULAS = {
    "fvu": ("", "Σ‖x − x̂‖² / Σ‖x − x̄‖²"),
    "explained_variance": ("", "1 − FVU"),
    "cosine": ("", "mean of x·x̂ / (‖x‖‖x̂‖)"),
    "relative_reconstruction_bias": ("", "Σ‖x̂‖² / Σ x·x̂"),
    "l0": ("latents a token", "mean number of latents that fire"),
    "ce_clean": ("nats a token", "loss of the model as it is"),
    "ce_spliced": ("nats a token", "loss with x̂ in place of x"),
    "delta_ce": ("nats a token", "CE spliced − CE clean"),
    "ce_zero": ("nats a token", "loss with 0 in place of x"),
    "ce_mean": ("nats a token", "loss with x̄ in place of x"),
    "loss_recovered_zero": ("", "(CE zero − CE spliced) / (CE zero − CE clean)"),
    "loss_recovered_mean": ("", "(CE mean − CE spliced) / (CE mean − CE clean)"),
    "kl_spliced": ("nats a token", "KL(clean ‖ spliced) of next-token odds"),
    "kl_recovered_zero": ("", "(KL zero − KL spliced) / KL zero"),
}
"""Unit and formula of each row."""
