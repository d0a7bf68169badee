"""`python cli.py concepts …`: make concept sets from a plan, read them from files, show them, evaluate on them."""

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from capture.errors import UserError

if TYPE_CHECKING:
    from steering.concepts import ConceptSet

# Modules that load torch are imported inside the commands, so that --help answers at once.
concepts_app = typer.Typer(no_args_is_help=True, help="Make, read and show concept sets; compare what steers to them.")
DATA = Path(__file__).resolve().parent.parent / "data"
SAMPLING = "data.recipes.sampling"
"""Where continuations are drawn; it is beside this room, not below it, so it is known by its name alone."""
Kind = Literal["folder", "labels", "axbench"]
Model = Annotated[str, typer.Option(help="Bundled name, transformers folder or hub name.")]


@concepts_app.command("make")
def make(
    plan: Annotated[Path, typer.Option(help="JSON plan: prompts, and groups of concepts with rules.")] = (
        DATA / "concepts" / "recipe.json"
    ),
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = DATA / "concepts" / "stories.json",
    model_folder: Annotated[Path, typer.Option(help="Transformers folder to draw continuations from.")] = (
        DATA / "models" / "stories"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the continuations.")] = 0,
) -> None:
    """Make concepts from a model's own continuations; about ten minutes on one core for the bundled plan."""
    from steering.concept_making import make_concepts, read_plan
    from steering.concepts import write_concepts

    asked = read_plan(plan)
    if not (model_folder / "config.json").is_file():
        message = f"{model_folder} must be a model's folder; it has no config.json."
        raise UserError(message, "Name a transformers folder with safetensors and a tokenizer.")
    sample = importlib.import_module(SAMPLING).continuation_sampler(model_folder, asked.n_tokens)
    found = make_concepts(asked, sample, seed, lambda share, name: typer.echo(f"{share:4.0%} {name}"))
    origin = {"plan_sha256": _sha256(plan), "model_sha256": _sha256(model_folder / "model.safetensors")}
    found = replace(found, made={**found.made, **origin})
    write_concepts(found, out)
    typer.echo("\n".join([*set_lines(found), f"Concepts written to {out}"]))


@concepts_app.command("import")
def read_from(
    source: Annotated[Path, typer.Argument(help="A folder of .txt files, a labelled file, or AxBench's data.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    kind: Annotated[Kind | None, typer.Option(help="What the source is; by its look unless given.")] = None,
    plan: Annotated[Path | None, typer.Option(help="JSON plan with rules, by which a folder's sentences are told.")] = (
        None
    ),
    held_out: Annotated[float, typer.Option(help="Share of the concepts to hold out.", min=0.0, max=1.0)] = 0.2,
) -> None:
    """Read concepts from a folder of texts, a labelled file or AxBench's data."""
    from sae.labelled_texts import read_labelled
    from steering.concept_making import read_plan
    from steering.concept_sources import concepts_of_axbench, concepts_of_folder, concepts_of_labels, is_axbench
    from steering.concepts import write_concepts

    kind = kind or ("folder" if source.is_dir() else "axbench" if is_axbench(source) else "labels")
    if plan is not None and kind != "folder":
        raise UserError("A plan tells the sentences of a folder.", "Leave it out, or name a folder.")
    if kind == "folder":
        found = concepts_of_folder(source, None if plan is None else read_plan(plan), held_out)
    elif kind == "axbench":
        found = concepts_of_axbench(source, held_out)
    else:
        found = concepts_of_labels(read_labelled(source), held_out)
    write_concepts(found, out)
    typer.echo("\n".join([*set_lines(found), f"Concepts written to {out}"]))


@concepts_app.command("show")
def show(
    named: Annotated[str, typer.Argument(help="A bundled set, or a JSON file of concepts.")] = "stories",
    concept: Annotated[str | None, typer.Option(help="Print the texts of this one.")] = None,
) -> None:
    """Print what a set has, or the texts of one concept."""
    from steering.concepts import read_concepts

    found = read_concepts(named)
    if concept is None:
        typer.echo("\n".join([*set_lines(found), *group_lines(found)]))
        return
    one = found.named(concept)
    typer.echo(f"{one.name} ({one.group}{', held out' if one.is_held_out else ''}): {'; '.join(one.asked)}")
    for sign, some in (("+", one.positives), ("-", one.negatives)):
        for example in some:
            words = f"{example.prompt}|{example.text}".replace("\n", " / ")
            typer.echo(f"{sign} {'evaluation' if example.is_for_evaluation else 'fit':<10} {words}")


@concepts_app.command("evaluate")
def evaluate(
    out: Annotated[Path, typer.Option(help="JSON report to write; rows are kept beside it, and a run goes on there.")],
    named: Annotated[str, typer.Option("--concepts", help="A bundled set, or a JSON file of concepts.")] = "stories",
    hypernetwork: Annotated[
        list[str] | None, typer.Option(help="Hypernetwork to compare: name or digest on the shelf, or folder; repeat.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(help="Hypernetwork that learnt another number of concepts, for the curve; repeat."),
    ] = None,
    contestant: Annotated[list[str] | None, typer.Option(help="What else to compare; repeat. All without any.")] = None,
    n_held_in: Annotated[int, typer.Option(help="Concepts held in; 0 for all.", min=0)] = 0,
    n_held_out: Annotated[int, typer.Option(help="Concepts held out; 0 for all.", min=0)] = 0,
    strength: Annotated[list[float] | None, typer.Option(help="Strength to try, in mean norms; repeat.")] = None,
    hook: Annotated[str | None, typer.Option(help="Hook point; that of the SAE unless given.")] = None,
    sae: Annotated[str | None, typer.Option(help="SAE whose latents compete; that of the bundled model.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="JSON text set of prompts, where the set has none.")] = None,
    model: Model = "stories",
    threads: Annotated[int, typer.Option(help="Threads of torch.", min=1)] = 1,
) -> None:
    """Compare what steers to concepts: hypernetworks, mean difference, ReFT-r1, SAE latent, prompting, chance."""
    import torch

    from capture.models import load_session
    from steering.commands import read_texts
    from steering.concept_comparison import compared
    from steering.concept_contestants import RANDOM
    from steering.concept_evaluation import STRENGTHS, arena_of
    from steering.concept_report import Asked, evaluate_concepts, plain_sentence, report_lines
    from steering.concepts import read_concepts

    torch.set_num_threads(threads)
    session, found = load_session(model), read_concepts(named)
    at, contestants = compared(session, found, hook, sae, hypernetwork or [], contestant or [], over or [])
    arena = arena_of(session, found, at, read_texts(prompts) if prompts else (), strength or STRENGTHS)
    asked = Asked(arena, found, contestants, n_held_in, n_held_out)
    report = evaluate_concepts(asked, out, lambda share, words: typer.echo(f"{share:4.0%} {words}"))
    names = [one.name for one in contestants if one.has_vectors and one.name != RANDOM and not one.is_on_curve]
    sentences = [plain_sentence(report, name) for name in names]
    typer.echo("\n".join([*report_lines(report), *sentences, f"Report written to {out}"]))


def _sha256(path: Path) -> str | None:
    """Digest of a file; None where there is none, as of weights in several files."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def set_lines(found: "ConceptSet") -> list[str]:
    """How many concepts and texts a set has."""
    n_texts = sum(len(one.positives) for one in found.concepts)
    lines = [
        f"{found.title}: {len(found.held_in):,} concepts held in, {len(found.held_out):,} held out, "
        f"{n_texts:,} texts that show one and as many that do not"
    ]
    if left_out := found.made.get("left_out"):
        lines.append(f"Left out for want of texts: {', '.join(map(str, left_out))}")
    return lines


def group_lines(found: "ConceptSet") -> list[str]:
    """The names of each group; those held out are marked."""
    groups: dict[str, list[str]] = {}
    for one in found.concepts:
        groups.setdefault(one.group, []).append(f"{one.name}{' (held out)' if one.is_held_out else ''}")
    return [f"{name or 'no group'} ({len(some)}): {', '.join(some)}" for name, some in groups.items()]
