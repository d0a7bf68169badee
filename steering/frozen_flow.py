"""What the layer weights of a controller learn from: continuations run through the frozen model, a few rows a step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.controller_loss import Continued, added_after_prompts, kl_loss, steered_logprobs, wanted_loss
from steering.controller_prompts import Prompts
from steering.controller_recipe import ControllerRecipe
from steering.method import Progress, silent

MAX_OTHERS = 64
"""Prompts of the rest that are continued once by the clean model."""


@dataclass(frozen=True, eq=False)
class FrozenFlow:
    """Targets (places among the prompts) with wanted continuations, and others with what the clean model wrote."""

    session: ModelSession
    points: tuple[HookPoint, ...]
    directions: Float[Tensor, "layers d_model"]
    """At the length of one unit of strength."""
    alpha: float
    kl_weight: float
    n_rows: int
    prompts: Prompts
    targets: Int[Tensor, "targets"]
    wanted: tuple[tuple[int, ...], ...]
    others: tuple[tuple[int, Continued], ...]

    @classmethod
    def of(
        cls,
        session: ModelSession,
        prompts: Prompts,
        pairs: Contrast,
        points: Sequence[HookPoint],
        directions: Float[Tensor, "layers d_model"],
        recipe: ControllerRecipe,
        progress: Progress = silent,
    ) -> "FrozenFlow":
        """The wanted halves of the pairs, cut to `flow_tokens`, and clean continuations of up to 64 other prompts."""
        n, room = recipe.flow_tokens, session.shape.context
        wanted = tuple(session.tokens(positive.text, bos=False)[:n] for positive, _ in pairs.pairs)
        targets: list[int] = []
        others: list[tuple[int, Continued]] = []
        for place, (tokens, is_target) in enumerate(zip(prompts.tokens, prompts.is_target, strict=True)):
            if len(tokens) + n > room:
                continue
            if is_target:
                targets.append(place)
            elif len(others) < MAX_OTHERS:
                progress(0.0, f"continuing other prompts, {len(others) + 1} of at most {MAX_OTHERS}")
                after = session.generate(tokens, n, seed=recipe.seed + place, temperature=1.0, top_p=1.0)
                others.append((place, Continued(tokens, after)))
        return cls(
            session,
            tuple(points),
            directions,
            recipe.alpha,
            recipe.kl_weight,
            recipe.flow_rows,
            prompts,
            torch.tensor(targets),
            wanted,
            tuple(others),
        )

    def rows(self, step: int) -> tuple[list[int], list[Continued], list[Continued]]:
        """Which prompts take part in a step (targets first), and their continuations; the step decides."""
        draw = torch.Generator().manual_seed(step)
        chosen = self.targets[torch.randint(len(self.targets), (self.n_rows,), generator=draw)].tolist()
        texts = torch.randint(len(self.wanted), (self.n_rows,), generator=draw).tolist()
        rest = [self.others[i] for i in torch.randint(len(self.others), (self.n_rows,), generator=draw).tolist()]
        targets = [Continued(self.prompts.tokens[i], self.wanted[n]) for i, n in zip(chosen, texts, strict=True)]
        return [*chosen, *(place for place, _ in rest)], targets, [one for _, one in rest]

    def loss(
        self, weights: Float[Tensor, "rows layers"], targets: Sequence[Continued], others: Sequence[Continued]
    ) -> Float[Tensor, ""]:
        """L_w of these rows, whose layer weights are given in the order targets, others."""
        with torch.no_grad():
            clean = steered_logprobs(self.session, others, {})
        rows = [*targets, *(replace(row, clean=odds) for row, odds in zip(others, clean, strict=True))]
        added = added_after_prompts(rows, self.alpha * weights, self.directions, self.points)
        odds = steered_logprobs(self.session, rows, added)
        n = len(targets)
        return wanted_loss(odds[:n], rows[:n]) + self.kl_weight * kl_loss(odds[n:], rows[n:])
