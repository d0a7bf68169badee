"""Probing: what an SAE's latents know of labels that a text has.

1. Each text becomes the mean of its latents over tokens (and of its activations, for reference).
2. Half of the texts of each label are learnt from, half are asked about.
3. k-sparse probing (Karvonen et al. 2025, SAEBench, arXiv 2503.09532): the k latents of largest absolute difference
   between class means, a logistic regression on them, accuracy on the other half.
4. Probe loss (Gao et al. 2024, arXiv 2406.04093): the least cross-entropy that any single latent reaches.

The least of thousands is low by luck alone: the same on shuffled labels stands beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.autoencoder import Autoencoder
from sae.evaluation import Row
from sae.labelled_texts import LabelledTexts, Task, tasks_of
from sae.logistic_regression import cross_entropy, fit_each, fit_penalised
from sae.resampling import mean_interval

K_SPARSE = (1, 2, 5)
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Pooled:
    """Means over the tokens of each text: a sparse matrix [texts d_sae], and [texts d_in]."""

    latents: Any
    activations: Float[np.ndarray, "texts d_in"]


def pool(
    sae: Autoencoder, session: ModelSession, texts: Sequence[tuple[int, ...]], at: HookPoint, from_pos: int = 1
) -> Pooled:
    """The mean latents and activations of each text over its positions from `from_pos` on."""
    from scipy.sparse import coo_matrix, csr_matrix, diags

    n_texts, d_sae = len(texts), sae.facts.d_sae
    summed = csr_matrix((n_texts, d_sae), dtype=np.float64)
    activations = torch.zeros(n_texts, sae.facts.d_in, dtype=torch.float64)
    counts = torch.tensor([max(0, len(tokens) - from_pos) for tokens in texts])

    def take(_: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        nonlocal summed
        rows, whose = values[pos >= from_pos].float().cpu(), text_index[pos >= from_pos].cpu()
        if not len(rows):
            return
        activations.index_add_(0, whose, rows.double())
        with torch.no_grad():
            codes = sae.encode(rows)
        fires = codes.values > 0
        text_of = whose[:, None].expand_as(codes.indices)[fires]
        entries = (codes.values[fires].double().numpy(), (text_of.numpy(), codes.indices[fires].numpy()))
        summed = summed + coo_matrix(entries, shape=(n_texts, d_sae)).tocsr()

    session.stream(texts, (at,), take)
    share = 1 / counts.clamp(min=1).double()
    return Pooled((diags(share.numpy()) @ summed).tocsr(), (activations * share[:, None]).numpy())


@dataclass(frozen=True)
class Halves:
    """The texts of a task that are learnt from, and those that are asked about."""

    learnt: np.ndarray
    asked: np.ndarray


def split(task: Task, seed: int = 0) -> Halves:
    """Half of the texts of each class, drawn by the seed, and the others."""
    draw = np.random.default_rng(seed)
    learnt: list[np.ndarray] = []
    for is_positive in (True, False):
        rows = draw.permutation(np.flatnonzero(task.is_positive == is_positive))
        learnt.append(rows[: -(-len(rows) // 2)])
    chosen = np.sort(np.concatenate(learnt))
    return Halves(chosen, np.setdiff1d(np.arange(len(task.rows)), chosen))


def class_mean_difference(x: Any, is_positive: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "inputs"]:
    """Mean over the texts of the label minus mean over the others, of each input."""
    difference = x[is_positive].mean(axis=0) - x[~is_positive].mean(axis=0)
    return np.asarray(difference).reshape(-1)


def most_different(x: Any, is_positive: Bool[np.ndarray, "n"], k: int) -> np.ndarray:
    """The k inputs of largest absolute class-mean difference, largest first, equal ones by the lower index."""
    return np.argsort(-np.abs(class_mean_difference(x, is_positive)), kind="stable")[:k]


def is_right(x: Any, is_positive: np.ndarray, halves: Halves) -> Float[np.ndarray, "asked"]:
    """1 for each asked text whose label a logistic regression (C = 1) fitted on the learnt ones gives, else 0."""
    w, b = fit_penalised(x[halves.learnt], is_positive[halves.learnt])
    return ((x[halves.asked] @ w + b > 0) == is_positive[halves.asked]).astype(np.float64)


@dataclass(frozen=True)
class _Probed:
    """What one task came to: right or wrong for each asked text by probe, losses for each text by input."""

    right: dict[str, np.ndarray]
    losses: dict[str, np.ndarray]
    best_latent: int


def probe_rows(
    sae: Autoencoder,
    session: ModelSession,
    labelled: LabelledTexts,
    at: HookPoint,
    from_pos: int = 1,
    progress: Progress = lambda share, words: None,
) -> tuple[tuple[Row, ...], tuple[dict[str, Any], ...]]:
    """The rows of k-sparse probing and probe loss, and for each task its label and its best latents.

    Raises UserError for labelled texts that the model cannot read.
    """
    texts = _tokens(session, labelled, from_pos)
    progress(0.0, f"running {len(texts):,} labelled texts")
    pooled = pool(sae, session, texts, at, from_pos)
    probed, described = [], []
    tasks = tasks_of(labelled)
    for n, task in enumerate(tasks):
        progress(0.5 + 0.5 * n / len(tasks), f"probing for {task.label}")
        found = _probe(pooled, task)
        probed.append(found)
        halves = split(task)
        x, y = pooled.latents[task.rows[halves.learnt]], task.is_positive[halves.learnt]
        described.append(
            {
                "label": task.label,
                "n_texts": len(task.rows),
                "k_sparse_latents": most_different(x, y, max(K_SPARSE)).tolist(),
                "probe_latent": found.best_latent,
            }
        )
    return _rows(probed), tuple(described)


def _tokens(session: ModelSession, labelled: LabelledTexts, from_pos: int) -> list[tuple[int, ...]]:
    try:
        texts = [session.tokens(text, True)[: session.shape.context] for text in labelled.texts]
    except UserError as error:
        raise UserError(f"A text of {labelled.name} cannot be read: {error.message}", error.hint) from error
    if min(map(len, texts)) <= from_pos:
        raise UserError(
            f"Every labelled text must have a token after the first {from_pos:,}; one of {labelled.name} has none.",
            "Count from an earlier position, or leave the text out.",
        )
    return texts


def _probe(pooled: Pooled, task: Task) -> _Probed:
    halves, y = split(task), task.is_positive
    x, plain = pooled.latents[task.rows], pooled.activations[task.rows]
    right = {}
    for k in K_SPARSE:
        chosen = most_different(x[halves.learnt], y[halves.learnt], k)
        right[f"sparse_probe_{k}"] = is_right(x[:, chosen].toarray(), y, halves)
    right["probe_all_latents"] = is_right(x, y, halves)
    right["probe_activations"] = is_right(plain, y, halves)
    n_positive = int(y[halves.learnt].sum())
    right["probe_larger_label"] = (y[halves.asked] == (2 * n_positive > len(halves.learnt))).astype(np.float64)
    losses, best = _one_input_losses(x, plain, y, halves)
    return _Probed(right, losses, best)


def _one_input_losses(x: Any, plain: np.ndarray, y: np.ndarray, halves: Halves) -> tuple[dict[str, np.ndarray], int]:
    from scipy.sparse import csr_matrix

    learnt, asked = halves.learnt, halves.asked
    fitted = fit_each(x[learnt], y[learnt])
    best = int(fitted.loss.argmin())
    column = x[:, [best]].toarray()[:, 0]
    logits = fitted.slope[best] * column + fitted.offset[best]
    by_channel = fit_each(csr_matrix(plain[learnt]), y[learnt])
    channel = int(by_channel.loss.argmin())
    of_channel = by_channel.slope[channel] * plain[learnt, channel] + by_channel.offset[channel]
    shuffled = np.random.default_rng(1).permutation(y[learnt])
    by_luck = fit_each(x[learnt], shuffled)
    lucky = int(by_luck.loss.argmin())
    of_luck = by_luck.slope[lucky] * x[learnt][:, [lucky]].toarray()[:, 0] + by_luck.offset[lucky]
    losses = {
        "probe_loss": cross_entropy(logits[learnt], y[learnt]),
        "probe_loss_held_out": cross_entropy(logits[asked], y[asked]),
        "probe_loss_channels": cross_entropy(of_channel, y[learnt]),
        "probe_loss_shuffled": cross_entropy(of_luck, shuffled),
    }
    return losses, best


def _rows(probed: Sequence[_Probed]) -> tuple[Row, ...]:
    rows = []
    for name, (unit, formula) in FORMULAS.items():
        groups = [one.right[name] if name in one.right else one.losses[name] for one in probed]
        value = float(np.mean([group.mean() for group in groups]))
        rows.append(Row(name, value, *mean_interval(groups), unit, formula))
    return tuple(rows)


_ONE = "least mean cross-entropy of s(w z + b) over single"
FORMULAS = {
    **{
        f"sparse_probe_{k}": (
            "accuracy",
            f"logistic regression on the {k} latent{'s' if k > 1 else ''} of largest class-mean difference, held out",
        )
        for k in K_SPARSE
    },
    "probe_all_latents": ("accuracy", "the same on all latents"),
    "probe_activations": ("accuracy", "the same on the activation itself"),
    "probe_larger_label": ("accuracy", "always the more frequent label"),
    "probe_loss": ("nats", f"{_ONE} latents"),
    "probe_loss_held_out": ("nats", "of that latent, on the texts it was not fitted on"),
    "probe_loss_channels": ("nats", f"{_ONE} channels of the activation"),
    "probe_loss_shuffled": ("nats", f"{_ONE} latents, labels shuffled: what luck gives"),
}
"""Unit and formula of each row."""
