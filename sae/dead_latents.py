"""Which latents are dead: those that did not fire for so many rows (Gao et al. 2024, appendix A.2, and its code)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sae.data_parallel import lowest

FIRES_ABOVE = 1e-3


@dataclass
class DeadLatents:
    """Steps since each latent fired, counted before the step's auxiliary loss is formed."""

    counter: Int64[Tensor, "d_sae"]
    dead_after_steps: int

    @classmethod
    def none_yet(
        cls, d_sae: int, dead_after_rows: int, batch_rows: int, device: torch.device | str = "cpu"
    ) -> "DeadLatents":
        """Before the first step."""
        return cls(torch.zeros(d_sae, dtype=torch.int64, device=device), dead_after_rows // batch_rows)

    def see(self, values: Float[Tensor, "rows k"], indices: Int64[Tensor, "rows k"]) -> None:
        """Take in a step's codes: those that fired have counter 1 afterwards, the others one more than before."""
        self.counter[indices[values > FIRES_ABOVE]] = 0
        # A latent that fired in any process fired.
        self.counter = lowest(self.counter) + 1

    @property
    def is_dead(self) -> Bool[Tensor, "d_sae"]:
        """Whether each latent has not fired in `dead_after_steps` further steps."""
        return self.counter > self.dead_after_steps
