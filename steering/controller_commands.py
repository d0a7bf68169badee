"""`python cli.py controller …`: train controllers, score them beside other systems, ask one about a prompt."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from sae.commands import Teller, with_fields
from steering.controller_recipe import ControllerRecipe

# Modules that load torch are imported inside the commands, so that --help answers at once.
controller_app = typer.Typer(no_args_is_help=True, help="Train controllers: steering that decides by itself.")
N_TOLD = 2000
"""Reports of progress of which a hundredth part is printed, and one each ten seconds."""
Model = Annotated[str, typer.Option(help="Bundled name, transformers folder or hub name.")]
HeldOut = Annotated[
    Path | None, typer.Option(help="Prompts to score on; 30 % of the others, by lot, unless given or they have theirs.")
]


@controller_app.command("train")
@with_fields(ControllerRecipe)
def train(
    prompts: Annotated[
        Path, typer.Argument(help="A bundled set, or labelled prompts; `controller formats` lists how.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the controller; a run that was stopped goes on here.")],
    held_out: HeldOut = None,
    score: Annotated[bool, typer.Option("--score/--no-score", help="Measure it on the prompts held out.")] = True,
    shelve: Annotated[bool, typer.Option("--shelve/--no-shelve", help="Put it on the shelf, where views find it.")] = (
        False
    ),
    model: Model = "stories",
    save_every_s: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 20.0,
    **given: Any,
) -> None:
    """Train a controller on labelled prompts, score it on others, or go on with a run that stopped."""
    from capture.models import load_session
    from steering.controller_making import Asked, make_controller, score_lines

    recipe = ControllerRecipe(**{field.name: given[field.name] for field in fields(ControllerRecipe)})
    asked = Asked(prompts, recipe, out, held_out, score, save_every_s)
    made = make_controller(load_session(model), asked, Teller(N_TOLD))
    if made.scores is not None:
        typer.echo("\n".join(score_lines(made.name, made.scores)))
    typer.echo(f"Controller written to {out}")
    if shelve:
        from steering.controller_folder import KIND
        from steering.shelf import put_on_shelf

        one = put_on_shelf(KIND, out, out.resolve().name)
        typer.echo(f"On the shelf as {one.name}, {one.digest}")


@controller_app.command("score")
def score(
    folders: Annotated[list[Path], typer.Argument(help="Folders of controllers with one direction, to be compared.")],
    prompts: Annotated[Path, typer.Option(help="What they learnt from; CAST's condition is fitted on it.")],
    held_out: HeldOut = None,
    pairs: Annotated[str, typer.Option(help="Contrast set for the effect; the one they name unless given.")] = "",
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Write the scores into the manifests.")] = True,
    model: Model = "stories",
) -> None:
    """Print the table of controllers beside each other, constant steering, CAST and known labels."""
    from capture.models import load_session
    from steering.controller_folder import read_controller, write_controller
    from steering.controller_making import score_lines, scored_together

    found = scored_together(load_session(model), folders, prompts, held_out, pairs, Teller(N_TOLD))
    for folder in folders:
        typer.echo("\n".join(score_lines(folder.resolve().name, found[folder.resolve().name])))
        if keep:
            write_controller(read_controller(folder), folder, found[folder.resolve().name].to_json())
    if keep:
        typer.echo("Scores written to the manifests")


@controller_app.command("ask")
def ask(
    controller: Annotated[str, typer.Argument(help="Name or digest on the shelf.")],
    text: Annotated[str, typer.Option(help="The prompt.")],
    strength: Annotated[float | None, typer.Option(help="α; what it was trained for unless given.")] = None,
    n_tokens: Annotated[int, typer.Option(help="Tokens to write on.", min=1, max=400)] = 40,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    model: Model = "stories",
) -> None:
    """Say what a controller decides on a prompt, and print the text without and with it."""
    from capture.models import load_session
    from steering.controller_view import looked_at

    seen = looked_at(load_session(model), controller, text, strength, n_tokens, seed)
    weights = ", ".join(f"{layer}: {w:.2f}" for layer, w in zip(seen.layers, seen.decision.weights, strict=True))
    typer.echo(f"s {seen.decision.s:+.3f} (probability {seen.decision.probability:.2f}); w by block {weights}")
    typer.echo(f"\nwithout: {text}{seen.clean}\n\nwith α {seen.strength:g}: {text}{seen.steered}")


@controller_app.command("list")
def list_controllers() -> None:
    """List the controllers on the shelf: model, variant, target, held-out scores."""
    from steering.controller_folder import KIND
    from steering.shelf import SHORT, shelved

    for one in shelved(KIND):
        facts, scores = one.facts, one.manifest.get("scores")
        area = f", AUROC {scores['auroc']:.3f}" if isinstance(scores, dict) and "auroc" in scores else ""
        typer.echo(
            f"{one.name} ({one.digest[:SHORT]}): {facts.get('variant')}, acts on {facts.get('target')!r}, "
            f"for {facts.get('model')}{area}{', bundled' if one.is_bundled else ''}"
        )


@controller_app.command("export")
def export(
    controller: Annotated[str, typer.Argument(help="Name or digest on the shelf.")],
    out: Annotated[Path, typer.Option(help="Folder for controller.safetensors and manifest.json.")],
) -> None:
    """Write a controller as safetensors and JSON, with the formula that it means."""
    from capture.written_file import write_file
    from steering.controller_folder import FILES, shelved_controller

    one, _ = shelved_controller(controller)
    for name in FILES:
        write_file(out / name, (one.folder / name).read_bytes())
    typer.echo(f"{', '.join(FILES)} of {one.name} written to {out}")


@controller_app.command("import")
def import_controller(
    folder: Annotated[Path, typer.Argument(help="Folder with controller.safetensors and manifest.json.")],
    name: Annotated[str | None, typer.Option(help="What to call it; the folder's name unless given.")] = None,
) -> None:
    """Put a controller that someone else trained on the shelf, after a check of all that it holds."""
    from steering.controller_folder import KIND, read_controller
    from steering.shelf import put_on_shelf

    read_controller(folder)
    one = put_on_shelf(KIND, folder, name or folder.resolve().name)
    typer.echo(f"On the shelf as {one.name}, {one.digest}")


@controller_app.command("formats")
def formats() -> None:
    """List the layouts of labelled prompts that are read."""
    from steering.prompt_file import prompt_formats

    typer.echo("csv, tsv, jsonl and json with text and label, or our own layouts of pairs and texts")
    for name, module in prompt_formats().items():
        typer.echo(f"{name}: {module.TITLE}")
