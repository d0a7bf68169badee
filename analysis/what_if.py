"""What if the entries that a criterion finds were zero, or their mean: loss, KL and text, clean and edited.

After `set_zero` and `set_mean` of Sun et al. 2024 (arXiv 2402.17762). What the mean is over:
- a whole dimension (LLM.int8() features, channels, loudest dimensions): its mean over all tokens looked at;
- a single entry (massive activations, spikes): its mean over N_SHUFFLES runs of the text in which the tokens at the
  entries' own positions and at position 0 stay, and all others change places. Sun et al. take it over many texts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analysis.lens import Progress, Subject
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Entry, Intervention, ReplaceEntries

N_SHUFFLES = 8
N_NEW_TOKENS = 24
MAX_TEXTS = 16


@dataclass(frozen=True, order=True)
class Target:
    """An entry to change; `pos` None means the dimension at every position. `mean` is known for those only."""

    at: HookPoint
    text: int
    pos: int | None
    dim: int
    mean: float = 0.0


def try_edit(
    subject: Subject, choice: str, criterion: str, targets: Sequence[Target], progress: Progress
) -> dict[str, Any] | None:
    """The `what_if` of a Report, for `choice` "zero" or "mean"; None where there is nothing to change or to predict."""
    texts = _texts_to_run(subject, targets)
    if not targets or not texts:
        return None
    clean: list[torch.Tensor] = []
    edited: list[torch.Tensor] = []
    kls: list[torch.Tensor] = []
    for n, text in enumerate(texts):
        progress(0.85 + 0.1 * n / len(texts), f"running text {n + 1} of {len(texts)} with the entries changed")
        tokens = subject.texts[text]
        edits = _edits(subject, choice, text, targets)
        if n == 0:
            first = edits
        before = subject.session.logits(tokens, subject.interventions).log_softmax(dim=-1)
        after = subject.session.logits(tokens, (*subject.interventions, *edits)).log_softmax(dim=-1)
        if not torch.isfinite(after).all():
            raise UserError("With these entries changed the model gives no finite logits.", "Choose another criterion.")
        kls.append((before.exp() * (before - after)).sum(dim=-1).clamp(min=0))
        clean.append(_loss(before, tokens))
        edited.append(_loss(after, tokens))
    progress(0.96, "writing on, clean and edited")
    text_clean, text_edited, prefix = _write_on(subject, subject.texts[texts[0]], first)
    loss_clean, loss_edited = float(torch.cat(clean).mean()), float(torch.cat(edited).mean())
    return {
        "choice": choice,
        "criterion": criterion,
        "n_entries": len(targets),
        "n_texts": len(texts),
        "first_text": texts[0],
        "mean_over": _mean_over(targets),
        "delta_loss_nats": loss_edited - loss_clean,
        "loss_clean": loss_clean,
        "loss_edited": loss_edited,
        "kl_nats": float(torch.cat(kls).mean()),
        "per_token_kl": kls[0].tolist(),
        "per_token_delta_loss": (edited[0] - clean[0]).tolist(),
        "text_prefix": prefix,
        "text_clean": text_clean,
        "text_edited": text_edited,
        "generation": f"greedy, up to {N_NEW_TOKENS} new tokens after the first half of the text",
        "recipes": [edit.recipe() for edit in first],
    }


def _texts_to_run(subject: Subject, targets: Sequence[Target]) -> list[int]:
    """The first MAX_TEXTS texts that the targets touch and that predict a token."""
    everywhere = any(target.pos is None for target in targets)
    touched: Iterable[int] = range(len(subject.texts)) if everywhere else sorted({one.text for one in targets})
    return [text for text in touched if len(subject.texts[text]) > 1][:MAX_TEXTS]


def _loss(log_probs: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    targets = torch.tensor(tokens[1:], dtype=torch.long)
    return -log_probs[:-1].gather(1, targets[:, None])[:, 0]


def _mean_over(targets: Sequence[Target]) -> str:
    if targets[0].pos is None:
        return "the dimension's mean over all tokens"
    return f"the entry's mean over {N_SHUFFLES} runs with the other tokens shuffled (seed 0)"


def _edits(subject: Subject, choice: str, text: int, targets: Sequence[Target]) -> tuple[Intervention, ...]:
    """The interventions for one text, one at each hook point, in the order of the blocks."""
    mine = [target for target in targets if target.pos is None or target.text == text]
    values = _shuffled_means(subject, text, mine) if choice == "mean" else dict.fromkeys(mine, 0.0)
    edits = []
    for at in sorted({target.at for target in mine}):
        entries = tuple(Entry(one.pos, one.dim, values[one]) for one in mine if one.at == at)
        edits.append(ReplaceEntries(at, entries))
    return tuple(edits)


def _shuffled_means(subject: Subject, text: int, targets: Sequence[Target]) -> dict[Target, float]:
    """The mean to put at each target."""
    single = [target for target in targets if target.pos is not None]
    values = {target: target.mean for target in targets}
    if not single:
        return values
    tokens = np.array(subject.texts[text])
    free = np.setdiff1d(np.arange(1, len(tokens)), [target.pos for target in single])
    draw = np.random.default_rng(0)
    rows = []
    for _ in range(N_SHUFFLES):
        shuffled = tokens.copy()
        shuffled[free] = tokens[draw.permutation(free)]
        rows.append(tuple(int(token) for token in shuffled))
    points = sorted({target.at for target in single})
    seen = [subject.session.capture(row, points, subject.interventions) for row in rows]
    for target in single:
        values[target] = float(np.mean([float(one[target.at][target.pos, target.dim]) for one in seen]))
    return values


def _write_on(subject: Subject, tokens: Sequence[int], edits: Sequence[Intervention]) -> tuple[str, str, str]:
    """What the model writes after the first half of the text, clean and edited; and that half."""
    session = subject.session
    half = tokens[: max(1, len(tokens) // 2)]
    written = []
    for interventions in (subject.interventions, (*subject.interventions, *edits)):
        new = session.generate(half, N_NEW_TOKENS, temperature=0.0, interventions=interventions)
        written.append("".join(session.token_texts(new)))
    return written[0], written[1], "".join(session.token_texts(half))
