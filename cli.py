"""The command line: the same Specs and Reports as the app, without a browser."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from analysis.commands import dashboard, sparsity_law
from capture.errors import UserError
from capture.terminal_progress import terminal_progress
from capture.written_file import write_file
from data.recipes.training_recipe import TrainingRecipe
from sae.commands import sae_app, with_fields
from steering.commands import steer_app
from steering.export_commands import add_export_commands
from steering.run_commands import run_recipe
from steering.tune_commands import add_tune_command

if TYPE_CHECKING:
    from analysis.pipeline import Answer
    from analysis.spec import Spec
    from capture.store import ActivationStore

# Modules that load torch or transformers are imported inside the commands, so that --help answers at once.
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="See what a language model's activations do on a text.",
)
store_app = typer.Typer(no_args_is_help=True, help="Look at what is kept, ask it by SQL, give its room back.")
app.add_typer(store_app, name="store")
app.add_typer(sae_app, name="sae")
sae_app.command("dashboard")(dashboard)
app.add_typer(steer_app, name="steer")
TAKES_LENS_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a UserError becomes a sentence, a hint and exit code 2."""
    try:
        app(args=None if arguments is None else list(arguments))
    except UserError as error:
        typer.echo(error.message, err=True)
        if error.hint:
            typer.echo(error.hint, err=True)
        sys.exit(2)


@app.command(context_settings=TAKES_LENS_OPTIONS)
def run(
    context: typer.Context,
    lens: Annotated[str | None, typer.Argument(help="Which lens; `lenses` lists them with their options.")] = None,
    model: Annotated[str, typer.Option(help="Bundled name, transformers folder or hub name.")] = "stories",
    text: Annotated[str | None, typer.Option(help="The text to look at.")] = None,
    text_file: Annotated[Path | None, typer.Option(help="A UTF-8 file with the text to look at.")] = None,
    text_set: Annotated[str | None, typer.Option(help="A named text set, such as tour.")] = None,
    bos: Annotated[bool, typer.Option("--bos/--no-bos", help="Begin with the BOS token.")] = True,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Number format of the forward pass.")] = (
        "float32"
    ),
    view: Annotated[str | None, typer.Option(help="Code or address of a shared view, in place of all the above.")] = (
        None
    ),
    out: Annotated[Path | None, typer.Option(help="File to write the Report to; - for standard output.")] = None,
    store: Annotated[bool, typer.Option("--store/--no-store", help="Use and fill the app's store.")] = False,
) -> None:
    """Make the Report of a lens. Each option of the lens is a flag: --what-if zero."""
    from analysis.command_words import spec_of_view, spec_of_words

    if view is None:
        spec = spec_of_words(lens, model, text, text_file, text_set, bos, dtype, context.args)
    else:
        _refuse_beside_view(context)
        spec = spec_of_view(view)
    _show(_answer(spec, use_store=store), out)


def _refuse_beside_view(context: typer.Context) -> None:
    asked = ("lens", "model", "text", "text_file", "text_set", "bos", "dtype")
    given = [name for name in asked if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"]
    given += context.args
    if given:
        name = given[0].removeprefix("--").replace("_", "-")
        raise UserError(f"A view says everything that is asked; {name} was given beside it.", "Leave one of them out.")


@contextmanager
def _open_store() -> Iterator["ActivationStore"]:
    from capture.store import ActivationStore

    store = ActivationStore.open(None)
    try:
        yield store
    finally:
        store.close()


def _answer(spec: "Spec", use_store: bool) -> "Answer":
    from analysis import pipeline
    from capture.models import load_session

    with _open_store() if use_store else nullcontext() as store:
        return pipeline.run(spec, load_session, store, terminal_progress())


def _show(answer: "Answer", out: Path | None) -> None:
    from analysis.command_words import answer_lines

    if out is not None and str(out) == "-":
        typer.echo(answer.report.to_json())
        return
    lines = answer_lines(answer)
    if out is not None:
        write_file(out, answer.report.to_json().encode())
        lines.append(f"Report written to {out}")
    typer.echo("\n".join(lines))


@app.command()
def export_view(
    link: Annotated[str, typer.Argument(help="Address, code or short id of a view; or a .steerscope or .html file.")],
    html: Annotated[Path | None, typer.Option(help="Page to write, which opens anywhere.")] = None,
    data: Annotated[Path | None, typer.Option(help="Archive of CSV, Parquet and JSON to write.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder to write figures to, as SVG and PNG.")] = None,
    file: Annotated[Path | None, typer.Option(help="View file to write, which another Steerscope opens.")] = None,
) -> None:
    """Write a view to files."""
    from capture.models import load_session
    from ui.view_export import export, view_named

    lines = export(lambda: view_named(link, load_session, _open_store, terminal_progress()), html, data, figures, file)
    typer.echo("\n".join(lines))


@app.command()
def open_view(file: Annotated[Path, typer.Argument(help="A .steerscope file, or a page that was exported.")]) -> None:
    """Keep the view in a file, and print its short id and findings."""
    from analysis.shared_view import keep_view
    from ui.view_export import view_lines, view_of_path

    with _open_store() as store:
        keep_view(view := view_of_path(file), store)
    typer.echo("\n".join(view_lines(view)))


@app.command()
def lenses() -> None:
    """List the lenses and their options."""
    from analysis.command_words import lens_lines

    typer.echo("\n".join(lens_lines()))


@app.command()
def models() -> None:
    """List the bundled models; a transformers folder or a hub name works in their place."""
    from analysis.command_words import model_lines

    typer.echo("\n".join(model_lines()))


@app.command()
def check_model(
    name: Annotated[str, typer.Argument(help="Bundled name, transformers folder or hub name.")],
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Number format of the forward pass.")] = (
        "float32"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare captures with the plain transformers forward; exit code 1 where they are wrong."""
    from analysis.command_words import faithfulness_words
    from capture.models import load_session

    session = load_session(name, dtype)
    faithfulness = session.faithfulness
    if faithfulness is None:
        raise UserError(f"{name} was loaded without its check.", "Load it by name or from a folder.")
    typer.echo(json.dumps(faithfulness.to_json()) if as_json else faithfulness_words(session.name, faithfulness))
    if faithfulness.status == "wrong":
        raise typer.Exit(1)


@app.command()
@with_fields(TrainingRecipe)
def train_model(
    text: Annotated[Path, typer.Option(help="Folder with *.train.txt, or with any *.txt.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the model; an interrupted run goes on here.")],
    keep_at: Annotated[list[int] | None, typer.Option(help="Token count at which to keep a model; repeat.")] = None,
    save_every_s: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 180.0,
    eval_every: Annotated[int, typer.Option(help="Steps between held-out losses.")] = 500,
    threads: Annotated[int, typer.Option(help="Threads of torch.", min=1)] = 1,
    compile_model: Annotated[bool, typer.Option("--compile/--no-compile", help="Use torch.compile.")] = True,
    **recipe: Any,
) -> None:
    """Train a small story model on a folder of text, or go on with a run that stopped."""
    from data.recipes.train_model import train

    if not any(text.glob("*.txt")):
        raise UserError(f"{text} must be a folder with .txt files; it has none.", "Name a folder with text.")
    model = train(
        text,
        out,
        TrainingRecipe(**recipe),
        keep_at=tuple(keep_at or ()),
        save_every_s=save_every_s,
        eval_every=eval_every,
        n_threads=threads,
        compile_model=compile_model,
        report=typer.echo,
    )
    typer.echo(f"Model written to {model}")


@app.command()
def make_texts(
    out: Annotated[Path, typer.Option(help="Folder to write stories.json to.")] = Path("data/texts"),
    model_folder: Annotated[Path, typer.Option(help="Transformers folder to sample from.")] = Path(
        "data/models/stories"
    ),
    n_texts: Annotated[int, typer.Option(help="How many texts.", min=1)] = 300,
    n_tokens: Annotated[int, typer.Option(help="Most tokens of a text.", min=1)] = 160,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
) -> None:
    """Sample the text set `stories` from a model."""
    from data.recipes.make_texts import make_texts as sample

    path = sample(model_folder, out, n_texts=n_texts, n_tokens=n_tokens, seed=seed, report=typer.echo)
    typer.echo(f"Texts written to {path}")


app.command()(sparsity_law)
add_export_commands(app)
steer_app.command("run")(run_recipe)
add_tune_command(steer_app)


@store_app.command("show")
def store_show() -> None:
    """Print what is kept by kind, the file's size, and whether reading beat running."""
    from capture.store_words import store_lines

    with _open_store() as store:
        typer.echo("\n".join(store_lines(store)))


@store_app.command("compact")
def store_compact() -> None:
    """Rewrite the store's file without the room that removed objects left in it."""
    with _open_store() as store:
        before, after = store.compact()
    typer.echo(f"{before:,} bytes before, {after:,} after")


@store_app.command("clear")
def store_clear(
    kind: Annotated[str, typer.Argument(help="What to remove: report, view, statistics, capture, dashboard.")],
) -> None:
    """Remove everything of one kind."""
    with _open_store() as store:
        store.clear(kind)
    typer.echo(f"Nothing of the kind {kind} is kept now")


@store_app.command("sql")
def store_sql(
    sql: Annotated[str, typer.Argument(help="One SELECT over reports, statistics, tokens, findings, and the like.")],
    csv: Annotated[Path | None, typer.Option(help="File to write the rows to; - for standard output.")] = None,
    limit: Annotated[int, typer.Option(help="Most rows.", min=1)] = 1000,
) -> None:
    """Ask the store by SQL, read-only."""
    from capture.store_query import query
    from capture.store_words import as_csv, table_lines

    with _open_store() as store:
        found = query(store, sql, limit_rows=limit)
    if csv is not None and str(csv) != "-":
        write_file(csv, as_csv(found).encode())
    typer.echo(as_csv(found).rstrip("\n") if str(csv) == "-" else "\n".join(table_lines(found)))


if __name__ == "__main__":
    main()
