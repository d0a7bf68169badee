"""LoReFT: within a small subspace, what a prompt's activations hold is replaced by what an affine map says.

Wu et al. 2024 (ReFT, arXiv 2404.03592):

1. h + Rᵀ (W h + b − R h), R with orthonormal rows, at the first n and the last n positions of the prompt, at every
   chosen layer; a layer has one R, W and b for both ends.
2. All layers are trained together through the frozen model, by the cross-entropy of the texts of the first label, and
   R Rᵀ = I after every step.
3. The fit begins at W = R and b = 0, where nothing is changed (ours).
4. The paper has no factor. Here Rᵀ (…) is added `strength` times: 0 is nothing, 1 is what the paper does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.option import Option
from capture.recipe_number import read_number
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import Direction, check_width, direction_text, read_direction
from steering.fit_rows import BOS, FitText, fit_text
from steering.fitted import Fitted, Setting
from steering.low_rank_training import end_positions, low_rank_change, train_edits
from steering.method import Method, Options, Progress
from steering.named_tensors import tensor_key
from steering.shelf import find_shelved
from steering.token_scope import EVERYWHERE, N_ENDS, Ranges, change_within, read_ranges
from steering.vector_folder import read_vectors

Rows = tuple[Direction, ...]
ORTHONORMAL = 1e-3
"""How far R Rᵀ may be from the identity in a recipe: float32 rounds to less."""
RANK = Option("rank", "Rank", "Dimensions of the subspace; AxBench takes 4.", 4, 1.0, 256.0)
ENDS = Option(
    "n_ends", "First and last", "Of the prompt's positions that are edited, so many at either end.", N_ENDS, 1.0, 1000.0
)
RATE = Option("learning_rate", "Learning rate", "Of AdamW at the start; it falls to 0.", 9e-4, 1e-6, 1.0)
N_EPOCHS = Option("n_epochs", "Epochs", "How often every wanted text is seen.", 24, 1.0, 1000.0)
N_BATCH = Option("n_batch", "Batch", "Texts of one step.", 6, 1.0, 1000.0)
SEED = Option("seed", "Seed", "Of the first subspace and the order of the texts.", 0, 0.0, 2.0**31)


@dataclass(frozen=True)
class AffineLowRank:
    """x + strength · Rᵀ (W x + b − R x), the rows of R orthonormal."""

    at: HookPoint
    rotation: Rows
    """R."""
    weight: Rows
    """W."""
    bias: Direction
    strength: float = 1.0
    ranges: Ranges = EVERYWHERE
    source: str = ""
    """Digest of vectors on the shelf that have the three; the recipe then names it instead of holding them."""
    origin: HookPoint | None = None
    """Where they were fitted; of what is not on the shelf nobody asks."""

    kind = "affine_low_rank"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        rotation = torch.tensor(self.rotation)
        return rotation, torch.tensor(self.weight) - rotation, torch.tensor(self.bias)

    def matrix(self) -> Float[Tensor, "r wide"]:
        """R, W − R and b beside each other: [r 2d + 1]."""
        rotation, apart, bias = self._tensors
        return torch.cat([rotation, apart, bias[:, None]], dim=1)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with its part in the subspace moved to what the affine map says."""
        if self.strength == 0:
            return activation
        check_width(len(self.rotation[0]), activation, at)
        tensors = [one.to(activation.device) for one in self._tensors]
        return change_within(
            activation, first_pos, self.ranges, lambda x: x + self.strength * low_rank_change(x, *tensors)
        )

    def recipe(self) -> Recipe:
        """Plain JSON with the matrices themselves, or with their digest where they are on the shelf."""
        return {
            "kind": self.kind,
            "at": str(self.at),
            **self._own(),
            "strength": self.strength,
            "ranges": [list(one) for one in self.ranges],
        }

    def _own(self) -> Recipe:
        if self.source:
            return {"source": self.source, "origin": str(self.origin or self.at)}
        matrices = {"rotation": self.rotation, "weight": self.weight}
        written = {name: [direction_text(row) for row in rows] for name, rows in matrices.items()}
        return {**written, "bias": direction_text(self.bias)}

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "AffineLowRank":
        """The intervention that a recipe describes."""
        source, origin = str(recipe.get("source", "")), None
        if source:
            origin = HookPoint.parse(recipe["origin"])
            own = edit_from_shelf(source, origin)
        else:
            rotation, weight = (tuple(map(read_direction, recipe[name])) for name in ("rotation", "weight"))
            own = checked_edit(rotation, weight, read_direction(recipe["bias"]))
        at, strength, ranges = (recipe[name] for name in ("at", "strength", "ranges"))
        return cls(HookPoint.parse(at), *own, read_number(strength), read_ranges(ranges), source, origin)


def checked_edit(rotation: Rows, weight: Rows, bias: Direction) -> tuple[Rows, Rows, Direction]:
    """R, W and b; raises ValueError where they do not fit each other, or the rows of R are not orthonormal."""
    if len({len(row) for row in (*rotation, *weight)}) != 1 or not len(rotation) == len(weight) == len(bias) > 0:
        raise ValueError("R and W must have as many rows as b has entries, all of one length")
    if len(rotation) > len(rotation[0]):
        raise ValueError("R cannot have more rows than a row has entries")
    rows = torch.tensor(rotation, dtype=torch.float64)
    if not torch.allclose(rows @ rows.T, torch.eye(len(rows)).double(), atol=ORTHONORMAL, rtol=0):
        raise ValueError("the rows of R must be orthonormal")
    return rotation, weight, bias


def edit_from_shelf(digest: str, origin: HookPoint) -> tuple[Rows, Rows, Direction]:
    """R, W and b of a digest on the shelf, as fitted at a hook point; raises UserError where they are not there."""
    one = find_shelved("vectors", digest)
    return _held_edit(str(one.folder), one.digest, origin)


@lru_cache(maxsize=32)
def _held_edit(folder: str, _digest: str, origin: HookPoint) -> tuple[Rows, Rows, Direction]:
    return edit_of(read_vectors(Path(folder)), origin)


def edit_of(fitted: Fitted, at: HookPoint) -> tuple[Rows, Rows, Direction]:
    """R, W and b of a fit at a hook point, as an intervention holds them."""
    parts = [fitted.tensors.get(f"{name}.{tensor_key(at)}") for name in "RWb"]
    if any(one is None for one in parts):
        raise UserError(f"These vectors have no low-rank edit of {at}.", "Fit them by LoReFT there.")
    rotation, weight, bias = (one.tolist() for one in parts if one is not None)
    try:
        return checked_edit(tuple(map(tuple, rotation)), tuple(map(tuple, weight)), tuple(bias))
    except (TypeError, ValueError) as error:
        raise UserError(f"The low-rank edit of {at} cannot be used: {error}.", "Fit it again.") from error


def wanted_texts(session: ModelSession, contrast: Contrast, bos: bool) -> list[FitText]:
    """The texts of the first label; raises UserError where one of them follows no prompt."""
    wanted = [one for one in contrast.examples if one.label == contrast.labels[0]]
    if without := [one for one in wanted if not one.prompt]:
        raise UserError(
            f"LoReFT edits the prompt that a text follows; {without[0].text[:40]!r} follows none.",
            "Give texts with a prompt, which files have as a column of that name.",
        )
    return [fit_text(session, one, bos) for one in wanted]


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """An edit at each hook point, trained together; its vector there is the mean of what it adds to clean prompts."""
    texts = wanted_texts(session, contrast, bool(options["bos"]))
    edits, losses = train_edits(session, texts, at, options, progress)
    totals = {point: torch.zeros(edits[point][0].shape[1]) for point in at}
    norms, n_rows = dict.fromkeys(at, 0.0), 0
    for text in texts:
        is_end = end_positions([text], int(options["n_ends"]))[0, :, 0].bool()
        n_rows += int(is_end.sum())
        for point, rows in session.capture(text.tokens, at).items():
            h, (rotation, weight, bias) = rows[is_end].float(), edits[point]
            totals[point] += low_rank_change(h, rotation, weight - rotation, bias).sum(dim=0)
            norms[point] += float(h.norm(dim=1).sum())
    tensors = {
        f"{name}.{tensor_key(at)}": one for at, edit in edits.items() for name, one in zip("RWb", edit, strict=True)
    }
    return Fitted(
        "loreft",
        {point: total / n_rows for point, total in totals.items()},
        {point: norm / n_rows for point, norm in norms.items()},
        {"trained": {"losses": [round(one, 4) for one in losses]}},
        tensors,
    )


def apply(fitted: Fitted, setting: Setting) -> tuple[AffineLowRank, ...]:
    """The edit of each hook point; refuses a relative strength: 0 is nothing, 1 the whole edit."""
    if setting.unit != "absolute":
        raise UserError(
            "LoReFT puts values in place of others, so its strength has no unit: 1 is the whole edit.",
            "Give an absolute strength from 0 to 1.",
        )
    return tuple(
        AffineLowRank(at, *edit_of(fitted, at), setting.strength * weight, setting.ranges)
        for at, _, weight in setting.directions(fitted)
    )


METHOD = Method(
    slug="loreft",
    title="LoReFT",
    paper="Wu et al. 2024 (ReFT), arXiv 2404.03592",
    needs="labels",
    fitted_by="an affine edit of a subspace at the prompt's ends, trained through the frozen model on the wanted texts",
    apply=apply,
    fit=fit,
    options=(RANK, ENDS, RATE, N_EPOCHS, N_BATCH, SEED, BOS),
    sites=("resid_post", "resid_pre"),
    scope="prompt_ends",
)

OPERATOR = AffineLowRank
