"""`python cli.py sae …`: train, evaluate and convert SAEs."""

import ast
import inspect
import json
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict, fields
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
    from sae.activation_rows import width_at, windows_of
    from sae.training import Run, train_sae

    recipe = SaeRecipe(**{field.name: given[field.name] for field in fields(SaeRecipe)})
    choice = RowChoice(**{field.name: given[field.name] for field in fields(RowChoice)})
    recipe.check()
    at = HookPoint.parse(hook)
    device = data_parallel.begin()
    try:
        session = load_session(model, recipe.precision, device)
        recipe.check(width_at(session, at))
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
    out: Annotated[Path | None, typer.Option(help="File to write the table to, as JSON.")] = None,
) -> None:
    """Print the evaluation table of an SAE, each figure with its interval over texts."""
    from capture.hook_point import HookPoint
    from capture.models import load_session
    from capture.written_file import write_file
    from sae import evaluation
    from sae.activation_rows import documents_of
    from sae.library import load_sae

    session = load_session(model)
    sae = load_sae(folder)
    point = hook or sae.facts.hook_point
    if not point:
        raise UserError("The SAE's files do not say where it reads.", "Name the hook point with --hook.")
    windows = [one for document in documents_of(text) for one in session.windows(document, window, bos=True)]
    found = evaluation.evaluate(sae, session, windows[:n_texts], HookPoint.parse(point), from_pos)
    typer.echo(f"{folder.name}: {found.n_texts:,} texts, {found.n_tokens:,} tokens of {text.name}, {point}")
    for row in found.rows:
        value = "–" if row.value is None else f"{row.value:.4f}"
        interval = "" if row.low is None else f"({row.low:.4f} to {row.high:.4f})"
        typer.echo(f"{row.name:30}{value:>10}  {interval:24}{row.unit:18}{row.formula}")
    if out is not None:
        table = {"facts": found.facts, "rows": [asdict(row) for row in found.rows], "n_tokens": found.n_tokens}
        write_file(out, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())


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
