"""The command line: the same Specs and Reports as the app, without a browser."""

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

import typer

from capture.errors import UserError
from data.recipes.training_recipe import TrainingRecipe

if TYPE_CHECKING:
    from analysis.pipeline import Answer
    from analysis.spec import Spec
    from capture.faithfulness import Faithfulness

# Modules that load torch or transformers are imported inside the commands, so that --help answers at once.
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="See what a language model's activations do on a text.",
)
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
    if view is None:
        one_text = _one_text(lens, text, text_file, text_set)
        spec = _spec(lens, model, one_text, text_set or "", bos, dtype, context.args)
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


def spec_of_view(view: str) -> "Spec":
    """The Spec of a view's code, or of an address that has one as `?view=`."""
    from analysis.spec import from_code

    query = parse_qs(urlsplit(view).query) if "view=" in view else {}
    return from_code(query.get("view", [view])[0])


def flag_values(arguments: Sequence[str]) -> dict[str, str]:
    """`--name value`, `--name=value`, or `--name` alone for true, by name with _ for -."""
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, has_value, value = rest.pop(0).partition("=")
        if not flag.startswith("--") or len(flag) == 2:
            raise UserError(f"An option begins with --; {flag[:40]!r} was given.", "Put a text with spaces in quotes.")
        if not has_value:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        values[flag[2:].replace("-", "_")] = value
    return values


def _one_text(lens: str | None, text: str | None, text_file: Path | None, text_set: str | None) -> str:
    from analysis.lens import report_lenses

    given = [one for one in (text, text_file, text_set) if one is not None]
    if lens in report_lenses() and given:
        raise UserError(f"{lens} looks at other views; {str(given[0])[:40]!r} was given.", "Leave the text out.")
    if lens not in report_lenses() and len(given) != 1:
        hint = "Use one of --text, --text-file, --text-set."
        raise UserError(f"One text must be given; {len(given)} were given.", hint)
    if text_file is None:
        return text or ""
    try:
        return text_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{text_file} cannot be read: {error}.", "Give a text file in UTF-8.") from error


def _spec(
    lens: str | None, model: str, text: str, text_set: str, bos: bool, dtype: str, arguments: Sequence[str]
) -> "Spec":
    from analysis.lens import find_lens
    from analysis.option import read_options
    from analysis.spec import Spec

    found = find_lens(lens or "")
    options = read_options(found.options, flag_values(arguments))
    return Spec(found.slug, model, text, text_set, bos, dtype, options=options)


def _answer(spec: "Spec", use_store: bool) -> "Answer":
    from analysis import pipeline
    from capture.models import load_session
    from capture.store import ActivationStore

    store = ActivationStore.open(None) if use_store else None
    try:
        return pipeline.run(spec, load_session, store, _progress())
    finally:
        if store is not None:
            store.close()


def _progress() -> Callable[[float, str], None]:
    """Progress on one line of a terminal; silent where standard error is a file."""

    def show(share: float, words: str) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r\x1b[2K{share:4.0%} {words}", nl=share >= 1, err=True)

    return show


def _show(answer: "Answer", out: Path | None) -> None:
    report = answer.report
    if out is not None and str(out) == "-":
        typer.echo(report.to_json())
        return
    if out is not None:
        _write(out, report.to_json())
    for finding in report.findings:
        typer.echo(finding.sentence)
    facts = f"{report.facts['model']} {report.facts['fingerprint']}, {report.facts['n_tokens']:,} tokens"
    typer.echo(f"{facts}, {answer.source}; numbers {report.digest()}")
    if out is not None:
        typer.echo(f"Report written to {out}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}.", "Name a file in a folder you may write to.") from error


@app.command()
def lenses() -> None:
    """List the lenses and their options."""
    from analysis.lens import lenses as all_lenses
    from analysis.lens import report_lenses

    for lens in (*all_lenses().values(), *report_lenses().values()):
        typer.echo(f"{lens.slug}: {lens.question}")
        for option in lens.options:
            allowed = " | ".join(option.choices) or f"{option.default}" or "TEXT"
            default = f"  (default {option.default})" if option.default != "" else ""
            typer.echo(f"  --{option.name.replace('_', '-')} {allowed}{default}  {option.help}")


@app.command()
def models() -> None:
    """List the bundled models; a transformers folder or a hub name works in their place."""
    from capture.models import catalogue

    for card in catalogue():
        typer.echo(f"{card.name}: {card.title}, {card.n_params:,} parameters. {card.note}")
    typer.echo("Any transformers folder, or the name of a model on the hub, can be given as --model.")


@app.command()
def check_model(
    name: Annotated[str, typer.Argument(help="Bundled name, transformers folder or hub name.")],
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Number format of the forward pass.")] = (
        "float32"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare captures with the plain transformers forward; exit code 1 where they are wrong."""
    from capture.models import load_session

    session = load_session(name, dtype)
    faithfulness = session.faithfulness
    if faithfulness is None:
        raise UserError(f"{name} was loaded without its check.", "Load it by name or from a folder.")
    typer.echo(json.dumps(faithfulness.to_json()) if as_json else _faithfulness_words(session.name, faithfulness))
    if faithfulness.status == "wrong":
        raise typer.Exit(1)


def _faithfulness_words(name: str, found: "Faithfulness") -> str:
    lines = [
        f"{name}: {found.status}, compared with the plain transformers forward on {found.n_tokens} tokens",
        f"largest logit difference  {found.logit_max_diff:.2g}",
        f"KL                        {found.kl_nats:.2g} nats",
        f"identities of the stream  {found.identity_max_diff:.2g}",
        f"lowest cosine of a layer  {min(found.cosine_by_layer):.6f}",
    ]
    return "\n".join(lines)


def _with_recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one flag for each field of the training recipe in place of its `**recipe`."""
    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[field.type, typer.Option(rich_help_panel="Recipe")],
        )
        for field in fields(TrainingRecipe)
    ]
    command.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    return command


@app.command()
@_with_recipe_flags
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


if __name__ == "__main__":
    main()
