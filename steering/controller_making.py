"""From labelled prompts to a scored controller in a folder: what the command line and the job both do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capture.errors import UserError
from capture.session import ModelSession
from steering.contrast_pairs import Contrast, read_contrast
from steering.controller import Controller
from steering.controller_evaluation import ControllerScores, Question, evaluate_controllers
from steering.controller_folder import read_controller, write_controller
from steering.controller_prompts import prompts_of, split
from steering.controller_recipe import ControllerRecipe
from steering.controller_training import Run, train_controller
from steering.method import Progress, silent
from steering.prompt_file import bundled_prompts, read_prompts

TRAIN_SHARE = 0.5
"""Of the progress; scoring is the rest."""


@dataclass(frozen=True)
class Asked:
    """What is to be made; without a held-out set, that of the bundled prompts or 30 % by lot."""

    prompts: Path
    recipe: ControllerRecipe
    out: Path
    held_out: Path | None = None
    score: bool = True
    save_every_s: float = 20.0


@dataclass(frozen=True)
class Made:
    """A controller in its folder, and its scores."""

    name: str
    controller: Controller
    scores: ControllerScores | None


def make_controller(session: ModelSession, asked: Asked, progress: Progress = silent) -> Made:
    """Train, score and write a controller; `progress` may raise to stop, and the next call goes on."""
    recipe = asked.recipe
    recipe.check()
    learnt, held_out = prompt_sets(asked.prompts, asked.held_out, recipe.target)
    fit_pairs, score_pairs = pair_halves(recipe.pairs)
    if asked.score and score_pairs is None:
        raise UserError("Effects are measured on contrast pairs; none were named.", "Give --pairs, or --no-score.")
    prompts = prompts_of(session, learnt, recipe.target, recipe.bos)
    others = prompts_of(session, held_out, recipe.target or prompts.target, recipe.bos)
    n = sum(prompts.is_target)
    progress(0.0, f"{n:,} prompts labelled {prompts.target!r} to act on, {len(prompts.texts) - n:,} others")
    share = TRAIN_SHARE if asked.score else 1.0
    run = Run(session, prompts, recipe, asked.out, fit_pairs)
    controller = train_controller(run, lambda done, words: progress(share * done, words), asked.save_every_s)
    scores, name = None, asked.out.resolve().name
    if score_pairs is not None and asked.score:
        question = Question(session, {name: controller}, others, score_pairs, prompts)
        scores = evaluate_controllers(question, lambda done, words: progress(share + (1 - share) * done, words))[name]
    write_controller(controller, asked.out, None if scores is None else scores.to_json())
    return Made(name, controller, scores)


def prompt_sets(prompts: Path, held_out: Path | None, target: str = "") -> tuple[Contrast, Contrast]:
    """The prompts to learn from and those held out; refuses a prompt that is in both, and too few to hold some out."""
    learnt = read_prompts(prompts)
    beside = f"{prompts}_held_out"
    if held_out is None and beside in bundled_prompts():
        held_out = Path(beside)
    if held_out is None:
        return split(learnt, target)
    others = read_prompts(held_out)
    known = {one.prompt + one.text for one in learnt.examples}
    twice = next((one for one in others.examples if one.prompt + one.text in known), None)
    if twice is not None:
        raise UserError(
            f"Prompts held out must be others than those learnt from; {(twice.prompt + twice.text)[:60]!r} is in both.",
            "Remove it from one of the two.",
        )
    return learnt, others


def pair_halves(named: str) -> tuple[Contrast | None, Contrast | None]:
    """Every second pair to learn from, and the others to measure on; none where none are named."""
    if not named:
        return None, None
    pairs = read_contrast(Path(named))
    if not pairs.is_paired:
        raise UserError(f"{named} must hold contrast pairs; it has single texts.", "Give pairs.")
    return pairs.halves()


def scored_together(
    session: ModelSession,
    folders: Sequence[Path],
    prompts: Path,
    held_out: Path | None,
    pairs: str = "",
    progress: Progress = silent,
) -> dict[str, ControllerScores]:
    """The scores of several controllers by their folders' names, each beside the others.

    `prompts` are those that they learnt from, `pairs` the contrast set that they name unless given. They must patch the
    same blocks: constant steering, CAST and known labels go in the first one's directions.
    """
    controllers = {folder.resolve().name: read_controller(folder) for folder in folders}
    first = next(iter(controllers.values()))
    for name, one in controllers.items():
        if one.layers != first.layers or one.unit != first.unit or one.alpha != first.alpha:
            raise UserError(f"{name} has other blocks or another strength than the first.", "Compare those alike.")
    bos, target = bool(first.facts["bos"]), str(first.facts["target"])
    learnt, others = prompt_sets(prompts, held_out, target)
    _, measured_on = pair_halves(pairs or str(first.facts["recipe"]["pairs"]))
    if measured_on is None:
        raise UserError("Effects are measured on contrast pairs; these controllers name none.", "Train with --pairs.")
    question = Question(
        session,
        controllers,
        prompts_of(session, others, target, bos),
        measured_on,
        prompts_of(session, learnt, target, bos),
    )
    return evaluate_controllers(question, progress)


def score_lines(name: str, found: ControllerScores) -> list[str]:
    """The table as a person reads it in a terminal."""
    area, budgets = found.auroc_interval, " / ".join(map(str, found.facts["budgets"]))
    lines = [
        f"{name} on {found.facts['n_targets']} targets and {found.facts['n_others']} others of "
        f"{found.facts['held_out']}: AUROC of s {area.mean:.3f} ({area.low:.3f} to {area.high:.3f}), "
        f"ECE {found.ece:.3f}, Brier {found.brier:.3f}",
        f"Effect on targets, nats per token, where the KL on the others is {budgets}:",
    ]
    width = max(len(one.name) for one in found.systems)
    for one in found.systems:
        cells = [f"{at.mean:+.3f} ({at.low:+.3f} to {at.high:+.3f})" for at in one.at_budget]
        lines.append(_line(one.name, width, cells, one.reached))
    lines.append(
        "Perplexity of what it writes after targets over that of what is written without it, at the same doses:"
    )
    for one in found.systems:
        ratios = [at.perplexity_ratio for at in one.written]
        cells = [f"× {at.mean:.2f} ({at.low:.2f} to {at.high:.2f})" for at in ratios]
        lines.append(_line(one.name, width, cells, one.reached))
    return [*lines, "  * never came to that KL: it stands at its largest dose. All are proxies; 95 % intervals."]


def _line(name: str, width: int, cells: Sequence[str], reached: Sequence[bool]) -> str:
    marked = [f"{cell}{'' if is_reached else '*'}" for cell, is_reached in zip(cells, reached, strict=True)]
    return f"  {name:<{width}}  {'   '.join(marked)}"
