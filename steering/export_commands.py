"""`python cli.py export`, `import` and `bake`: recipes to where they are used, and vectors of other tools to here."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from steering.commands import TOUR, read_texts

# Modules that load torch are imported inside the commands, so that --help answers at once.
RECIPE_HELP = "A recipe.json, the name of a recipe or vectors on the shelf, or the address of a view."
Model = Annotated[str | None, typer.Option(help="The model it is for; the one that the recipe names unless given.")]


def add_export_commands(app: typer.Typer) -> None:
    """Put the commands among those of an app."""
    app.command("export")(export)
    app.command("import")(import_file)
    app.command("bake")(bake_recipe)


def export(
    recipe: Annotated[str, typer.Argument(help=RECIPE_HELP)],
    bundle: Annotated[Path, typer.Option(help="Folder to write, which holds nothing else.")],
    name: Annotated[str, typer.Option(help="What to call it; the first step's name unless given.")] = "",
    model: Model = None,
) -> None:
    """Write one folder that llama.cpp, repeng, steering-vectors, IBM's library or transformers can steer with.

    It holds what the recipe names as well, and the sweeps of this very recipe that the store has.
    """
    from capture.models import load_session
    from steering.bundle import make_bundle, write_bundle
    from steering.recipe_file import named_recipe
    from steering.recipe_sweeps import recipe_sweeps, sweep_words
    from steering.tune_commands import kept_store

    found = named_recipe(recipe)
    session = load_session(model or found.model or "stories")
    with kept_store("The scores of its sweeps are not looked up.") as store:
        spelled = [one.recipe() for one in found.interventions]
        sweeps = recipe_sweeps(store, spelled, session.fingerprint, session.dtype) or found.sweeps
    made = make_bundle(session, found.interventions, name, sweeps)
    for words in made.warnings:
        typer.echo(f"Note: {words}")
    for one in made.carried:
        typer.echo(f"Carries {one.words()}")
    for sweep in sweeps:
        typer.echo(f"Scores of {sweep_words(sweep)}")
    typer.echo(f"{made.n_bytes / 1e6:.2f} MB in {len(made.files)} files, to {bundle}")
    write_bundle(made, bundle)
    typer.echo(f"{len(made.files)} files written to {bundle}: {', '.join(made.files)}")


def import_file(
    file: Annotated[
        Path, typer.Argument(help=".gguf, .svec, .json, .npz, .safetensors; a bundle or another folder, or its ZIP.")
    ],
    name: Annotated[str, typer.Option(help="Name on the shelf; the file's unless given.")] = "",
    model: Annotated[str, typer.Option(help="The model that it is for and is checked against; '' for none.")] = (
        "stories"
    ),
    blocks: Annotated[
        Literal["as-used", "as-measured"] | None,
        typer.Option(help="For a file of llama.cpp's cvector-generator: as llama.cpp steers, or one block earlier."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Under what terms the vectors may be used.")] = "",
) -> None:
    """Put the vectors of another tool's file, or a bundle with all that it carries, on the shelf."""
    from capture.models import load_session
    from steering.importing import import_any, imported_lines

    is_whole = file.is_dir() or file.suffix == ".zip"
    session = load_session(model) if model and not is_whole and file.is_file() else None
    found = import_any(file, name, session, read_texts(TOUR), blocks or "", licence)
    typer.echo("\n".join(imported_lines(found)))


def bake_recipe(
    recipe: Annotated[str, typer.Argument(help=RECIPE_HELP)],
    out: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    every_token: Annotated[
        bool, typer.Option("--every-token/--as-scoped", help="Let steps act at every token, whatever their scope.")
    ] = False,
    model: Model = None,
) -> None:
    """Fold a recipe into the weights of a transformers folder, and compare it with the hooks."""
    from capture.models import load_session
    from steering.baked_folder import write_baked
    from steering.recipe_file import named_recipe

    found = named_recipe(recipe)
    name = model or found.model or "stories"
    session = load_session(name, device="cpu")
    worst = write_baked(name, session, found.interventions, out, every_token, read_texts(TOUR)[0])
    typer.echo(f"Model written to {out}; its logits differ from those of the hooks by at most {worst:.2g}")
