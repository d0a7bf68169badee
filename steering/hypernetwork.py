"""A hypernetwork: a small decoder that reads a sentence and gives the vector that steers a frozen model towards it.

After HyperSteer (Sun et al. 2025, arXiv 2506.03292): Δ = H(s, x), and h ← h + a·Δ at one layer. The differences: the
decoder is a few blocks of its own with random first weights, not a copy of the base; its inputs are the base's token
embeddings brought to a root mean square of 1; the head is one linear map from zeros, so that Δ = 0 before training.

1. no_context: H sees the sentence s. Δ is brought to length 1, and stays 0 where it is 0 (`to_unit`).
2. in_context: H sees the prompt x and then s, so that the last token of s has seen both. Δ as it is.
3. cross_attention: each block attends to s, then to the base's activations of x, then has its MLP. Δ as it is.

Rows are padded on the left; a padded place is seen by none, and positions count real tokens only.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from steering.hypernetwork_recipe import CROSS_ATTENTION, IN_CONTEXT, NO_CONTEXT, HypernetworkRecipe

SMALLEST = 1e-6
"""A Δ shorter than this is not brought to length 1 but divided by this: 0 stays 0."""
BASE = 10_000.0
"""Of the rotary frequencies (Su et al. 2021, arXiv 2104.09864)."""


@dataclass(frozen=True)
class Rows:
    """Vectors of several rows padded to one length, and which of them are real."""

    vectors: Float[Tensor, "batch pos d"]
    is_real: Bool[Tensor, "batch pos"]

    def followed_by(self, other: "Rows") -> "Rows":
        """Each row, and then the row of the other; padding that lies between stays padding."""
        return Rows(torch.cat([self.vectors, other.vectors], 1), torch.cat([self.is_real, other.is_real], 1))


def left_padded(rows: list[Float[Tensor, "_ d"]]) -> Rows:
    """The rows, each ending at the same place."""
    longest = max(len(row) for row in rows)
    vectors = torch.stack([nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows], device=vectors.device)
    places = torch.arange(longest, device=vectors.device)
    return Rows(vectors, places >= longest - lengths[:, None])


def to_unit(delta: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
    """Each row at length 1; a row of zeros stays zeros."""
    return delta / delta.norm(dim=-1, keepdim=True).clamp_min(SMALLEST)


class Norm(nn.Module):
    """RMSNorm with a gain."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        """x over its root mean square, times the gain."""
        return rms_norm(x, self.gain.shape, self.gain, 1e-6)


class Attention(nn.Module):
    """Attention of rows to rows; `allowed` [batch query key] says who sees whom."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value, self.out = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))

    def forward(
        self,
        x: Float[Tensor, "batch query d"],
        seen: Float[Tensor, "batch key d"],
        allowed: Bool[Tensor, "batch query key"],
        positions: Int[Tensor, "batch query"] | None = None,
    ) -> Float[Tensor, "batch query d"]:
        """What each place takes from those it sees; with `positions`, queries and keys are turned by them."""
        query, key, value = self._heads(self.query(x)), self._heads(self.key(seen)), self._heads(self.value(seen))
        if positions is not None:
            query, key = rotated(query, positions), rotated(key, positions)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=allowed[:, None])
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch head pos d_head"]:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


def rotated(
    x: Float[Tensor, "batch head pos d_head"], positions: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch head pos d_head"]:
    """Rotary position embedding: pairs (i, i + d_head/2) turned by position × BASE^(−2i/d_head)."""
    half = x.shape[-1] // 2
    frequency = BASE ** (-torch.arange(half, dtype=x.dtype, device=x.device) / half)
    angle = positions[:, None, :, None].to(x.dtype) * frequency
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], dim=-1)


class Block(nn.Module):
    """Self-attention, perhaps cross-attention with a norm before and after it, a gated MLP; each on a residual."""

    def __init__(self, d_model: int, n_heads: int, d_mlp: int, crosses: bool) -> None:
        super().__init__()
        self.norm_self, self.attend = Norm(d_model), Attention(d_model, n_heads)
        self.cross = Attention(d_model, n_heads) if crosses else None
        if crosses:
            self.norm_cross, self.norm_seen, self.norm_crossed = Norm(d_model), Norm(d_model), Norm(d_model)
        self.norm_mlp = Norm(d_model)
        self.gate, self.up = (nn.Linear(d_model, d_mlp, bias=False) for _ in range(2))
        self.down = nn.Linear(d_mlp, d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch pos d"],
        positions: Int[Tensor, "batch pos"],
        allowed: Bool[Tensor, "batch pos pos"],
        context: Rows | None,
    ) -> Float[Tensor, "batch pos d"]:
        """The residual stream behind the block."""
        before = self.norm_self(x)
        x = x + self.attend(before, before, allowed, positions)
        if self.cross is not None and context is not None:
            sees = context.is_real[:, None, :].expand(-1, x.shape[1], -1)
            x = x + self.norm_crossed(self.cross(self.norm_cross(x), self.norm_seen(context.vectors), sees))
        hidden = self.norm_mlp(x)
        return x + self.down(silu(self.gate(hidden)) * self.up(hidden))


class Hypernetwork(nn.Module):
    """H: rows of embedded sentences, and of the prompt in two variants, to one vector a row."""

    def __init__(self, recipe: HypernetworkRecipe, d_model: int) -> None:
        super().__init__()
        self.variant = recipe.variant
        crosses = recipe.variant == CROSS_ATTENTION
        self.blocks = nn.ModuleList(
            Block(d_model, recipe.n_heads, recipe.d_mlp, crosses) for _ in range(recipe.n_blocks)
        )
        self.norm = Norm(d_model)
        self.head = nn.Linear(d_model, d_model, bias=False)

    def started(self, recipe: HypernetworkRecipe) -> "Hypernetwork":
        """Itself with its first weights: drawn by the seed with variance 1/fan-in, and 0 in the head.

        What writes to the residual stream begins smaller, by 1/√(2 n_blocks).
        """
        draw = torch.Generator().manual_seed(recipe.seed)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                scale = weight.shape[1] ** -0.5
                if name.endswith(("out.weight", "down.weight")):
                    scale *= (2 * recipe.n_blocks) ** -0.5
                weight.data.copy_(scale * torch.randn(weight.shape, generator=draw))
        self.head.weight.data.zero_()
        return self

    def pooled(self, sentence: Rows, context: Rows | None = None) -> Float[Tensor, "batch d"]:
        """What the head reads: the last token of the sentence, behind the last norm."""
        if (context is None) != (self.variant == NO_CONTEXT):
            raise ValueError(f"{self.variant} takes {'no' if context is not None else 'a'} context")
        rows = context.followed_by(sentence) if context is not None and self.variant == IN_CONTEXT else sentence
        positions = (rows.is_real.cumsum(dim=1) - 1).clamp_min(0)
        n_pos = rows.is_real.shape[1]
        causal = torch.ones(n_pos, n_pos, dtype=torch.bool, device=rows.is_real.device).tril()
        itself = torch.eye(n_pos, dtype=torch.bool, device=rows.is_real.device)
        # A padded place sees itself: a softmax over nothing is no number.
        allowed = (causal & rows.is_real[:, None, :]) | itself
        x = rows.vectors
        for block in self.blocks:
            x = block(x, positions, allowed, context if self.variant == CROSS_ATTENTION else None)
        return self.norm(x[:, -1:])[:, 0]

    def delta(self, pooled: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """Δ of what was pooled; of length 1 without context."""
        delta: Tensor = self.head(pooled)
        return to_unit(delta) if self.variant == NO_CONTEXT else delta

    def forward(self, sentence: Rows, context: Rows | None = None) -> Float[Tensor, "batch d"]:
        """Δ for each row."""
        return self.delta(self.pooled(sentence, context))
