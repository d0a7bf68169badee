"""What decides a hypernetwork: its variant, its size, its training. No torch, so that --help answers at once."""

import math
from dataclasses import dataclass

from capture.errors import UserError
from capture.recipe_field import check_above, check_choices, check_least

NO_CONTEXT, IN_CONTEXT, CROSS_ATTENTION = VARIANTS = ("no_context", "in_context", "cross_attention")
LANGUAGE_MODEL, RECONSTRUCTION = LOSSES = ("language_model", "reconstruction")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class HypernetworkRecipe:
    """Variant, size, losses and optimiser; after HyperSteer (Sun et al. 2025, arXiv 2506.03292) unless it says else."""

    variant: str = NO_CONTEXT
    """no_context reads the sentence, in_context the prompt before it, cross_attention the prompt's activations."""
    n_blocks: int = 2
    """Blocks of its own decoder. The paper takes a copy of most of the base model."""
    n_heads: int = 6
    """Attention heads of each block; they divide the model's width."""
    d_mlp: int = 512
    """Width of each block's gated MLP."""
    length: float = 0.2
    """What a factor of 1 adds, in mean activation norms at the hook point. The paper adds the vector as it is."""
    skip_first: bool = True
    """Leave position 0 (BOS, an attention sink) unsteered. The paper steers every position."""
    loss: str = LANGUAGE_MODEL
    """language_model goes through the frozen base; reconstruction, the paper's ablation, imitates a teacher."""
    warm_start: int = 500
    """Steps in the beginning that imitate the teacher: cheap, since the base does not run. The paper has none."""
    teacher: str = "mean_difference"
    """Steering method that is imitated, fitted on each concept. The paper's ablation takes ReFT-r1."""
    detection_weight: float = 0.1
    """Weight of the concept-detection loss; no_context alone has it."""
    n_steps: int = 2000
    """Optimiser steps."""
    batch: int = 32
    """Texts of a step, each with a concept of its own."""
    learning_rate: float = 1e-3
    """Of AdamW, after the warm-up; it falls to a tenth along a cosine."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.01
    """Of AdamW, on matrices."""
    clip: float = 1.0
    """Largest norm of a step's gradient."""
    n_concepts: int = 0
    """Held-in concepts to train on, drawn by the seed; 0 takes all."""
    longest: int = 96
    """Tokens of a text, BOS included; the rest is cut off."""
    precision: str = "float32"
    """Number format of the frozen base while it is trained through: float32 or bfloat16, which is faster."""
    bos: bool = True
    """Begin sentences and texts with the BOS token."""
    seed: int = 0
    """Of the first weights and of every draw."""

    def check(self, d_model: int | None = None) -> None:
        """Raises UserError for a recipe that cannot be trained, on a model of that width where it is given."""
        check_choices(self, variant=VARIANTS, loss=LOSSES, precision=PRECISIONS)
        check_least(self, n_blocks=1, n_heads=1, d_mlp=1, n_steps=1, batch=1, longest=8)
        check_above(self, length=0, learning_rate=0, clip=0)
        if d_model is not None and (d_model % self.n_heads or (d_model // self.n_heads) % 2):
            fitting = [n for n in range(1, d_model + 1) if d_model % n == 0 and d_model // n % 2 == 0][-8:]
            raise UserError(
                f"{self.n_heads} heads must divide the model's width of {d_model} into even parts.",
                f"Choose one of: {', '.join(map(str, fitting))}.",
            )

    def imitates(self, step: int) -> bool:
        """Whether a step, counted from 0, is one of reconstruction."""
        return self.loss == RECONSTRUCTION or step < self.warm_start

    @property
    def detects(self) -> bool:
        """Whether the detection loss is part of the training."""
        return self.variant == NO_CONTEXT and self.loss == LANGUAGE_MODEL and self.detection_weight > 0


def learning_rate(recipe: HypernetworkRecipe, step: int) -> float:
    """The rate of a step, counted from 0: a straight rise, then a cosine down to a tenth."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    share = (step - recipe.warmup_steps) / max(1, recipe.n_steps - recipe.warmup_steps)
    return recipe.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(1.0, share)))
