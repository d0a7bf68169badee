"""`python cli.py sae …`: train, evaluate and convert SAEs."""

import ast
import inspect
import json
import textwrap
import time
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from capture.errors import UserError
from sae.row_choice import RowChoice
from sae.sae_recipe import SaeRecipe

# Modules that load torch are imported inside the commands, so that --help answers at once.
sae_app = typer.Typer(no_args_is_help=True, help="Train, evaluate, convert and look at sparse autoencoders.")
TELL_S = 10.0
N_PROVED = 20
NAMED = "Folder of an SAE in any known layout, an OpenAI .pt file, or release/id of SAELens's registry."
Model = Annotated[str, typer.Option(help="Bundled name, transformers folder or hub name.")]


def with_fields(*kinds: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command with one flag for each field of some dataclasses in place of its `**given`."""

    def change(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        flags = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[
                    field.type, typer.Option(help=said.get(field.name), rich_help_panel=kind.__name__)
                ],
            )
            for kind, said in ((kind, field_words(kind)) for kind in kinds)
            for field in fields(kind)
        ]
        command.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
        return command

    return change


def field_words(kind: Any) -> dict[str, str]:
    """What the source of a dataclass says under each field, on one line."""
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(declared, ast.ClassDef)  # a dataclass is one
    said = {}
    for one, after in pairwise(declared.body):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(after, ast.Expr):
            said[one.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return said


@sae_app.command("train")
@with_fields(SaeRecipe, RowChoice)
def train(
    hook: Annotated[str, typer.Option(help="Hook point to read, such as blocks.2.hook_resid_post.")],
    text: Annotated[Path, typer.Option(help="Folder with .txt files; held-out ones are left out.")],
    out: Annotated[Path, typer.Option(help="Folder for the SAE and its checkpoint; an interrupted run goes on here.")],
    model: Model = "stories",
    save_every_s: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 120.0,
    **given: Any,
) -> None:
    """Train an SAE on a model's activations, or go on with a run that stopped; under torchrun by several processes."""
    from capture.hook_point import HookPoint
    from capture.models import load_session
    from sae import data_parallel
    from sae.activation_rows import check_point, windows_of
    from sae.training import Run, train_sae

    recipe = SaeRecipe(**{field.name: given[field.name] for field in fields(SaeRecipe)})
    choice = RowChoice(**{field.name: given[field.name] for field in fields(RowChoice)})
    recipe.check()
    at = HookPoint.parse(hook)
    device = data_parallel.begin()
    try:
        session = load_session(model, recipe.precision, device)
        check_point(session, at)
        run = Run(session, windows_of(session, text, choice), at, recipe, choice, out)
        tell = Teller(recipe.n_steps) if data_parallel.rank() == 0 else lambda share, words: None
        sae = train_sae(run, tell, save_every_s)
        if data_parallel.rank() == 0:
            typer.echo(f"SAE {sae.digest} written to {out}")
    finally:
        data_parallel.end()


class Teller:
    """Prints the figures of a training at its first and last step and between them each hundredth or ten seconds."""

    def __init__(self, n_steps: int) -> None:
        self.every, self.n_told, self.told_s = max(1, n_steps // 100), 0, float("-inf")

    def __call__(self, share: float, words: str) -> None:
        self.n_told += 1
        now = time.monotonic()
        if self.n_told % self.every == 0 or share >= 1 or now - self.told_s > TELL_S:
            typer.echo(words)
            self.told_s = now


@sae_app.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of an SAE in any known layout, or an OpenAI .pt file.")],
    text: Annotated[Path, typer.Option(help="A .txt file of held-out text, documents divided by <|endoftext|>.")],
    hook: Annotated[str | None, typer.Option(help="Hook point, where the SAE's files do not say it.")] = None,
    model: Model = "stories",
    window: Annotated[int, typer.Option(help="Tokens that are run at once, BOS included.", min=4)] = 256,
    n_texts: Annotated[int, typer.Option(help="Most windows to look at.", min=1)] = 100,
    from_pos: Annotated[int, typer.Option(help="First position that is reconstructed and counted.", min=0)] = 1,
    labels: Annotated[
        str | None, typer.Option(help="Probe for labels: a CSV, TSV or JSON-lines file, or a labelled set by name.")
    ] = None,
    explain: Annotated[int, typer.Option(help="Latents to explain by token patterns.", min=0)] = 0,
    ablate: Annotated[int, typer.Option(help="Places at which a latent is zeroed.", min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="File to write the table to, as JSON.")] = None,
) -> None:
    """Print the evaluation table of an SAE, each figure with its interval over texts, latents or places."""
    from capture.hook_point import HookPoint
    from capture.models import load_session
    from capture.written_file import write_file
    from sae.activation_rows import documents_of
    from sae.labelled_texts import read_labelled
    from sae.library import load_sae
    from sae.wide_evaluation import Asked, evaluate_widely

    asked = Asked(read_labelled(labels) if labels else None, explain, ablate)
    session = load_session(model)
    sae = load_sae(folder)
    point = hook or sae.facts.hook_point
    if not point:
        raise UserError("The SAE's files do not say where it reads.", "Name the hook point with --hook.")
    windows = [one for document in documents_of(text) for one in session.windows(document, window, bos=True)]
    found = evaluate_widely(sae, session, windows[:n_texts], HookPoint.parse(point), from_pos, asked)
    table = found.table
    typer.echo(f"{folder.name}: {table.n_texts:,} texts, {table.n_tokens:,} tokens of {text.name}, {point}")
    for row in found.rows:
        value = "–" if row.value is None else f"{row.value:.4f}"
        interval = "" if row.low is None else f"({row.low:.4f} to {row.high:.4f}, {row.interval_over})"
        typer.echo(f"{row.name:30}{value:>10}  {interval:34}{row.unit:18}{row.formula}")
    for one in found.explanations:
        typer.echo(f"latent {one['latent']}: {'; '.join(''.join(each['words']) for each in one['patterns'][:8])}")
    if out is not None:
        write_file(out, (json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n").encode())


@sae_app.command("scaling")
@with_fields(RowChoice)
def scaling(
    grid: Annotated[Path | None, typer.Option("--from", help="Refit the grid in this JSON, train nothing.")] = None,
    text: Annotated[Path | None, typer.Option(help="Folder with .txt files to train on.")] = None,
    hook: Annotated[str, typer.Option(help="Hook point to read.")] = "blocks.2.hook_resid_post",
    model: Model = "stories",
    latents: Annotated[str, typer.Option(help="Numbers of latents, at least three.")] = "256,512,1024",
    ks: Annotated[str, typer.Option(help="Values of k, at least three.")] = "8,16,32",
    total_rows: Annotated[int, typer.Option(help="Rows that each SAE is trained on.", min=2)] = 200_000,
    batch_rows: Annotated[int, typer.Option(help="Rows of one step.", min=2)] = 1024,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the grid; an interrupted one goes on here. Default: on the shelf.")
    ] = None,
    **given: Any,
) -> None:
    """Train a grid of small SAEs and fit the scaling law L(n, k) to their FVU; the SAE quality page draws it."""
    from sae import scaling_grid

    if grid is not None:
        found = scaling_grid.with_law(scaling_grid.read_grid(grid))
    else:
        if text is None:
            raise UserError(
                "A grid is trained on text; none was given.", "Name a folder with --text, or a grid: --from."
            )
        recipe = SaeRecipe(total_rows=total_rows, batch_rows=batch_rows, seed=seed)
        found = _train_grid(text, hook, model, (_numbers(latents), _numbers(ks)), recipe, RowChoice(**given), out)
    for one in found["points"]:
        typer.echo(f"{one['n']:>8,} latents  k {one['k']:<5} FVU {one['fvu']:.4f}")
    typer.echo(scaling_grid.law_sentence(found))


def _numbers(given: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in given.split(","))
    except ValueError as error:
        raise UserError(
            f"Numbers must be divided by commas; {given[:40]!r} was given.", "Such as 256,512,1024."
        ) from error


def _train_grid(
    text: Path,
    hook: str,
    model: str,
    sides: tuple[tuple[int, ...], tuple[int, ...]],
    recipe: SaeRecipe,
    choice: RowChoice,
    out: Path | None,
) -> dict[str, Any]:
    from capture.hook_point import HookPoint
    from capture.models import load_session
    from sae.activation_rows import windows_of
    from sae.scaling import check_grid
    from sae.scaling_grid import GridRun, grids_folder, train_grid

    check_grid(set(sides[0]), set(sides[1]))
    session = load_session(model)
    texts = tuple(windows_of(session, text, choice))
    folder = out or grids_folder() / f"{session.fingerprint[:8]}-{hook}"
    said = ""

    def tell(share: float, words: str) -> None:
        nonlocal said
        if (which := words.partition(":")[0]) != said:
            said = which
            typer.echo(f"{which}, {share:.0%}")

    found = train_grid(GridRun(session, texts, HookPoint.parse(hook), recipe, choice, *sides, folder), tell)
    typer.echo(f"Grid written to {folder}")
    return found


@sae_app.command("convert")
def convert(
    sae: Annotated[str, typer.Argument(help=NAMED)],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    layout: Annotated[str, typer.Option("--to", help="saelens or sparsify.")] = "saelens",
) -> None:
    """Write an SAE in another library's layout."""
    from sae.library import save_sae
    from sae.shelf import load_named

    found = load_named(sae)
    save_sae(found, out, layout)
    facts = found.facts
    typer.echo(f"{facts.kind}, {facts.d_sae:,} latents, digest {found.digest}, written to {out} as {layout}")


@sae_app.command("list")
def list_saes() -> None:
    """List the SAEs that can be named: bundled, trained in the app, fetched, and opened."""
    from sae.shelf import shelved
    from sae.shelf_words import shelf_lines

    typer.echo("\n".join(shelf_lines(shelved())))


@sae_app.command("open")
def open_sae(
    sae: Annotated[str, typer.Argument(help=NAMED)],
    model: Annotated[str | None, typer.Option(help="Model to prove it on, by reconstruction of a few texts.")] = None,
    text: Annotated[Path | None, typer.Option(help="A .txt file to prove it on, in place of the tour's texts.")] = None,
) -> None:
    """Put an SAE on the shelf, so that the app and --sae find it by name or digest."""
    from sae import shelf
    from sae.shelf_words import shelf_lines

    one = shelf.open_sae(sae)
    typer.echo("\n".join(shelf_lines([one])))
    if model is not None:
        from capture.models import load_session
        from sae.activation_rows import documents_of
        from sae.proving import proof_words, prove

        texts = documents_of(text)[:N_PROVED] if text else _tour()
        typer.echo(proof_words(prove(shelf.load_shelved(one.digest), load_session(model), texts)))


def _tour() -> list[str]:
    path = Path(__file__).parent.parent / "data" / "texts" / "tour.json"
    return [str(text) for text in json.loads(path.read_text("utf-8"))["texts"]]
