"""PSR: a direction that is added at each token as much as a small probe of that token says, to do what a prompt does.

After "Steer Like the LLM" (Prompt Steering Replacement, arXiv 2605.03907): h + α · ReLU(h · w + b) · z at every token
of one layer, imitating what a steering prompt before a text does to the activations of its tokens.

1. Each text of the first label is run by itself and behind the steering prompt; Δ is the difference at its tokens.
2. z is the mean of Δ at length 1 (ours).
3. w and b minimise the mean of ‖Δ − ReLU(h · w + b) z‖², h being of the run by itself: least squares over the tokens at
   which the gate is open, again and again (ours). Texts are run in every round: memory does not grow with them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.option import Option
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import Direction, as_direction, check_width, coordinate, unit
from steering.fit_rows import BOS
from steering.fitted import Fitted, Setting
from steering.method import Method, Options, Progress, silent
from steering.named_tensors import tensor_key
from steering.operator_recipe import operator_of, operator_recipe
from steering.token_scope import EVERYWHERE, Ranges, change_within

LEAD = Option("lead", "Steering prompt", "What stands before each text, and is to be replaced.", "")
RIDGE = Option("ridge", "Ridge", "How much a large w costs, in mean squares of an activation.", 0.1, 0.0, 1000.0)
N_ROUNDS = Option("n_rounds", "Rounds", "Of least squares, each over all texts.", 10, 1.0, 1000.0)
N_BATCH = 16
"""Texts that are run at once."""
Batch = tuple[Float[Tensor, "rows d"], Float[Tensor, "rows d"]]
"""Activations of tokens by themselves, and what the steering prompt does to them."""


@dataclass(frozen=True)
class AddGated:
    """x + strength · ReLU(x · gate + bias) · vector."""

    at: HookPoint
    vector: Direction
    gate: Direction
    bias: float
    strength: float = 1.0
    ranges: Ranges = EVERYWHERE

    kind = "add_gated"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.vector), torch.tensor(self.gate)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation with the vector added as much as each token asks for."""
        if self.strength == 0:
            return activation
        for one in (self.vector, self.gate):
            check_width(len(one), activation, at)
        vector, gate = (one.to(activation.device) for one in self._tensors)
        return change_within(
            activation,
            first_pos,
            self.ranges,
            lambda x: x + self.strength * (coordinate(x, gate) + self.bias).relu() * vector,
        )

    def recipe(self) -> Recipe:
        """Plain JSON with the vector and the gate themselves."""
        return operator_recipe(self)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "AddGated":
        """The intervention that a recipe describes."""
        made: AddGated = operator_of(cls, recipe)
        return made


def train_gate(
    batches: Callable[[], Iterator[Batch]], z: Float[Tensor, "d"], options: Options, progress: Progress = silent
) -> tuple[Float[Tensor, "d"], float]:
    """w and b of the gate with the least squared miss of all rounds.

    A round is least squares, with a ridge on w, over the tokens at which the gate of the round before is open.
    """
    n_rounds, ridge = int(options["n_rounds"]), float(options["ridge"])
    gate, best, least = torch.zeros(len(z) + 1, dtype=torch.float64), None, math.inf
    for number in range(n_rounds + 1):
        gram, right = torch.zeros(len(gate), len(gate), dtype=torch.float64), torch.zeros_like(gate)
        missed = 0.0
        for h, delta in batches():
            rows, wanted = torch.nn.functional.pad(h.double(), (0, 1), value=1.0), (delta @ z).double()
            said = rows @ gate
            missed += float((said.relu() - wanted).square().sum())
            is_open = said > 0 if number else torch.ones(len(rows), dtype=torch.bool)
            gram, right = gram + rows[is_open].T @ rows[is_open], right + rows[is_open].T @ wanted[is_open]
        if missed < least:
            best, least = gate, missed
        progress(number / n_rounds, f"round {number:,} of {n_rounds:,}, squared miss {missed:.3g}")
        if not gram[-1, -1]:
            break
        penalty = torch.full((len(gate),), ridge * float(gram.diagonal()[:-1].mean()), dtype=torch.float64)
        penalty[-1] = 0.0
        gate = torch.linalg.lstsq(gram + penalty.diag(), right[:, None]).solution[:, 0]
    assert best is not None  # the first round misses by a number
    return best[:-1].float(), float(best[-1])


def prompted_batches(
    session: ModelSession, contrast: Contrast, at: HookPoint, lead: Sequence[int], bos: bool
) -> Iterator[Batch]:
    """The tokens of the wanted texts, BOS left out: their activations alone, and the difference behind the lead."""
    wanted = [one.prompt + one.text for one in contrast.examples if one.label == contrast.labels[0]]
    for start in range(0, len(wanted), N_BATCH):
        texts = [session.tokens(one, False) for one in wanted[start : start + N_BATCH]]
        first = session.tokens(wanted[start], True)[:1] if bos else ()
        alone = session.capture_batch([(*first, *one) for one in texts], (at,))
        behind = session.capture_batch([(*first, *lead, *one) for one in texts], (at,))
        h = [one[at][len(first) :].float() for one in alone]
        prompted = [one[at][len(first) + len(lead) :].float() for one in behind]
        yield torch.cat(h), torch.cat(prompted) - torch.cat(h)


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """A direction and a gate at each hook point, each fitted alone."""
    lead, bos = str(options["lead"]), bool(options["bos"])
    if not lead.strip():
        raise UserError(
            "PSR does what a steering prompt does; no steering prompt was given.",
            "Write one, such as: a happy story. (--option lead=…)",
        )
    tokens = session.tokens(lead if lead[-1:].isspace() else f"{lead} ", False)
    vectors, norms, facts = {}, {}, {}
    tensors: dict[str, Tensor] = {}
    for point in at:

        def batches(point: HookPoint = point) -> Iterator[Batch]:
            return prompted_batches(session, contrast, point, tokens, bos)

        mean, norms[point] = means_of(batches())
        vectors[point] = unit(mean)
        w, b = train_gate(batches, vectors[point], options, progress)
        tensors |= {f"w.{tensor_key(point)}": w, f"b.{tensor_key(point)}": torch.tensor([b])}
        facts[str(point)] = explained(batches(), vectors[point], w, b, float(mean.norm()))
    return Fitted("psr", vectors, norms, {"explained": facts}, tensors)


def means_of(batches: Iterator[Batch]) -> tuple[Float[Tensor, "d"], float]:
    """Mean of Δ, and the mean length of an activation."""
    sums = [(delta.double().sum(dim=0), float(h.norm(dim=1).sum()), len(h)) for h, delta in batches]
    totals, norms, counts = zip(*sums, strict=True)
    return (torch.stack(totals).sum(dim=0) / sum(counts)).float(), sum(norms) / sum(counts)


def explained(
    batches: Iterator[Batch], z: Float[Tensor, "d"], w: Float[Tensor, "d"], b: float, constant: float
) -> dict[str, float]:
    """Share of ‖Δ‖² that the gate explains, and that the best constant along z does."""
    missed = {"gate": 0.0, "constant": 0.0}
    total = 0.0
    for h, delta in batches:
        total += float(delta.square().sum())
        for name, amount in (("gate", (h @ w + b).relu()), ("constant", torch.full((len(h),), constant))):
            missed[name] += float((delta - amount[:, None] * z).square().sum())
    return {name: 1 - one / total for name, one in missed.items()}


def apply(fitted: Fitted, setting: Setting) -> tuple[AddGated, ...]:
    """The gated direction of each hook point; refuses a relative strength: 1 is what the steering prompt does."""
    if setting.unit != "absolute":
        raise UserError(
            "PSR's gate says how much is added, so its strength has no unit: 1 is what the steering prompt does.",
            "Give an absolute strength.",
        )
    return tuple(
        AddGated(at, vector, *gate_of(fitted, at), setting.strength * weight, setting.ranges)
        for at, vector, weight in setting.directions(fitted)
    )


def gate_of(fitted: Fitted, at: HookPoint) -> tuple[Direction, float]:
    """w and b of a fit at a hook point."""
    w, b = (fitted.tensors.get(f"{name}.{tensor_key(at)}") for name in "wb")
    if w is None or b is None or b.numel() != 1:
        raise UserError(f"These vectors have no gate at {at}.", "Fit them by PSR there.")
    return as_direction(w), float(b)


METHOD = Method(
    slug="psr",
    title="PSR (do what a prompt does)",
    paper="Steer Like the LLM, arXiv 2605.03907",
    needs="labels",
    fitted_by="mean of what a steering prompt does to the wanted texts, and a probe of how much of it each token takes",
    apply=apply,
    fit=fit,
    options=(LEAD, RIDGE, N_ROUNDS, BOS),
    sites=("resid_post", "resid_pre"),
    labels_decide=False,
)

OPERATOR = AddGated
