"""Training a hypernetwork through a frozen model, with checkpoints; a stop loses minutes and changes nothing.

1. Concept texts as rows; the mean norm at the hook point. 2. Each step draws concepts, a sentence and a text of each,
by the seed and the step alone. 3. The curve grows in a file: the loss, and how much likelier texts that no fit sees
become, of held-in concepts and of held-out ones. 4. The hypernetwork as a folder, with recipe and curve beside it.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from capture.written_file import make_folder
from sae.training_curve import Point, add_point, figures_words, write_curve
from steering.concept_rows import ConceptRows, Row, rows_of_concept
from steering.concepts import Concept, ConceptSet
from steering.hypernetwork import Hypernetwork
from steering.hypernetwork_losses import added_rows, detection_loss, reconstruction_loss, steered_losses
from steering.hypernetwork_reader import Reader
from steering.hypernetwork_recipe import HypernetworkRecipe, learning_rate
from steering.hypernetwork_teachers import taught_vectors

CHECKPOINT = ".checkpoint.pt"
"""Hidden, as the teachers are: the shelf takes neither as part of the hypernetwork."""
CURVE_POINTS = 40
N_JUDGED = 64
"""Texts of held-in and of held-out concepts that the curve follows."""
N_NORMS = 256
BETAS = (0.9, 0.98)
FIGURES = {"loss": "loss {:.3f}", "gain_held_in": "held-in gain {:+.3f}", "gain_held_out": "held-out gain {:+.3f}"}
"""How a point of the curve is said. It has other_held_in and other_held_out too: a gain is in nats per token, by which
texts that no fit sees became likelier under the vector of their own concept; other is that under another's vector."""
Progress = Callable[[float, str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and where it goes."""

    session: ModelSession
    concepts: ConceptSet
    at: HookPoint
    recipe: HypernetworkRecipe
    out: Path

    def described(self) -> dict[str, Any]:
        """Everything that decides the weights; a checkpoint of another run is refused by it."""
        return {
            "recipe": asdict(self.recipe),
            "hook_point": str(self.at),
            "model": self.session.name,
            "fingerprint": self.session.fingerprint,
            "concepts": {"title": self.concepts.title, "digest": self.concepts.digest()},
        }


@dataclass(frozen=True)
class Material:
    """Rows to learn from and to judge by."""

    learnt: tuple[ConceptRows, ...]
    judged: dict[str, tuple[tuple[tuple[int, ...], Row], ...]]
    """(sentence, row) of held-in and of held-out concepts, from examples that no fit sees."""
    mean_norm: float
    teachers: Mapping[str, Tensor]
    """The vector of each concept that is imitated, where the recipe has such steps."""


@dataclass
class Training:
    """The state of a run."""

    network: Hypernetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    curve: list[Point] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """Since the last point of the curve."""


def chosen_concepts(concepts: ConceptSet, recipe: HypernetworkRecipe) -> tuple[Concept, ...]:
    """The held-in concepts that the recipe trains on; more concepts of one seed include fewer."""
    held_in = concepts.held_in
    if not recipe.n_concepts or recipe.n_concepts >= len(held_in):
        return held_in
    order = torch.randperm(len(held_in), generator=torch.Generator().manual_seed(recipe.seed)).tolist()
    return tuple(held_in[place] for place in sorted(order[: recipe.n_concepts]))


def material(run: Run, progress: Progress) -> Material:
    """Rows of the chosen concepts, and those that the curve follows; raises UserError where there are none."""
    recipe, session = run.recipe, run.session
    chosen = chosen_concepts(run.concepts, recipe)
    if not chosen:
        raise UserError("At least one concept must be held in; all are held out.", "Name another concept set.")
    learnt = tuple(rows_of_concept(session, one.training, recipe.longest, recipe.bos) for one in chosen)
    judged = {"held_in": _judged(run, chosen), "held_out": _judged(run, run.concepts.held_out)}
    teachers = taught_vectors(session, chosen, run.at, recipe.teacher, run.out, progress) if recipe.imitates(0) else {}
    every = [row for one in learnt for row in one.positives]
    norm = _mean_norm(session, run.at, every[:: max(1, len(every) // N_NORMS)])
    return Material(learnt, judged, norm, teachers)


def _judged(run: Run, concepts: Sequence[Concept]) -> tuple[tuple[tuple[int, ...], Row], ...]:
    """Round by round one text of each concept, in an order drawn once for all runs, until there are enough."""
    order = torch.randperm(len(concepts), generator=torch.Generator().manual_seed(0)).tolist()
    parts = [part for place in order if (part := concepts[place].evaluation).positives]
    rows = [rows_of_concept(run.session, one, run.recipe.longest, run.recipe.bos) for one in parts]
    longest = max((len(one.positives) for one in rows), default=0)
    found = [(one.sentences[0], one.positives[n]) for n in range(longest) for one in rows if n < len(one.positives)]
    return tuple(found[:N_JUDGED])


def _mean_norm(session: ModelSession, at: HookPoint, rows: Sequence[Row]) -> float:
    """Mean length of the activations there, position 0 left out."""
    total, n = 0.0, 0
    for start in range(0, len(rows), 32):
        for one in session.capture_batch([row.tokens for row in rows[start : start + 32]], [at]):
            norms = one[at][1:].float().norm(dim=-1)
            total, n = total + float(norms.sum()), n + norms.numel()
    return total / n


def train_hypernetwork(
    run: Run, progress: Progress = lambda share, words: None, save_every_s: float = 60.0, goes_on: bool = True
) -> tuple[Hypernetwork, Material, int]:
    """Train to the end of the recipe, or go on from the checkpoint in `out`; the network, its material, its steps.

    Where it does not go on, the network is that of the checkpoint; UserError where there is none.

    `progress` is told after each step and may raise to stop: what was done since the last checkpoint is done again.
    A loss that is not finite ends the run with a UserError and leaves the last good checkpoint.
    """
    at_layer = run.session.weight("W_E", 0).shape[1]
    run.recipe.check(at_layer)
    make_folder(run.out)
    found = material(run, progress)
    training, saved_at = _begin(run, at_layer), time.monotonic()
    if not goes_on and not training.step:
        raise UserError(f"There is no checkpoint in {run.out} to write.", "Train first, or name its folder.")
    clean = {name: _judge(run, found, None, name) for name in found.judged}
    while goes_on and training.step < run.recipe.n_steps:
        _take_step(run, found, training)
        is_last = training.step == run.recipe.n_steps
        if is_last or training.step % max(1, run.recipe.n_steps // CURVE_POINTS) == 0:
            _note(run, found, training, clean)
        if is_last or time.monotonic() - saved_at > save_every_s:
            _save(run, training)
            saved_at = time.monotonic()
        progress(training.step / run.recipe.n_steps, _words(training, run.recipe))
    return training.network.eval(), found, training.step


def _take_step(run: Run, found: Material, training: Training) -> None:
    recipe = run.recipe
    for group in training.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, training.step)
    loss = batch_loss(run, found, training.network, training.step)
    training.optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(training.network.parameters(), recipe.clip)
    if not (math.isfinite(float(loss.detach())) and math.isfinite(float(norm))):
        raise UserError(
            f"The loss of step {training.step + 1:,} is not finite. The last good weights are in "
            f"{run.out / CHECKPOINT}, where one was written.",
            "Lower the learning rate, and start in another folder.",
        )
    training.optimizer.step()
    training.losses.append(float(loss.detach()))
    training.step += 1


def batch_loss(run: Run, found: Material, network: Hypernetwork, step: int) -> Tensor:
    """The loss of the batch that is drawn for a step."""
    recipe, reader = run.recipe, Reader(run.session, run.at, run.recipe.variant)
    draw = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    concepts = _drawn(found.learnt, recipe.batch, draw)
    rows = [_one_of(one.positives, draw) for one in concepts]
    sentences = reader.sentences([_one_of(one.sentences, draw) for one in concepts])
    delta = network(sentences, reader.context([row.prompt for row in rows]))
    if recipe.imitates(step):
        return reconstruction_loss(delta, torch.stack([found.teachers[one.name] for one in concepts])).mean()
    added = added_rows(delta, rows, recipe.length * found.mean_norm, recipe.skip_first)
    loss = steered_losses(run.session, rows, run.at, added).mean()
    if not recipe.detects:
        return loss
    others = [_one_of(one.negatives or one.positives, draw) for one in concepts]
    return loss + recipe.detection_weight * detection_loss(run.session, delta, (rows, others), run.at, found.mean_norm)


def _drawn(concepts: Sequence[ConceptRows], n: int, draw: torch.Generator) -> list[ConceptRows]:
    """n concepts, none twice before all were taken."""
    order: list[int] = []
    while len(order) < n:
        order += torch.randperm(len(concepts), generator=draw).tolist()
    return [concepts[place] for place in order[:n]]


def _one_of(some: Sequence[T], draw: torch.Generator) -> T:
    return some[int(torch.randint(len(some), (), generator=draw))]


def _judge(run: Run, found: Material, network: Hypernetwork | None, name: str, shift: int = 0) -> float:
    """Mean loss of the judged texts under their vectors, or of the model as it is; NaN where there are none.

    With a `shift` each text is under the vector of the concept so many places further on.
    """
    pairs, total = found.judged[name], 0.0
    said, rows = [one for one, _ in pairs], [row for _, row in pairs]
    said = said[shift:] + said[:shift]
    reader = Reader(run.session, run.at, run.recipe.variant)
    with torch.no_grad():
        for start in range(0, len(pairs), run.recipe.batch):
            some = rows[start : start + run.recipe.batch]
            added = None
            if network is not None:
                sentences = reader.sentences(said[start : start + run.recipe.batch])
                delta = network(sentences, reader.context([row.prompt for row in some]))
                added = added_rows(delta, some, run.recipe.length * found.mean_norm, run.recipe.skip_first)
            total += float(steered_losses(run.session, some, run.at, added).sum())
    return total / len(pairs) if pairs else math.nan


def _note(run: Run, found: Material, training: Training, clean: dict[str, float]) -> None:
    point = {"step": float(training.step), "loss": sum(training.losses) / len(training.losses)}
    for name, before in clean.items():
        if not math.isnan(before):
            point[f"gain_{name}"] = before - _judge(run, found, training.network, name)
            # A concept alone has no other one.
            if len({said for said, _ in found.judged[name]}) > 1:
                point[f"other_{name}"] = before - _judge(run, found, training.network, name, shift=1)
    training.losses.clear()
    training.curve.append(point)
    add_point(run.out, point)


def _words(training: Training, recipe: HypernetworkRecipe) -> str:
    said = figures_words(training.curve[-1], FIGURES) if training.curve else f"loss {training.losses[-1]:.3f}"
    return f"step {training.step:,} of {recipe.n_steps:,}: {said}"


def _begin(run: Run, d_model: int) -> Training:
    network = Hypernetwork(run.recipe, d_model).started(run.recipe).train()
    training = Training(network, _optimizer(network, run.recipe))
    path = run.out / CHECKPOINT
    if path.is_file():
        kept = torch.load(path, weights_only=True)
        if kept["described"] != json.dumps(run.described(), sort_keys=True):
            raise UserError(
                f"The checkpoint in {run.out} is of another run.",
                "Name another folder, or ask for what was asked for then.",
            )
        network.load_state_dict(kept["weights"])
        training.optimizer.load_state_dict(kept["optimizer"])
        training.step, training.losses = kept["step"], list(kept["losses"])
        training.curve = json.loads(kept["curve"])
    write_curve(run.out, training.curve)
    return training


def _optimizer(network: Hypernetwork, recipe: HypernetworkRecipe) -> torch.optim.AdamW:
    gains = [one for one in network.parameters() if one.ndim < 2]
    matrices = [one for one in network.parameters() if one.ndim >= 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=BETAS)


def _save(run: Run, training: Training) -> None:
    """Write the checkpoint whole or not at all."""
    kept = {
        "described": json.dumps(run.described(), sort_keys=True),
        "weights": training.network.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "step": training.step,
        "losses": list(training.losses),
        "curve": json.dumps(training.curve),
    }
    part = run.out / f"{CHECKPOINT}.part"
    torch.save(kept, part)
    os.replace(part, run.out / CHECKPOINT)
