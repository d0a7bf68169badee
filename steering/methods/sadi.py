"""SADI: the input's own activation is multiplied where the two texts of the pairs differ most.

Wang et al. 2024 (arXiv 2410.12299): a ← a + strength (mask ∘ a), on the last token of the prompt; the mask has the
components (whole heads, MLP neurons or hidden units) whose mean difference over the pairs is largest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.option import Option
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.fit_rows import RowsAsked, class_sums, row_options
from steering.fitted import Fitted, Setting
from steering.method import Method, Options, Progress
from steering.operator_recipe import operator_of, operator_recipe
from steering.token_scope import EVERYWHERE, Ranges, change_within

N_COMPONENTS = Option(
    "n_components",
    "Components",
    "How many heads, neurons or hidden units are multiplied; the paper takes 10, 500 or 20.",
    20,
    minimum=1.0,
    maximum=100_000.0,
)


@dataclass(frozen=True)
class MultiplyEntries:
    """x + strength * x at chosen entries; strength −1 sets them to zero."""

    at: HookPoint
    dims: tuple[int, ...]
    strength: float = 1.0
    ranges: Ranges = EVERYWHERE

    kind = "multiply_entries"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with the chosen entries multiplied."""
        if self.strength == 0 or not self.dims:
            return activation
        width = activation.shape[-1]
        if max(self.dims) >= width:
            raise UserError(f"{at} has dimensions 0 to {width - 1}; {max(self.dims)} was given.", "Choose one of them.")
        factor = torch.ones(width, device=activation.device)
        factor[list(self.dims)] += self.strength
        return change_within(activation, first_pos, self.ranges, lambda x: x * factor)

    def recipe(self) -> Recipe:
        """Plain JSON."""
        return operator_recipe(self)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "MultiplyEntries":
        """The intervention that a recipe describes."""
        made: MultiplyEntries = operator_of(cls, recipe)
        return made


def chosen_components(differences: dict[HookPoint, Float[Tensor, "components"]], n: int) -> dict[HookPoint, list[int]]:
    """The n components of largest absolute difference over all hook points; ties to the earlier one."""
    points = sorted(differences, key=lambda at: (at.layer or 0, at.site))
    sizes = torch.cat([differences[point].abs() for point in points])
    found: dict[HookPoint, list[int]] = {point: [] for point in points}
    places = [(point, i) for point in points for i in range(len(differences[point]))]
    for place in sizes.sort(descending=True, stable=True).indices[:n].tolist():
        if sizes[place] > 0:
            found[places[place][0]].append(places[place][1])
    return found


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """A mask of zeros and ones at every hook point; a head's component is the mean over its entries."""
    sums = class_sums(session, contrast, at, RowsAsked.of(options), progress)
    size = session.shape.d_head if at[0].site == "z" else 1
    differences = {point: (one.mean(0) - one.mean(1)).view(-1, size).mean(dim=1) for point, one in sums.items()}
    chosen = chosen_components(differences, int(options["n_components"]))
    if not any(chosen.values()):
        raise UserError("No component differs between the two labels.", "Choose another layer, or other texts.")
    masks = {}
    for point, components in chosen.items():
        mask = torch.zeros(len(differences[point]), size)
        mask[components] = 1.0
        masks[point] = mask.flatten()
    norms = {point: one.mean_norm for point, one in sums.items()}
    return Fitted("sadi", masks, norms, {"components": {str(point): sorted(one) for point, one in chosen.items()}})


def apply(fitted: Fitted, setting: Setting) -> tuple[MultiplyEntries, ...]:
    """The masked entries multiplied; refuses a relative strength, which means nothing for a factor."""
    if setting.unit != "absolute":
        raise UserError("SADI multiplies activations, so its strength has no unit.", "Give an absolute strength.")
    return tuple(
        MultiplyEntries(at, tuple(mask.nonzero().flatten().tolist()), setting.strength, setting.ranges)
        for at, mask in fitted.vectors.items()
        if mask.any()
    )


METHOD = Method(
    slug="sadi",
    title="SADI (multiply what differs most)",
    paper="Wang et al. 2024, arXiv 2410.12299",
    needs="pairs",
    fitted_by="mask of the components whose mean differs most between the texts of the pairs",
    apply=apply,
    fit=fit,
    options=(*row_options("last"), N_COMPONENTS),
    sites=("resid_post", "mlp_post", "z"),
    scope="last_prompt",
    chooses_layers=True,
)

OPERATOR = MultiplyEntries
