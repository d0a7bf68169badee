"""Training an SAE on a session's activations, with checkpoints; a stop loses minutes and changes nothing.

1. Run a sample, start the weights. 2. Batches from shuffled buffers, a step each. 3. The curve grows in a file, and a
checkpoint is made every few minutes. 4. The SAE as a folder that SAELens loads, with recipe and curve beside it.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from capture.written_file import make_folder
from sae import data_parallel
from sae.activation_rows import ActivationRows, check_point
from sae.autoencoder import Autoencoder
from sae.facts import Facts
from sae.library import save_sae
from sae.row_choice import RowChoice
from sae.sae_recipe import SaeRecipe
from sae.train_step import Training, final_weights, start, take_step
from sae.training_curve import SAE_FIGURES, Point, add_point, figures_words, write_curve

CHECKPOINT, RECORD = "checkpoint.pt", "training.json"
CURVE_POINTS = 400
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and where it goes."""

    session: ModelSession
    texts: Sequence[tuple[int, ...]]
    at: HookPoint
    recipe: SaeRecipe
    choice: RowChoice
    out: Path

    def described(self) -> dict[str, Any]:
        """Everything that decides the weights; a checkpoint of another run is refused by it."""
        return {
            "recipe": asdict(self.recipe),
            "rows": asdict(self.choice),
            "hook_point": str(self.at),
            "model": self.session.name,
            "fingerprint": self.session.fingerprint,
            "n_texts": len(self.texts),
        }


def train_sae(run: Run, progress: Progress = lambda share, words: None, save_every_s: float = 120.0) -> Autoencoder:
    """Train to the end of the recipe, or go on from the checkpoint in `out`; writes the SAE there and returns it.

    `progress` is told after each step and may raise to stop: what was done since the last checkpoint is done again.
    A loss that is not finite ends the run with a UserError and leaves the last good checkpoint.
    """
    rows = ActivationRows(run.session, run.texts, run.at, run.choice, run.recipe.seed)
    training, buffer, number = _begin(run, rows)
    saved_at = time.monotonic()
    if training.step < run.recipe.n_steps:
        for batch in rows.batches(run.recipe.batch_rows, buffer, number):
            figures = _step(training, batch.rows, run)
            _note(run, training, figures)
            progress(training.step / run.recipe.n_steps, _words(figures, run.recipe))
            is_last = training.step >= run.recipe.n_steps
            if is_last or time.monotonic() - saved_at > save_every_s:
                _save(run, training, batch.buffer, batch.number + 1)
                saved_at = time.monotonic()
            if is_last:
                break
    return _finish(run, training)


def _begin(run: Run, rows: ActivationRows) -> tuple[Training, int, int]:
    path = run.out / CHECKPOINT
    run.recipe.check()
    check_point(run.session, run.at)
    if not path.is_file():
        make_folder(run.out)
        _write_curve(run, ())
        return start(run.recipe, rows.buffer(0).float().to(run.session.device)), 0, 0
    kept = torch.load(path, weights_only=True, map_location=run.session.device)
    if kept["described"] != json.dumps(run.described(), sort_keys=True):
        raise UserError(
            f"The checkpoint in {run.out} is of another run.",
            "Name another folder, or ask for what was asked for then.",
        )
    training = start(run.recipe, kept["sample"])
    with torch.no_grad():
        for name, weight in training.weights.items():
            weight.copy_(kept["weights"][name])
    training.optimizer.load_state_dict(kept["optimizer"])
    training.dead.counter = kept["counter"]
    training.average.total, training.average.n = kept["average"], kept["n_averaged"]
    training.mse_scale, training.threshold, training.step = kept["mse_scale"], kept["threshold"], kept["step"]
    training.curve = json.loads(kept["curve"])
    _write_curve(run, training.curve)
    return training, kept["buffer"], kept["number"]


def _save(run: Run, training: Training, buffer: int, number: int) -> None:
    """Write the checkpoint whole or not at all."""
    if data_parallel.rank() != 0:
        return
    kept = {
        "described": json.dumps(run.described(), sort_keys=True),
        "sample": training.weights["b_dec"].detach()[None].clone(),
        "weights": {name: weight.detach() for name, weight in training.weights.items()},
        "optimizer": training.optimizer.state_dict(),
        "counter": training.dead.counter,
        "average": training.average.total,
        "n_averaged": training.average.n,
        "mse_scale": training.mse_scale,
        "threshold": training.threshold,
        "step": training.step,
        "curve": json.dumps(training.curve),
        "buffer": buffer,
        "number": number,
    }
    part = run.out / f"{CHECKPOINT}.part"
    torch.save(kept, part)
    os.replace(part, run.out / CHECKPOINT)


def _step(training: Training, rows: torch.Tensor, run: Run) -> dict[str, float]:
    try:
        return take_step(training, data_parallel.own_share(rows).to(run.session.device))
    except FloatingPointError as error:
        raise UserError(
            f"{error} The last good weights are in {run.out / CHECKPOINT}.",
            "Lower the learning rate, or leave out massive rows.",
        ) from error


def _note(run: Run, training: Training, figures: dict[str, float]) -> None:
    every = max(1, training.recipe.n_steps // CURVE_POINTS)
    if training.step % every == 0 or training.step == training.recipe.n_steps:
        training.curve.append(figures)
        if data_parallel.rank() == 0:
            add_point(run.out, figures)


def _write_curve(run: Run, points: Sequence[Point]) -> None:
    if data_parallel.rank() == 0:
        write_curve(run.out, points)


def _words(figures: dict[str, float], recipe: SaeRecipe) -> str:
    return f"step {int(figures['step']) + 1:,} of {recipe.n_steps:,}: {figures_words(figures, SAE_FIGURES)}"


def _finish(run: Run, training: Training) -> Autoencoder:
    weights, recipe = final_weights(training), run.recipe
    is_topk = recipe.kind == "topk"
    facts = Facts(
        "topk" if is_topk else "batch_topk",
        weights["b_dec"].numel(),
        recipe.d_sae,
        recipe.k,
        hook_point=str(run.at),
        group_sizes=recipe.group_sizes if recipe.kind == "matryoshka" else (),
        provenance={
            "format": "steerscope",
            "model": run.session.name,
            "fingerprint": run.session.fingerprint,
            "rows": recipe.n_steps * recipe.batch_rows,
            "skip_first": run.choice.skip_first,
            "massive_ratio": run.choice.massive_ratio,
        },
    )
    threshold = None if is_topk else torch.full((recipe.d_sae,), training.threshold)
    sae = Autoencoder(
        facts, weights["encoder"].t().contiguous(), weights["b_enc"], weights["W_dec"], weights["b_dec"], threshold
    )
    if data_parallel.rank() == 0:
        save_sae(sae, run.out)
        record = {**run.described(), "curve": training.curve, "digest": sae.digest}
        (run.out / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")
    return sae
