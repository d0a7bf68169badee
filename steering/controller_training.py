"""Training a controller, with checkpoints; a run that was stopped goes on and ends at the same weights.

1. Stream the prompts once: one row each at the last token; statistics, directions and norms follow.
2. Steps of balanced batches: the loss on s, and for the trained variant the loss through the frozen model.
3. A checkpoint after every epoch and every few seconds; a loss that is not finite ends the run and leaves the last one.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.model_facts import model_facts
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.controller import Controller, forward, layer_weights
from steering.controller_checkpoint import (
    CHECKPOINT,
    TRAINED,
    State,
    initial_network,
    optimizer_of,
    read_checkpoint,
    write_checkpoint,
)
from steering.controller_direction import difference_directions, phrase_direction, saved_directions, split_phrases
from steering.controller_inputs import mean_residual_norms, read_inputs
from steering.controller_loss import cross_entropy_loss, paper_loss
from steering.controller_prompts import Prompts
from steering.controller_recipe import ControllerRecipe, read_layers
from steering.frozen_flow import FrozenFlow
from steering.method import Progress, silent


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and where it goes; `pairs` are those to learn from."""

    session: ModelSession
    prompts: Prompts
    recipe: ControllerRecipe
    out: Path
    pairs: Contrast | None = None

    def described(self) -> dict[str, Any]:
        """Everything that decides the weights; a checkpoint of another run is refused by it."""
        return {
            "recipe": asdict(self.recipe),
            "model": self.session.name,
            "fingerprint": self.session.fingerprint,
            "prompts": [list(self.prompts.texts), list(self.prompts.is_target)],
            "pairs": None if self.pairs is None else self.pairs.digest(),
        }


def train_controller(run: Run, progress: Progress = silent, save_every_s: float = 20.0) -> Controller:
    """Train to the end of the recipe, or go on from the checkpoint in `out`.

    `progress` is told after each step and may raise to stop. Nothing but the checkpoint is written: see
    `steering.controller_folder.write_controller`.
    """
    run.recipe.check()
    subject = _subject(run, progress)
    state = _begin(run, subject)
    flow = _flow(run, subject, progress)
    if state.step:
        progress(state.step / _n_steps(run), f"going on after step {state.step:,} of {_n_steps(run):,}")
    saved_at = time.monotonic()
    for step, batch in enumerate(_batches(run)):
        if step < state.step:
            continue
        figures = _step(run, state, subject.x, batch, flow)
        state.step += 1
        is_last_of_epoch = state.step % _steps_an_epoch(run) == 0
        if is_last_of_epoch or state.step == 1:
            state.curve.append(figures)
        progress(state.step / _n_steps(run), f"step {state.step:,} of {_n_steps(run):,}, {_said(figures)}")
        if is_last_of_epoch or time.monotonic() - saved_at > save_every_s:
            write_checkpoint(state, run.out, run.described())
            saved_at = time.monotonic()
    return _finished(run, subject, state)


@dataclass(frozen=True, eq=False)
class _Subject:
    """What the prompts and the recipe give before anything is trained."""

    inputs: tuple[HookPoint, ...]
    layers: tuple[int, ...]
    x: Float[Tensor, "prompts n_in"]
    directions: Float[Tensor, "layers d_model"]
    mean_norms: Float[Tensor, "layers"]


def _subject(run: Run, progress: Progress) -> _Subject:
    session, recipe = run.session, run.recipe
    n_layers = session.shape.n_layers
    layers, directions = _directions(run, read_layers(recipe.layers, n_layers))
    inputs = tuple(HookPoint(layer, "resid_post") for layer in recipe.input_layers(n_layers))
    progress(0.0, "reading the prompts")
    x = read_inputs(session, run.prompts.tokens, inputs)
    norms = mean_residual_norms(session, run.prompts.tokens, layers)
    return _Subject(inputs, layers, x, directions, norms)


def _directions(run: Run, asked: tuple[int, ...]) -> tuple[tuple[int, ...], Float[Tensor, "layers d_model"]]:
    session, recipe = run.session, run.recipe
    layers = asked or tuple(range(session.shape.n_layers))
    if recipe.direction == "vectors":
        return saved_directions(session, Path(recipe.vectors).expanduser(), asked or None)
    if recipe.direction == "phrases":
        one = phrase_direction(session, split_phrases(recipe.wanted), split_phrases(recipe.unwanted))
        return layers, one.expand(len(layers), -1).clone()
    if run.pairs is None:
        raise UserError("A mean difference needs contrast pairs; none were given.", "Name them with --pairs.")
    return layers, difference_directions(session, run.pairs, layers)


def _flow(run: Run, subject: _Subject, progress: Progress) -> FrozenFlow | None:
    if run.recipe.variant != "trained":
        return None
    if run.pairs is None or not run.pairs.is_paired:
        raise UserError(
            "Weights are trained to favour the wanted halves of contrast pairs; there are none.",
            "Name a paired set with --pairs.",
        )
    points = [HookPoint(layer, "resid_post") for layer in subject.layers]
    lengths = subject.mean_norms if run.recipe.unit == "relative" else torch.ones(len(points))
    return FrozenFlow.of(
        run.session, run.prompts, run.pairs, points, subject.directions * lengths[:, None], run.recipe, progress
    )


def _begin(run: Run, subject: _Subject) -> State:
    """The state after the last checkpoint in `out`, or a first one."""
    network = initial_network(subject.x, run.recipe, len(subject.layers))
    state = State(network, optimizer_of(network, run.recipe))
    return read_checkpoint(state, run.out, run.described())


def _steps_an_epoch(run: Run) -> int:
    n_targets = sum(run.prompts.is_target)
    return -(-max(n_targets, len(run.prompts.is_target) - n_targets) // (run.recipe.batch // 2))


def _n_steps(run: Run) -> int:
    return run.recipe.n_epochs * _steps_an_epoch(run)


def _batches(run: Run) -> Iterator[tuple[Int[Tensor, "half"], Int[Tensor, "half"]]]:
    """Places of targets and of others, as many of each; the smaller class is read again as often as it takes."""
    is_target = torch.tensor(run.prompts.is_target)
    kinds, half = [is_target.nonzero()[:, 0], (~is_target).nonzero()[:, 0]], run.recipe.batch // 2
    n = _steps_an_epoch(run) * half
    for epoch in range(run.recipe.n_epochs):
        draw = torch.Generator().manual_seed(1_000_003 * run.recipe.seed + epoch)
        orders = []
        for places in kinds:
            rounds = [places[torch.randperm(len(places), generator=draw)] for _ in range(-(-n // len(places)))]
            orders.append(torch.cat(rounds)[:n])
        yield from zip(orders[0].split(half), orders[1].split(half), strict=True)


def _step(
    run: Run,
    state: State,
    x: Float[Tensor, "prompts n_in"],
    batch: tuple[Int[Tensor, "half"], Int[Tensor, "half"]],
    flow: FrozenFlow | None,
) -> dict[str, float]:
    """One step of the optimiser; returns its figures. Raises UserError for a loss that is not finite."""
    recipe, network = run.recipe, state.network
    n_targets = len(batch[0])
    raw, _ = forward(network, x[torch.cat(batch)])
    if recipe.loss == "bce":
        loss = cross_entropy_loss(raw[:n_targets], raw[n_targets:])
    else:
        said = raw.sigmoid() if recipe.output == "sigmoid" else raw
        loss = paper_loss(said[:n_targets], said[n_targets:])
    figures = {"step": float(state.step), "loss": loss.item()}
    if flow is not None:
        through = _flow_loss(flow, network, x, state.step)
        figures["flow_loss"] = through.item()
        loss = loss + recipe.weight_loss * through
    _check_finite(run, loss)
    state.optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_([network[name] for name in TRAINED], recipe.clip)
    _check_finite(run, norm)
    state.optimizer.step()
    return figures


def _flow_loss(flow: FrozenFlow, network: dict[str, Tensor], x: Tensor, step: int) -> Float[Tensor, ""]:
    places, targets, others = flow.rows(step)
    _, logits = forward(network, x[places])
    return flow.loss(layer_weights(logits, "trained"), targets, others)


def _check_finite(run: Run, value: Tensor) -> None:
    if bool(torch.isfinite(value)):
        return
    is_kept = (run.out / CHECKPOINT).is_file()
    kept = f"the last good weights are in {run.out / CHECKPOINT}" if is_kept else "it had no good weights to keep yet"
    raise UserError(
        f"The loss is {value.item()}: the training has stopped, and {kept}.",
        "Lower the learning rate or the strength, and name another folder.",
    )


def _said(figures: dict[str, float]) -> str:
    through = f", through the model {figures['flow_loss']:.3f}" if "flow_loss" in figures else ""
    return f"loss {figures['loss']:.4f}{through}"


def _finished(run: Run, subject: _Subject, state: State) -> Controller:
    recipe, session = run.recipe, run.session
    facts = {
        **model_facts(session),
        "paper": "Hegazy et al. 2025 (Guiding Giants), arXiv 2505.20309",
        **{name: getattr(recipe, name) for name in ("variant", "output", "loss", "alpha", "unit", "bos")},
        "target": run.prompts.target,
        "prompts": {
            "title": run.prompts.title,
            "n": len(run.prompts.texts),
            "n_targets": sum(run.prompts.is_target),
            "digest": _digest([list(run.prompts.texts), list(run.prompts.is_target)]),
        },
        "pairs": None if run.pairs is None else {"title": run.pairs.title, "digest": run.pairs.digest()},
        # Names and no paths: a folder may go to someone else.
        "recipe": asdict(recipe) | {"pairs": Path(recipe.pairs).name, "vectors": Path(recipe.vectors).name},
        "curve": state.curve,
    }
    network = {name: tensor.detach().clone() for name, tensor in state.network.items()}
    return Controller(subject.inputs, subject.layers, network, subject.directions, subject.mean_norms, facts)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:20]
