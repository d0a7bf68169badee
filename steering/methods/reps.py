"""RePS: a vector trained to make a model prefer the wanted texts where it is added, the others where it is taken out.

Wu et al. 2025 (arXiv 2505.20809), reference-free preference steering; P_ref is the model as it is, |y| counts tokens:

1. Steered: f · v is added at every position but BOS, f drawn for each pair from the factors; the wanted text wins.
2. Suppressed: what is positive along v is taken out, h − ReLU(h · v) / ‖v‖² · v; the other text wins.
3. margin = max(ln P_ref(lose) − ln P_ref(win), 1) / |win| · ln P(win) − 1 / |lose| · ln P(lose), P being the changed
   model; the loss is −ln σ(margin), mean over both.
4. v is not brought to length 1; in use strength · v is added.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.option import Option
from capture.session import ModelSession
from steering.clean_batches import CleanBatch, check_loss, shuffled, text_logprobs
from steering.contrast_pairs import Contrast
from steering.fit_rows import BOS, FitText, fit_texts
from steering.fitted import Fitted
from steering.method import Method, Options, Progress
from steering.methods.add_direction import add_fitted

FACTORS = Option("factors", "Factors", "Of which one is drawn for each pair.", "2,4,6,8,10,12,14,16,18,20")
RATE = Option("learning_rate", "Learning rate", "Of AdamW at the start; it falls to 0.", 0.04, 1e-6, 1.0)
N_EPOCHS = Option("n_epochs", "Epochs", "How often every pair is seen.", 18, 1.0, 1000.0)
N_BATCH = Option("n_batch", "Batch", "Pairs of one step.", 6, 1.0, 1000.0)
SEED = Option("seed", "Seed", "Of the first vector, the order and the factors.", 0, 0.0, 2.0**31)
SMALLEST = 1e-12


def reps_margin(
    reference: tuple[Float[Tensor, "n"], Float[Tensor, "n"]],
    changed: tuple[Float[Tensor, "n"], Float[Tensor, "n"]],
    n_tokens: tuple[Float[Tensor, "n"], Float[Tensor, "n"]],
) -> Float[Tensor, "n"]:
    """The margin of each pair, from summed log-probabilities; each argument is of the winning and the losing texts."""
    scale = (reference[1] - reference[0]).clamp(min=1.0)
    return scale / n_tokens[0] * changed[0] - changed[1] / n_tokens[1]


def reps_loss(margin: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """−ln σ(margin), mean over the pairs, without overflow."""
    return torch.nn.functional.softplus(-margin).mean()


def nulled(h: Float[Tensor, "... d"], v: Float[Tensor, "d"]) -> Float[Tensor, "... d"]:
    """What taking out the positive part along v adds: −ReLU(h · v) / ‖v‖² · v."""
    return -(h @ v).relu()[..., None] / (v @ v).clamp(min=SMALLEST) * v


def read_factors(given: str) -> Tensor:
    """The factors; raises UserError for a text that is no list of numbers above 0."""
    try:
        found = [float(one) for one in given.split(",")]
    except ValueError:
        found = []
    if not found or not all(math.isfinite(one) and one > 0 for one in found):
        raise UserError(f"Factors are numbers above 0; {given[:40]!r} was given.", "Write, e.g., 2,4,8.")
    return torch.tensor(found)


def train_vector(
    session: ModelSession, pairs: Sequence[tuple[FitText, FitText]], at: HookPoint, options: Options, progress: Progress
) -> tuple[Float[Tensor, "d"], float, list[float]]:
    """The vector, the mean activation norm, and the loss at each step."""
    draw, factors = torch.Generator().manual_seed(int(options["seed"])), read_factors(str(options["factors"]))
    n_batch, n_epochs = int(options["n_batch"]), int(options["n_epochs"])
    n_steps = n_epochs * math.ceil(len(pairs) / n_batch)
    v: Tensor | None = None
    losses: list[float] = []
    norm, n_rows = 0.0, 0
    for some in shuffled(len(pairs), n_batch, n_epochs, draw):
        # Wanted and other text of each pair in turn.
        batch = CleanBatch.of(session, [one for place in some for one in pairs[place]], at, bool(options["bos"]))
        norm, n_rows = norm + float((batch.h.norm(dim=2) * batch.counts).sum()), n_rows + int(batch.counts.sum())
        if v is None:
            v = ((2 * torch.rand(batch.h.shape[2], generator=draw) - 1) / batch.h.shape[2] ** 0.5).requires_grad_()
            optimiser = torch.optim.AdamW([v], lr=float(options["learning_rate"]))
            schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / n_steps)
        chosen = factors[torch.randint(len(factors), (len(some),), generator=draw)].repeat_interleave(2)
        loss = _loss(session, batch, v, at, chosen)
        losses.append(float(loss.detach()))
        check_loss(losses[-1], len(losses))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([v], 1.0)
        optimiser.step()
        schedule.step()
        progress(len(losses) / n_steps, f"step {len(losses):,} of {n_steps:,}, loss {losses[-1]:.3f}")
    assert v is not None  # there is at least one pair
    return v.detach(), norm / max(1, n_rows), losses


def _loss(
    session: ModelSession, batch: CleanBatch, v: Tensor, at: HookPoint, factors: Float[Tensor, "batch"]
) -> Float[Tensor, ""]:
    n_tokens = torch.tensor([float(len(one.tokens) - max(1, one.start)) for one in batch.texts])
    with torch.no_grad():
        reference = _summed(session, batch, at, torch.zeros(1, 1, batch.h.shape[2]))
    counts = batch.counts[:, :, None]
    steered = _summed(session, batch, at, factors[:, None, None] * v * counts)
    suppressed = _summed(session, batch, at, nulled(batch.h, v) * counts)
    margins = [
        reps_margin(*((one[first::2], one[1 - first :: 2]) for one in (reference, changed, n_tokens)))
        for first, changed in ((0, steered), (1, suppressed))
    ]
    return reps_loss(torch.cat(margins))


def _summed(session: ModelSession, batch: CleanBatch, at: HookPoint, added: Tensor) -> Float[Tensor, "batch"]:
    logits = session.with_gradient(batch.rows, {at: added})
    return torch.stack([one.sum() for one in text_logprobs(logits, batch.texts)]).cpu()


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """A vector at each hook point, each trained alone."""
    texts = fit_texts(session, contrast, bool(options["bos"])) if contrast.pairs else []
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    vectors, norms, facts = {}, {}, {}
    for point in at:
        vectors[point], norms[point], losses = train_vector(session, pairs, point, options, progress)
        facts[str(point)] = {"losses": [round(one, 4) for one in losses]}
    return Fitted("reps", vectors, norms, {"trained": facts})


METHOD = Method(
    slug="reps",
    title="RePS",
    paper="Wu et al. 2025, arXiv 2505.20809",
    needs="pairs",
    fitted_by="a vector trained through the frozen model: the wanted texts win when added, the others when taken out",
    apply=add_fitted,
    fit=fit,
    options=(FACTORS, RATE, N_EPOCHS, N_BATCH, SEED, BOS),
    sites=("resid_post", "resid_pre"),
    is_additive=True,
)
