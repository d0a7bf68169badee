"""What a hypernetwork reads of a model: sentences in the model's own embeddings, and the prompt or its activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.hypernetwork import Rows, left_padded
from steering.hypernetwork_recipe import CROSS_ATTENTION, NO_CONTEXT

Tokens = Sequence[int]


@dataclass(frozen=True)
class Reader:
    """Reads for one variant at one hook point of a session; nothing of it is written to."""

    session: ModelSession
    at: HookPoint
    variant: str

    def sentences(self, rows: Sequence[Tokens]) -> Rows:
        """Embedded sentences, padded on the left."""
        return left_padded([self._embedded(row) for row in rows])

    def context(self, prompts: Sequence[Tokens]) -> Rows | None:
        """What the variant takes from the prompts: nothing, their embedded tokens, or the clean activations of them."""
        if self.variant == NO_CONTEXT:
            return None
        if self.variant != CROSS_ATTENTION:
            return self.sentences(prompts)
        seen = self.session.capture_batch(prompts, [self.at])
        return left_padded([one[self.at].float() for one in seen])

    def _embedded(self, row: Tokens) -> Float[Tensor, "pos d"]:
        """The tokens' embeddings, float32, over the root mean square of all entries of W_E."""
        table = self.session.weight("W_E", 0)
        return table[torch.tensor(list(row), device=table.device)].float().cpu() / self._scale

    @cached_property
    def _scale(self) -> float:
        return float(self.session.weight("W_E", 0).float().square().mean().sqrt())
