"""`python cli.py sae dashboard` and `sparsity-law`: what needs text sets and Reports; progress in a terminal."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from capture.errors import UserError
from capture.terminal_progress import terminal_progress

if TYPE_CHECKING:
    from capture.session import ModelSession

# Modules that load torch are imported inside the command, so that --help answers at once.
TOLD_SHARE = 0.05
Model = Annotated[str, typer.Argument(help="Bundled name, or a folder with checkpoints such as at-4M in it.")]


def dashboard(
    sae: Annotated[str, typer.Argument(help="Folder of an SAE, an OpenAI .pt file, or a name or digest on the shelf.")],
    text: Annotated[Path | None, typer.Option(help="Folder with .txt files; held-out ones are left out.")] = None,
    text_set: Annotated[str | None, typer.Option(help="A named text set, such as stories, in place of --text.")] = None,
    model: Annotated[str, typer.Option(help="Bundled name, transformers folder or hub name.")] = "stories",
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Number format of the forward pass.")] = (
        "float32"
    ),
    hook: Annotated[str, typer.Option(help="Hook point, where the SAE's files do not say it.")] = "",
    window: Annotated[int, typer.Option(help="Tokens that are run at once, BOS included.", min=4)] = 256,
    bos: Annotated[bool, typer.Option("--bos/--no-bos", help="Begin each window with the BOS token.")] = True,
    from_pos: Annotated[int, typer.Option(help="First position that is encoded and counted.", min=0)] = 1,
    n_texts: Annotated[int | None, typer.Option(help="Most windows to look at; all by default.", min=1)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write all latents to, in Neuronpedia's names.")] = None,
    store: Annotated[bool, typer.Option("--store/--no-store", help="Keep it in the app's store.")] = True,
) -> None:
    """Build the cards of all latents of an SAE over texts, or go on with a build that stopped."""
    from capture.models import load_session
    from capture.store import ActivationStore
    from sae.dashboard import Subject, build_dashboard
    from sae.neuronpedia import export_dashboard
    from sae.shelf import named_sae

    if not store and out is None:
        raise UserError("The dashboard would be kept nowhere.", "Name a folder with --out, or leave out --no-store.")
    session = load_session(model, dtype)
    name, loaded = named_sae(sae, session.fingerprint)
    texts, texts_name = _texts_of(session, text, text_set, window, bos)
    subject = Subject(session, loaded, texts[:n_texts], name, texts_name, hook, bos, from_pos)
    with ExitStack() as stack:
        path = None if store else Path(stack.enter_context(TemporaryDirectory())) / "steerscope.duckdb"
        kept = stack.enter_context(closing(ActivationStore.open(path)))
        facts = build_dashboard(subject, kept, _teller())
        typer.echo(f"{facts.d_sae:,} latents of {name}, {facts.n_done:,} tokens of {texts_name}, {facts.hook_point}")
        if store:
            typer.echo(f"Dashboard {facts.id} is in {kept.path}")
        if out is not None:
            typer.echo(f"{export_dashboard(kept, facts.id, out):,} latents written to {out}")


def _texts_of(
    session: "ModelSession", folder: Path | None, text_set: str | None, window: int, bos: bool
) -> tuple[tuple[tuple[int, ...], ...], str]:
    """Windows of tokens of a folder or of a text set, and what to call them."""
    from analysis.text_set import read_text_set
    from sae.activation_rows import windows_of, windows_of_texts
    from sae.row_choice import RowChoice

    if (folder is None) == (text_set is None):
        raise UserError("A dashboard is built over one folder or one text set.", "Give --text or --text-set.")
    if folder is not None:
        return tuple(windows_of(session, folder, RowChoice(window=window, bos=bos))), folder.resolve().name
    return tuple(windows_of_texts(session, read_text_set(text_set or "").texts, window, bos)), text_set or ""


def _teller() -> Callable[[float, str], None]:
    """Says how far it is, each twentieth of the way."""
    told = 0.0

    def tell(share: float, words: str) -> None:
        nonlocal told
        if share >= told + TOLD_SHARE:
            told = share
            typer.echo(f"{share:4.0%} {words}", err=True)

    return tell


def sparsity_law(
    model: Model = "stories",
    text_set: Annotated[str, typer.Option(help="A named text set, such as tour or stories.")] = "tour",
    p: Annotated[float, typer.Option(help="Budget: how many percent perplexity may rise.")] = 1.0,
    bos: Annotated[bool, typer.Option("--bos/--no-bos", help="Begin each text with the BOS token.")] = True,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Number format of the forward pass.")] = (
        "float32"
    ),
    out: Annotated[Path | None, typer.Option(help="File to write the Report to.")] = None,
) -> None:
    """Measure the share of active neurons at each checkpoint of a model, and fit the law of its activation to them."""
    from analysis import pipeline
    from analysis.spec import Spec
    from capture.models import load_session
    from capture.written_file import write_file

    spec = Spec("sparsity_law", model, text_set=text_set, bos=bos, dtype=dtype, options={"p": p})
    report = pipeline.run(spec, load_session, None, terminal_progress()).report
    typer.echo("\n".join(law_lines(report.numbers)))
    if out is not None:
        write_file(out, report.to_json().encode())
        typer.echo(f"Report written to {out}")


def law_lines(numbers: Mapping[str, Any]) -> list[str]:
    """A Report of the law in lines: its points, its parameters, and what they say."""
    lines = [f"{'checkpoint':32}{'tokens':>16}{'active':>9}{'loss':>9}{'lost':>9}  nats a token"]
    lines += [
        f"{one['name']:32}{one['tokens']:>16,}{100 * one['ratio']:>8.2f}%{one['loss_dense']:>9.4f}"
        f"{one['delta_loss_nats']:>9.4f}{'  CETT found here' if one['is_joint'] else ''}"
        for one in numbers["points"]
    ]
    lines.append(f"{numbers['formula']}, D in billions of tokens; CETT {numbers['cett']:.6f} at p = {numbers['p']:g} %")
    for one in (numbers["fit"] or {"parameters": []})["parameters"]:
        interval = f"{one['interval'][0]:.4g} to {one['interval'][1]:.4g}" if one["interval"] else "not identified"
        lines.append(f"{one['name']:>8} {one['value']:>12.4g}  {interval}")
    return [*lines, numbers["trend"], numbers["sentence"]]
