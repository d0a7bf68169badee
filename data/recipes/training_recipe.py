"""What decides the weights of a trained story model."""

import math
from dataclasses import dataclass

from capture.errors import UserError
from capture.recipe_field import check_above, check_least


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything that decides the trained weights; the card and every checkpoint carry it."""

    d_model: int = 192
    n_layers: int = 5
    n_heads: int = 3
    d_mlp: int = 512
    d_vocab: int = 4096
    context: int = 512
    activation: str = "silu"
    windows: str = "128:0.6828,256:0.85,512:1"
    """Sequence length in tokens and the share of the steps until which it holds: short ones are cheaper."""
    batch_tokens: int = 8192
    micro_tokens: int = 2048
    """Tokens of one forward and backward pass; small enough for the processor's cache."""
    total_tokens: int = 36_000_000
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    decay_from: float = 0.55
    """Share of the steps after which the rate falls linearly to `final_rate`."""
    final_rate: float = 0.02
    mix: str = "simple:1,chilit:1,fairy:1,picture:2,tinystories:4"
    """Source name and how often one epoch repeats it."""
    seed: int = 0

    @property
    def n_steps(self) -> int:
        return math.ceil(self.total_tokens / self.batch_tokens)

    def stage_at(self, step: int) -> tuple[int, int]:
        """Sequence length in tokens, BOS included, at a step, and the first step that had it."""
        first_step = 0
        for part in self.windows.split(","):
            window, until = part.split(":")
            last = math.ceil(float(until) * self.n_steps)
            if step < last:
                return int(window), first_step
            first_step = last
        raise ValueError(f"Step {step} is beyond the recipe's {self.n_steps}.")

    def check(self) -> None:
        """Raises UserError for a recipe that cannot be followed."""
        sizes = ("d_model", "n_layers", "n_heads", "d_mlp", "d_vocab", "micro_tokens")
        check_least(self, **dict.fromkeys(sizes, 1), context=2, batch_tokens=self.micro_tokens, warmup_steps=1)
        check_least(self, total_tokens=self.batch_tokens, weight_decay=0, final_rate=0)
        check_above(self, learning_rate=0)
        if self.d_model % self.n_heads or not 0 <= self.decay_from < 1:
            raise UserError(
                f"The heads must divide the width, and the rate falls from a share below 1 on; {self.n_heads} heads, a "
                f"width of {self.d_model} and {self.decay_from:g} were given.",
                "Start from the defaults.",
            )

    def rate_at(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, constant, linear decay."""
        decay_start = self.decay_from * self.n_steps
        share_left = (self.n_steps - step) / (self.n_steps - decay_start)
        decay = self.final_rate + (1 - self.final_rate) * min(1.0, share_left)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * decay
