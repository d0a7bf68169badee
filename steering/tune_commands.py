"""`python cli.py steer tune`: a recipe's dose-response, and the strength to use."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capture.errors import UserError
from capture.terminal_progress import terminal_progress
from capture.written_file import write_file
from steering.commands import TOUR, read_texts
from steering.export_commands import RECIPE_HELP, Model

if TYPE_CHECKING:
    from capture.store import ActivationStore

# Modules that load torch are imported inside the command, so that --help answers at once.


def add_tune_command(app: typer.Typer) -> None:
    """Put the command among those of an app."""
    app.command("tune")(tune)


def tune(
    recipe: Annotated[str, typer.Argument(help=RECIPE_HELP)],
    pairs: Annotated[
        Path | None, typer.Option(help="Bundled set or file of pairs; without, only what steering costs is shown.")
    ] = None,
    prompts: Annotated[Path, typer.Option(help="JSON text set of neutral prompts; the tour unless given.")] = TOUR,
    step: Annotated[int | None, typer.Option(help="Which step, from 1; the only one, or else all at once.")] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Layer to try the step at; repeat.")] = None,
    every_layer: Annotated[
        bool, typer.Option("--every-layer", help="Try the step at every layer it can be at.")
    ] = False,
    strength: Annotated[list[float] | None, typer.Option(help="Strength to try, in place of a sweep; repeat.")] = (
        None
    ),
    out: Annotated[Path | None, typer.Option(help="File to write the recipe with the chosen strength to.")] = None,
    report: Annotated[Path | None, typer.Option(help="File to write all numbers to, as JSON.")] = None,
    model: Model = None,
) -> None:
    """Sweep a recipe's strength and layer, choose on one half of pairs and prompts, and report on the other.

    Points are kept in the store, so that a stopped sweep goes on from them.
    """
    from capture.models import load_session
    from steering.contrast_pairs import read_contrast
    from steering.dose_table import tune_lines
    from steering.recipe_file import named_recipe
    from steering.tune_plan import TunePlan
    from steering.tuning import tune as tune_recipe

    named = named_recipe(recipe)
    changes = tuple(one.recipe() for one in named.interventions)
    place = step - 1 if step is not None else 0 if len(changes) == 1 else None
    contrast = read_contrast(pairs) if pairs is not None else None
    texts = tuple(read_texts(prompts))
    plan = TunePlan(
        changes,
        texts,
        contrast,
        place,
        layers=tuple(layer or ()),
        is_every_layer=every_layer,
        strengths=tuple(strength or ()),
    )
    session = load_session(model or named.model or "stories")
    with kept_store("The points of this sweep are not kept.") as store:
        found = tune_recipe(session, plan, store, terminal_progress())
    typer.echo("\n".join(tune_lines(found, plan.unit)))
    if report is not None:
        write_file(report, f"{json.dumps(found.to_json(), indent=1)}\n".encode())
    if out is not None and found.point is None:
        raise UserError("No strength was chosen, so there is no tuned recipe to write.", "Try other strengths.")
    if out is not None and found.point is not None:
        used = plan.used(found.point, found.norms, found.slider)
        write_file(out, f"{json.dumps(list(used), ensure_ascii=False)}\n".encode())
        typer.echo(f"Recipe written to {out}")


@contextmanager
def kept_store(without: str) -> "Iterator[ActivationStore | None]":
    """The store; None, with why and what that means, where another process holds it."""
    from capture.store import ActivationStore

    try:
        store = ActivationStore.open(None)
    except UserError as error:
        typer.echo(f"{error.message} {without}", err=True)
        yield None
        return
    try:
        yield store
    finally:
        store.close()
