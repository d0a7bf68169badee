"""EditLatent: one latent of an SAE set to another value, what the SAE does not explain kept as it is.

h + (c − z_j) W_dec[j], with z_j the latent's value at that token: the reconstruction with z_j replaced by c, plus the
error that the SAE leaves. `clamp` takes c = value, `ablate` c = 0, `add` c = z_j + value.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number, read_position
from sae.autoencoder import Autoencoder
from sae.normalisation import normalise
from sae.shelf import find_shelved, load_shelved
from steering.token_scope import EVERYWHERE, Ranges, change_within, clipped, read_ranges

MODES = ("add", "clamp", "ablate")


@dataclass(frozen=True)
class EditLatent:
    """x + strength * (c − z_j) W_dec[j] within the ranges, from position `from_pos` on.

    `sae` is the digest of one on the shelf.
    """

    at: HookPoint
    sae: str
    latent: int
    mode: str = "add"
    value: float = 0.0
    strength: float = 1.0
    from_pos: int = 1
    ranges: Ranges = EVERYWHERE

    kind = "edit_latent"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with the latent at its new value."""
        if self.strength == 0:
            return activation
        return change_within(activation, first_pos, clipped(self.ranges, self.from_pos, None), self._changed)

    def _changed(self, x: Float[Tensor, "batch some d"]) -> Float[Tensor, "batch some d"]:
        rows = x.reshape(-1, x.shape[-1])
        return (rows + self.strength * self._change(rows)).view(x.shape)

    @torch.no_grad()
    def _change(self, rows: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
        """(c − z_j) W_dec[j] in the scale of the rows."""
        sae = self._autoencoder
        if rows.shape[1] != sae.W_dec.shape[1]:
            raise UserError(
                f"Latent {self.latent} writes {sae.W_dec.shape[1]} numbers, and {self.at} has {rows.shape[1]}.",
                "Remove this change, or go back to the model of the SAE.",
            )
        _, scaling = normalise(rows, sae.facts.normalisation, sae.facts.norm_constant)
        size = torch.ones_like(rows[:, :1]) if scaling is None else scaling.size
        return self._amount(rows)[:, None] * size * sae.W_dec[self.latent].to(rows.device)

    def _amount(self, rows: Float[Tensor, "rows d"]) -> Float[Tensor, "rows"]:
        """c − z_j for each row."""
        if self.mode == "add":
            return torch.full_like(rows[:, 0], self.value)
        codes = self._autoencoder.encode(rows.cpu())
        now = (codes.values * (codes.indices == self.latent)).sum(dim=1).to(rows.device)
        return (self.value if self.mode == "clamp" else 0.0) - now

    @property
    def direction(self) -> Float[Tensor, "d"]:
        """The latent's row of `W_dec`."""
        return self._autoencoder.W_dec[self.latent].detach().float()

    @property
    def is_scaled(self) -> bool:
        """Whether what it adds depends on the activation's size, since the SAE normalises its input."""
        return self._autoencoder.facts.normalisation != "none"

    @cached_property
    def _autoencoder(self) -> Autoencoder:
        return load_shelved(self.sae)

    def recipe(self) -> dict[str, Any]:
        """Plain JSON that names the SAE by its digest."""
        return {
            "kind": self.kind,
            "at": str(self.at),
            "sae": self.sae,
            "latent": self.latent,
            "mode": self.mode,
            "value": self.value,
            "strength": self.strength,
            "from_pos": self.from_pos,
            "ranges": [list(one) for one in self.ranges],
        }

    @classmethod
    def from_recipe(cls, recipe: dict[str, Any]) -> "EditLatent":
        """The intervention that a recipe describes; raises UserError where the shelf lacks its SAE or its latent."""
        one, latent = find_shelved(str(recipe["sae"]) or "none"), read_position(recipe["latent"])
        facts, at = one.facts, HookPoint.parse(recipe["at"])
        if latent >= facts.d_sae:
            raise UserError(
                f"{one.name} has latents 0 to {facts.d_sae - 1}; {latent} was given.", "Choose one of them."
            )
        if recipe["mode"] not in MODES:
            raise ValueError(f"mode {str(recipe['mode'])[:20]!r} is none of {', '.join(MODES)}")
        if facts.is_transcoder and recipe["mode"] != "add":
            raise UserError(
                f"{one.name} is a transcoder: what its latents are worth is not read where they write.",
                "Add to a latent instead of setting it.",
            )
        if str(at) != (facts.hook_point_out or facts.hook_point):
            raise ValueError(f"{one.name} does not write at {at}")
        numbers = (read_number(recipe["value"]), read_number(recipe["strength"]), read_position(recipe["from_pos"]))
        ranges = read_ranges(recipe.get("ranges", EVERYWHERE))
        return cls(at, one.digest, latent, recipe["mode"], *numbers, ranges)


OPERATOR = EditLatent
