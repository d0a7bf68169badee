"""ActAdd: the difference of two prompts' activations, row by row, added at the first positions of any prompt.

Turner et al. 2023 (arXiv 2308.10248): h(p+) − h(p−) at the input of one block, both prompts padded with spaces to one
length; it is a matrix [len d], and touches the first len positions only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import Direction, as_direction, check_width
from steering.fit_rows import BOS
from steering.fitted import Fitted, Setting
from steering.method import Method, Options, Progress
from steering.operator_recipe import operator_of, operator_recipe


@dataclass(frozen=True)
class AddRows:
    """x + strength * rows, row i at position `first` + i; other positions are left as they are."""

    at: HookPoint
    rows: tuple[Direction, ...]
    strength: float = 1.0
    first: int = 0

    kind = "add_rows"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    @cached_property
    def _change(self) -> Tensor:
        return self.strength * torch.tensor(self.rows)  # [len d]

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with the rows added at their positions."""
        start, end = max(self.first, first_pos), min(self.first + len(self.rows), first_pos + activation.shape[1])
        if self.strength == 0 or start >= end:
            return activation
        check_width(len(self.rows[0]), activation, at)
        change = self._change[start - self.first : end - self.first].to(activation.device)
        changed = activation.clone()
        part = slice(start - first_pos, end - first_pos)
        changed[:, part] = (activation[:, part].float() + change).to(activation.dtype)
        return changed

    def recipe(self) -> Recipe:
        """Plain JSON with the rows themselves."""
        return operator_recipe(self)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "AddRows":
        """The intervention that a recipe describes."""
        made: AddRows = operator_of(cls, recipe)
        return made


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """The difference of the two prompts' rows at every hook point."""
    ((positive, negative),) = contrast.pairs
    bos = bool(options["bos"])
    wanted, other = (session.tokens(one.prompt + one.text, bos) for one in (positive, negative))
    space = session.tokens(" ", bos=False)[-1:]
    n = max(len(wanted), len(other))
    wanted, other = wanted + space * (n - len(wanted)), other + space * (n - len(other))
    plus, minus = session.capture_batch([wanted, other], at)
    vectors = {point: plus[point].float() - minus[point].float() for point in at}
    norms = {point: float(torch.cat([plus[point], minus[point]]).float().norm(dim=1).mean()) for point in at}
    if not any(vector.any() for vector in vectors.values()):
        raise UserError("The two prompts give the same activations.", "Change one of them.")
    return Fitted("act_add", vectors, norms, {"tokens": [list(wanted), list(other)]})


def apply(fitted: Fitted, setting: Setting) -> tuple[AddRows, ...]:
    """The rows added at the first positions; relative strength makes the mean row as long as the mean activation."""
    changes = []
    for at, rows in fitted.vectors.items():
        length = setting.length(fitted, at)
        scale = 1.0 if length is None else length / float(rows[rows.norm(dim=1) > 0].norm(dim=1).mean())
        weight = setting.weights.get(at.layer or 0, 1.0)
        changes.append(AddRows(at, tuple(as_direction(row) for row in rows), setting.strength * weight * scale))
    return tuple(changes)


METHOD = Method(
    slug="act_add",
    title="ActAdd",
    paper="Turner et al. 2023, arXiv 2308.10248",
    needs="one pair",
    fitted_by="the two prompts' activations subtracted row by row",
    apply=apply,
    fit=fit,
    options=(BOS,),
    sites=("resid_pre",),
    is_additive=True,
)

OPERATOR = AddRows
