"""Training low-rank edits of a prompt's activations through the frozen model: what LoReFT's fit does.

Wu et al. 2024 (ReFT, arXiv 2404.03592): all hook points are trained together, each edit reading what the earlier ones
left, by the cross-entropy of the texts behind their prompts; R is a product of Householder reflections, so that its
rows are orthonormal after every step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.session import ModelSession
from steering.clean_batches import check_loss, shuffled, text_loss
from steering.fit_rows import FitText
from steering.method import Options, Progress
from steering.token_scope import TokenScope


def low_rank_change(
    x: Float[Tensor, "... d"], rotation: Float[Tensor, "r d"], apart: Float[Tensor, "r d"], bias: Float[Tensor, "r"]
) -> Float[Tensor, "... d"]:
    """Rᵀ (W x + b − R x), from R, W − R and b."""
    return (x @ apart.T + bias) @ rotation


@dataclass(frozen=True, eq=False)
class Learner:
    """What is trained at one hook point: R as the orthogonal weight of a linear layer, W and b."""

    at: HookPoint
    layer: torch.nn.Linear
    weight: Float[Tensor, "r d"]
    bias: Float[Tensor, "r"]

    @classmethod
    def begun(cls, at: HookPoint, width: int, rank: int, draw: torch.Generator) -> "Learner":
        """A random subspace in which nothing is changed yet."""
        layer = torch.nn.utils.skip_init(torch.nn.Linear, width, rank, bias=False)
        torch.nn.init.orthogonal_(layer.weight, generator=draw)
        # With its "trivialization" it would draw a matrix [width width] from a source that no seed of ours reaches.
        torch.nn.utils.parametrizations.orthogonal(layer, orthogonal_map="householder", use_trivialization=False)
        start = layer.weight.detach().clone()
        return cls(at, layer, start.requires_grad_(), torch.zeros(rank, requires_grad=True))

    @property
    def parameters(self) -> list[Tensor]:
        """What the optimiser moves."""
        return [*self.layer.parameters(), self.weight, self.bias]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """R, W and b as they are now."""
        return self.layer.weight, self.weight, self.bias


@dataclass(frozen=True, eq=False)
class _LearntEdit:
    """The edit under training, at the positions of a batch that count."""

    at: HookPoint
    rotation: Float[Tensor, "r d"]
    weight: Float[Tensor, "r d"]
    bias: Float[Tensor, "r"]
    counts: Float[Tensor, "batch pos 1"]

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with the edit, differentiable in it."""
        x = activation.float()
        rotation, weight, bias, counts = (one.to(x) for one in (self.rotation, self.weight, self.bias, self.counts))
        return (x + counts * low_rank_change(x, rotation, weight - rotation, bias)).to(activation.dtype)

    def recipe(self) -> Recipe:
        """A name for error messages: matrices under training are in no link."""
        return {"kind": "affine_low_rank", "at": str(self.at)}


def end_positions(texts: Sequence[FitText], n_ends: int) -> Float[Tensor, "batch pos 1"]:
    """1 at the first and the last positions of each text's prompt, 0 elsewhere."""
    counts = torch.zeros(len(texts), max(len(one.tokens) for one in texts), 1)
    for row, one in zip(counts, texts, strict=True):
        for start, end in TokenScope("prompt_ends", n_ends=n_ends).of(one.tokens[: one.start]):
            row[start:end] = 1.0
    return counts


def train_edits(
    session: ModelSession, texts: Sequence[FitText], at: Sequence[HookPoint], options: Options, progress: Progress
) -> tuple[dict[HookPoint, tuple[Tensor, Tensor, Tensor]], list[float]]:
    """R, W and b at each hook point, trained together, and the loss at each step.

    Raises UserError where a loss is not a number, and for a subspace of more dimensions than there are.
    """
    draw = torch.Generator().manual_seed(int(options["seed"]))
    learners = begun(session, texts[0], at, int(options["rank"]), draw)
    n_batch, n_epochs = int(options["n_batch"]), int(options["n_epochs"])
    n_steps = n_epochs * math.ceil(len(texts) / n_batch)
    parameters = [one for learner in learners for one in learner.parameters]
    optimiser = torch.optim.AdamW(parameters, lr=float(options["learning_rate"]), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / n_steps)
    losses: list[float] = []
    for some in shuffled(len(texts), n_batch, n_epochs, draw):
        loss = edited_loss(session, [texts[place] for place in some], learners, int(options["n_ends"]))
        losses.append(float(loss.detach()))
        check_loss(losses[-1], len(losses))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        progress(len(losses) / n_steps, f"step {len(losses):,} of {n_steps:,}, loss {losses[-1]:.3f}")
    # A parametrised weight is a view of its computation, which nobody needs any more.
    return {one.at: _kept(one) for one in learners}, losses


def _kept(one: Learner) -> tuple[Tensor, Tensor, Tensor]:
    rotation, weight, bias = (part.detach().clone() for part in one.tensors())
    return rotation, weight, bias


def begun(
    session: ModelSession, text: FitText, at: Sequence[HookPoint], rank: int, draw: torch.Generator
) -> list[Learner]:
    """The learners of some hook points; raises UserError for a subspace of more dimensions than there are."""
    seen = session.capture(text.tokens[:1], at)
    for point in at:
        if rank > (width := seen[point].shape[-1]):
            raise UserError(
                f"A subspace of {point} has at most {width:,} dimensions; a rank of {rank:,} was given.",
                "Begin with 4.",
            )
    return [Learner.begun(point, seen[point].shape[-1], rank, draw) for point in at]


def edited_loss(
    session: ModelSession, texts: Sequence[FitText], learners: Sequence[Learner], n_ends: int
) -> Float[Tensor, ""]:
    """Cross-entropy of the texts, nats per token, under the edits of their prompts."""
    counts = end_positions(texts, n_ends)
    edits = [_LearntEdit(one.at, *one.tensors(), counts) for one in learners]
    return text_loss(session.with_gradient([one.tokens for one in texts], {}, edits), texts)
