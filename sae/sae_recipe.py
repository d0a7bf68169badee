"""SaeRecipe: what decides the weights of a trained SAE."""

from dataclasses import dataclass

from capture.errors import UserError
from capture.recipe_field import check_choices, check_least

TRAINED_KINDS = ("topk", "batch_topk", "matryoshka")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class SaeRecipe:
    """Defaults are those of Gao et al. 2024 (arXiv 2406.04093) and its code, scaled to small models where it says so.

    Every field is a flag of `python cli.py sae train`.
    """

    kind: str = "topk"
    """topk, batch_topk or matryoshka."""
    d_sae: int = 4096
    """Latents of the dictionary."""
    k: int = 32
    """Latents kept for a row; by the others than topk on average over a batch."""
    k_aux: int = 256
    """Dead latents that model the error of a row; the paper takes 512, its code 256."""
    aux_coefficient: float = 1 / 32
    """Weight of the loss by which dead latents learn from the error."""
    multi_k: bool = False
    """Add the loss with 4 k latents, divided by 8 (Multi-TopK), so that the code stays good at other k."""
    batch_rows: int = 2048
    """Rows of one step; the code takes 131,072."""
    total_rows: int = 4_000_000
    """Rows of all steps; text that gives fewer is read again in another order."""
    learning_rate: float = 1e-3
    """At d_sae 4,096; the best rate falls about with the root of d_sae, and the code's 1e-4 is for 32,768."""
    warmup_steps: int = 50
    """Steps over which the rate rises to its full height."""
    decay_from: float = 0.8
    """Share of the steps after which the rate falls linearly to 0."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 6.25e-10
    dead_after_rows: int = 200_000
    """A latent that did not fire (above 1e-3) for so many rows is dead; the code takes 10 M of 131,072 a step."""
    ema: float = 0.999
    """Decay of the averaged weights that are saved; 0 saves the last ones."""
    prefixes: int = 4
    """Nested dictionaries of a Matryoshka SAE: d_sae, half of it, a quarter …"""
    precision: str = "float32"
    """bfloat16: the model is run and its rows are kept in it, and TopK takes the values of the bfloat16 products;
    weights, sums and Adam stay in float32."""
    seed: int = 0
    """Of the first weights and of the order of rows."""

    @property
    def n_steps(self) -> int:
        return -(-self.total_rows // self.batch_rows)

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Sizes of the nested prefixes, smallest first; the whole dictionary alone unless it is a Matryoshka SAE."""
        if self.kind != "matryoshka":
            return (self.d_sae,)
        return tuple(sorted({max(1, self.d_sae >> n) for n in range(self.prefixes)}))

    def rate_at(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, constant, linear decay to 0."""
        left = (self.n_steps - step) / max(1, (1 - self.decay_from) * self.n_steps)
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup_steps)) * min(1.0, left)

    def check(self) -> None:
        """Raises UserError for a recipe that cannot be followed."""
        check_choices(self, kind=TRAINED_KINDS, precision=PRECISIONS)
        check_least(self, d_sae=1, batch_rows=2)
        if not 1 <= self.k <= self.d_sae:
            raise UserError(
                f"k must be from 1 to d_sae = {self.d_sae:,}; {self.k:,} was given.", "A token keeps k latents."
            )
        if self.total_rows < self.batch_rows:
            raise UserError(
                f"Rows must be at least one batch of {self.batch_rows:,}; {self.total_rows:,} were given.",
                "Give more rows, or smaller batches.",
            )
