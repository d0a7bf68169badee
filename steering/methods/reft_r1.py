"""ReFT-r1: one direction that both detects a concept and writes it, trained by the language-model loss.

Wu et al. 2025 (AxBench, arXiv 2501.17148), as in its code:

1. Latents a_p = ReLU(h_p · v) at every position but BOS; h is what the frozen model has there.
2. mean(TopK(a)) · v is added at all of these positions, and the text is predicted under it.
3. Loss: cross-entropy of the texts of both labels + (step / steps) · sparsity · mean of the latents outside the top k.
4. v has length 1: the part of the gradient along v is taken out, and v is brought back to length 1 after each step.
5. The first v is random. Where it lies on the far side of the concept, no latent of it is above 0 and it is never found
   (our note); with `start` it is the mean difference instead.
6. In use strength · m · v is added, where m is the largest latent on the texts of the fit (50 where none is above 0).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.option import Option
from capture.session import ModelSession
from steering.clean_batches import CleanBatch, check_loss, shuffled, text_loss
from steering.contrast_pairs import Contrast
from steering.direction import unit
from steering.fit_rows import BOS, FitText, RowsAsked, class_sums, fit_texts
from steering.fitted import Fitted, Setting
from steering.method import Method, Options, Progress, silent
from steering.methods.add_direction import AddDirection

FIRST_SCALE = 0.01
LENGTH_WITHOUT_LATENT = 50.0
TOP_K = Option("top_k", "Top k", "How many of a text's latents say how much is added.", 8, 1.0, 1000.0)
SPARSITY = Option("sparsity", "Sparsity", "Weight, at the end, of the latents outside the top k.", 0.005, 0.0, 10.0)
RATE = Option("learning_rate", "Learning rate", "Of AdamW at the start; it falls to 0.", 0.01, 1e-6, 1.0)
N_EPOCHS = Option("n_epochs", "Epochs", "How often every text is seen.", 3, 1.0, 1000.0)
N_BATCH = Option("n_batch", "Batch", "Texts of one step.", 6, 1.0, 1000.0)
START = Option(
    "start",
    "Start",
    "From a random direction (the paper), or from the mean difference.",
    "random",
    choices=("random", "mean_difference"),
)
SEED = Option("seed", "Seed", "Of the first direction and the order of the texts.", 0, 0.0, 2.0**31)


def top_k_mean(
    latents: Float[Tensor, "batch pos"], counts: Bool[Tensor, "batch pos"], k: int
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]:
    """Mean of each row's k largest latents, and mean over its positions of the others; positions that count alone.

    A row with fewer positions than k has the mean of all of them.
    """
    n_pos = counts.sum(dim=1)
    # Latents are never below 0, so that -1 marks what does not count.
    largest = latents.masked_fill(~counts, -1.0).topk(min(k, latents.shape[1]), dim=1).values
    chosen = largest.clamp(min=0.0).sum(dim=1)
    rest = (latents * counts).sum(dim=1) - chosen
    return chosen / n_pos.clamp(min=1, max=k), rest / n_pos.clamp(min=1)


def tangent(gradient: Float[Tensor, "d"], v: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
    """The gradient without its part along v, which has length 1."""
    return gradient - (gradient @ v) * v


def train_direction(
    session: ModelSession,
    texts: Sequence[FitText],
    at: HookPoint,
    options: Options,
    progress: Progress = silent,
    start: Float[Tensor, "d"] | None = None,
) -> tuple[Float[Tensor, "d"], list[float]]:
    """The direction, of length 1, and the loss at each step; raises UserError where a loss is not a number.

    Without a `start` the first direction is random.
    """
    draw = torch.Generator().manual_seed(int(options["seed"]))
    width = session.capture(texts[0].tokens[:1], (at,))[at].shape[-1]
    first = torch.randn(width, generator=draw) if start is None else start / start.norm()
    v = (FIRST_SCALE * first).requires_grad_()
    n_batch, n_epochs = int(options["n_batch"]), int(options["n_epochs"])
    n_steps = n_epochs * math.ceil(len(texts) / n_batch)
    optimiser = torch.optim.AdamW([v], lr=float(options["learning_rate"]))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / n_steps)
    losses: list[float] = []
    for some in shuffled(len(texts), n_batch, n_epochs, draw):
        batch = CleanBatch.of(session, [texts[place] for place in some], at, bool(options["bos"]))
        loss = _loss(session, batch, v, at, options, len(losses) / n_steps)
        losses.append(float(loss.detach()))
        check_loss(losses[-1], len(losses))
        (gradient,) = torch.autograd.grad(loss, v)
        _step(v, gradient, optimiser)
        schedule.step()
        progress(len(losses) / n_steps, f"step {len(losses):,} of {n_steps:,}, loss {losses[-1]:.3f}")
    return v.detach(), losses


def _loss(
    session: ModelSession, batch: CleanBatch, v: Tensor, at: HookPoint, options: Options, share_done: float
) -> Float[Tensor, ""]:
    amount, rest = top_k_mean(batch.latents(v), batch.counts, int(options["top_k"]))
    added = amount[:, None, None] * v * batch.counts[:, :, None]
    logits = session.with_gradient(batch.rows, {at: added})
    return text_loss(logits, batch.texts) + share_done * float(options["sparsity"]) * rest.mean()


@torch.no_grad()
def _step(v: Tensor, gradient: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """One step on the sphere: v before and after it has length 1."""
    v /= v.norm()
    v.grad = tangent(gradient, v)
    torch.nn.utils.clip_grad_norm_([v], 1.0)
    optimiser.step()
    v /= v.norm()


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """A direction at each hook point, each trained alone, with its largest latent on these texts."""
    texts, bos = fit_texts(session, contrast, bool(options["bos"])), bool(options["bos"])
    vectors, norms, facts = {}, {}, {}
    starts: dict[HookPoint, Tensor] = {}
    if options["start"] == "mean_difference":
        sums = class_sums(session, contrast, at, RowsAsked("all", skip_first=bos, bos=bos))
        starts = {point: unit((one.mean(0) - one.mean(1)).float()) for point, one in sums.items()}
    for point in at:
        v, losses = train_direction(session, texts, point, options, progress, starts.get(point))
        largest, total, n_rows = 0.0, 0.0, 0
        for start in range(0, len(texts), int(options["n_batch"])):
            batch = CleanBatch.of(session, texts[start : start + int(options["n_batch"])], point, bos)
            largest = max(largest, float((batch.latents(v) * batch.counts).max()))
            total += float((batch.h.norm(dim=2) * batch.counts).sum())
            n_rows += int(batch.counts.sum())
        vectors[point], norms[point] = v, total / max(1, n_rows)
        facts[str(point)] = {"max_latent": largest, "losses": [round(one, 4) for one in losses]}
    return Fitted("reft_r1", vectors, norms, {"trained": facts})


def apply(fitted: Fitted, setting: Setting) -> tuple[AddDirection, ...]:
    """The direction added; an absolute strength counts in its largest latent, as AxBench's factor does."""
    changes = []
    for at, vector, weight in setting.directions(fitted):
        largest = float(fitted.facts["trained"][str(at)]["max_latent"])
        length = setting.length(fitted, at) or (largest if largest > 0 else LENGTH_WITHOUT_LATENT)
        changes.append(AddDirection(at, vector, setting.strength * weight, length, setting.ranges))
    return tuple(changes)


METHOD = Method(
    slug="reft_r1",
    title="ReFT-r1",
    paper="Wu et al. 2025 (AxBench), arXiv 2501.17148",
    needs="labels",
    fitted_by="one direction trained through the frozen model to predict the texts where it detects the concept",
    apply=apply,
    fit=fit,
    options=(TOP_K, SPARSITY, RATE, N_EPOCHS, N_BATCH, START, SEED, BOS),
    sites=("resid_post", "resid_pre"),
    is_additive=True,
)
