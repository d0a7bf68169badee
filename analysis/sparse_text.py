"""What a model writes when its weak neurons are switched off, beside what it writes as it is; and where they part."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.sparse_pass import Candidate
from analysis.sparsity_dense import DensePass, points_of
from analysis.sparsity_methods import masks_at, rival
from capture.errors import UserError
from capture.intervention import Intervention
from capture.session import ModelSession

N_NEW_TOKENS = 32
CETT = "cett"


@dataclass(frozen=True)
class Written:
    """The text's first half, what is written after it dense and sparse, and how the two predict the text itself."""

    prefix: tuple[str, ...]
    dense: tuple[str, ...]
    sparse: tuple[str, ...]
    n_same: int
    """How many of the new tokens agree before the first that does not."""
    tokens: tuple[str, ...]
    kl_nats: tuple[float, ...]
    """KL of dense from sparse predictions after each token of the text."""


def masks_of(
    session: ModelSession,
    texts: Sequence[tuple[int, ...]],
    slug: str,
    budget: float,
    interventions: Sequence[Intervention] = (),
) -> Candidate:
    """The masks of a method at its budget (a CETT target, or the share of weak entries), fitted on the texts."""
    if slug in ("zero", "cett_ppl"):
        # The zero test changes nothing, and an answer without masks has none to fit.
        return ()
    dense = DensePass(session, texts)
    session.stream(texts, points_of(session.shape), dense.update, interventions)
    return masks_at(dense, budget) if slug == CETT else rival(slug, dense, budget)


def write_on(
    session: ModelSession, tokens: tuple[int, ...], masks: Candidate, interventions: Sequence[Intervention] = ()
) -> Written:
    """Both continuations of the text's first half, greedy, and the KL at each of its tokens.

    Raises UserError where the masks leave no finite prediction.
    """
    base = tuple(interventions)
    half = tokens[: max(1, len(tokens) // 2)]
    new = [
        session.generate(half, N_NEW_TOKENS, temperature=0.0, interventions=changes)
        for changes in (base, (*base, *masks))
    ]
    before, after = (session.logits(tokens, changes).log_softmax(dim=-1) for changes in (base, (*base, *masks)))
    if not after.isfinite().all():
        raise UserError("With these neurons switched off the model gives no finite logits.", "Choose a smaller budget.")
    kl = (before.exp() * (before - after)).sum(dim=-1).clamp(min=0)
    n_same = next((n for n, pair in enumerate(zip(*new, strict=False)) if pair[0] != pair[1]), min(map(len, new)))
    dense, sparse = (session.token_texts(one) for one in new)
    return Written(
        session.token_texts(half), dense, sparse, n_same, session.token_texts(tokens), tuple(map(float, kl.tolist()))
    )
