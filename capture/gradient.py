"""A forward pass that is differentiated in tensors added to activations; the model's own weights have no gradient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.batching import make_batch
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.placing import Placed, everywhere
from capture.wiring import Wiring, run


@dataclass(frozen=True, eq=False)
class AddTensor:
    """x + tensor, which is broadcast against [batch pos d] and may have a gradient."""

    at: HookPoint
    added: Float[Tensor, "#batch #pos d"]

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with the tensor added, in the activation's dtype."""
        return activation + self.added.to(activation)

    def recipe(self) -> Recipe:
        """A name for error messages: a tensor under training is in no link."""
        return {"kind": "add_tensor", "at": str(self.at)}


def logits_with_gradient(
    wiring: Wiring,
    rows: Sequence[Sequence[int]],
    added: Mapping[HookPoint, Float[Tensor, "#batch #pos d"]],
    changes: Sequence[Placed],
) -> Float[Tensor, "batch pos d_vocab"]:
    """What `ModelSession.with_gradient` returns.

    Tensors are [batch pos d], or have 1 in place of batch or pos; logits past the end of a row mean nothing. They are
    added row by row and position by position, after all changes; rows are padded on the right, so their
    positions are those of the row alone. The model's weights have no gradient. The turn is held for the forward pass;
    `backward` needs none, since it only reads.
    """
    batch = make_batch(list(enumerate(rows)), wiring.device)
    last = everywhere([AddTensor(at, tensor) for at, tensor in added.items()])
    with torch.enable_grad():
        logits: Tensor = run(wiring, batch.ids, {}, [*changes, *last], with_gradient=True)
    return logits.float()
