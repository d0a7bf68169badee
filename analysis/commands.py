"""`python cli.py sae dashboard`: the cards of all latents of an SAE, over a folder or a text set."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from capture.errors import UserError

if TYPE_CHECKING:
    from capture.session import ModelSession

# Modules that load torch are imported inside the command, so that --help answers at once.
TOLD_SHARE = 0.05


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
