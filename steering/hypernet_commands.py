"""`python cli.py hypernet …`: train a hypernetwork, list those on the shelf, make a vector from a sentence."""

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sae.commands import Teller, with_fields
from steering.hypernetwork_recipe import NO_CONTEXT, HypernetworkRecipe

if TYPE_CHECKING:
    from capture.session import ModelSession
    from steering.hypernetwork_folder import TrainedHypernetwork
    from steering.sentence_vector import SentenceVector

# Modules that load torch are imported inside the commands, so that --help answers at once.
hypernet_app = typer.Typer(no_args_is_help=True, help="Train hypernetworks, list them, make vectors from sentences.")
Model = Annotated[str, typer.Option(help="Bundled name, transformers folder or hub name.")]
N_SHOWN = 8


@hypernet_app.command("train")
@with_fields(HypernetworkRecipe)
def train(
    concepts: Annotated[str, typer.Option(help="A bundled concept set, or a JSON file of concepts.")],
    out: Annotated[Path, typer.Option(help="Folder for hypernetwork and checkpoint; an interrupted run goes on here.")],
    hook: Annotated[
        str | None, typer.Option(help="Hook point to steer at; the middle block's output unless given.")
    ] = (None),
    model: Model = "stories",
    threads: Annotated[int, typer.Option(help="Threads of torch.", min=1)] = 1,
    save_every_s: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    goes_on: Annotated[
        bool, typer.Option("--go-on/--as-it-is", help="Train on, or write the hypernetwork of the last checkpoint.")
    ] = True,
    **given: Any,
) -> None:
    """Train a hypernetwork through a frozen model, or go on with a run that stopped."""
    import torch

    from capture.hook_point import HookPoint
    from capture.models import load_session
    from steering.concepts import read_concepts
    from steering.hypernetwork_making import make_hypernetwork
    from steering.hypernetwork_training import Run

    recipe = HypernetworkRecipe(**{field.name: given[field.name] for field in fields(HypernetworkRecipe)})
    recipe.check()
    found = read_concepts(concepts)
    torch.set_num_threads(threads)
    meant_for = load_session(model)
    session = meant_for if recipe.precision == meant_for.dtype else load_session(model, recipe.precision)
    at = HookPoint.parse(hook) if hook else HookPoint(session.shape.n_layers // 2, "resid_post")
    run = Run(session, found, at, recipe, out)
    trained = make_hypernetwork(run, Teller(recipe.n_steps), save_every_s, meant_for, goes_on)
    typer.echo(f"Hypernetwork of {len(trained.learnt):,} concepts written to {out}")


@hypernet_app.command("list")
def list_hypernetworks() -> None:
    """List the hypernetworks that can be named: bundled, trained in the app, opened."""
    from steering.sentence_vector import HYPERNETWORKS
    from steering.shelf import SHORT, shelved

    found = shelved(HYPERNETWORKS)
    for one in found:
        said = one.manifest
        variant = str(said.get("recipe", {}).get("variant")).replace("_", " ")
        place = f"{said.get('hook_point')} of {one.facts.get('model')}"
        typer.echo(f"{one.name} ({one.digest[:SHORT]}): {variant}, {place}, {len(said.get('learnt', [])):,} concepts")
    if not found:
        typer.echo("None is on the shelf: train one with hypernet train.")


@hypernet_app.command("say")
def say(
    sentence: Annotated[str, typer.Argument(help="What the text is to be steered towards, such as: the sea.")],
    hypernetwork: Annotated[str, typer.Option(help="Name or digest on the shelf, or a folder.")] = "",
    prompt: Annotated[str, typer.Option(help="The prompt, for a hypernetwork that reads it.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder to write the vector to, as `steer fit` does.")] = None,
    model: Model = "stories",
) -> None:
    """Make a vector from a sentence, and print what is known of it."""
    from capture.models import load_session
    from steering.sentence_vector import fitted_of, named_hypernetwork, sentence_vector
    from steering.sentence_words import strangest_word
    from steering.vector_folder import write_vectors

    session = load_session(model)
    name, trained = named_hypernetwork(hypernetwork, session)
    tokens = session.tokens(prompt, trained.recipe.bos) if prompt else ()
    found = sentence_vector(trained, session, sentence, tokens)
    typer.echo("\n".join([f"By {name}", *vector_lines(found, session), *prompt_lines(found, trained, session, prompt)]))
    if out is not None:
        write_vectors(fitted_of(found, trained, name), out)
        typer.echo(f"Vector written to {out}")
    if strange := strangest_word(session, trained.facts, found.sentence):
        typer.echo(strange.warning)


@hypernet_app.command("gains")
def gains_of(
    hypernetwork: Annotated[list[str], typer.Argument(help="Names or digests on the shelf, or folders.")],
    named: Annotated[str, typer.Option("--concepts", help="The concept set that they were trained on.")] = "stories",
    factor: Annotated[float, typer.Option(help="What the vectors are multiplied by; 1 is as they were trained.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    model: Model = "stories",
) -> None:
    """Print how much likelier texts that no fit saw become, under their own concept's vector and under another's."""
    from capture.models import load_session
    from capture.written_file import write_file
    from steering.concepts import read_concepts
    from steering.hypernetwork_gains import above, gains
    from steering.sentence_vector import named_hypernetwork

    session, concepts = load_session(model), read_concepts(named)
    rows: list[dict[str, Any]] = []
    for one in hypernetwork:
        name, trained = named_hypernetwork(one, session)
        rows.append({"name": name, **gains(trained, session, concepts, factor=factor)})
        typer.echo("\n".join(gain_lines(rows[-1])))
        if len(rows) > 1:
            rows[-1]["above_first"] = above(rows[-1], rows[0])
            typer.echo("\n".join(above_lines(rows[-1], rows[0]["name"])))
    if out is not None:
        write_file(out, (json.dumps({"concepts": concepts.digest(), "rows": rows}, indent=1) + "\n").encode())
        typer.echo(f"Gains written to {out}")


def gain_lines(row: dict[str, Any]) -> list[str]:
    """The gains of one hypernetwork in words, a line for each part."""
    from steering.hypernetwork_gains import KINDS, PARTS

    lines = []
    for part in (part for part in PARTS if part in row):
        found = row[part]
        said = [f"{kind} {_interval(found[kind])}" for kind in KINDS]
        said.append(f"{found['length']:.2f} mean norms long")
        if row["variant"] != NO_CONTEXT and found["alike"] is not None:
            said.append(f"cosine {found['alike']:.3f} between prompts")
        lines.append(f"{row['name']}, {row['n_learnt']:,} learnt, {found['n']:,} {part}: {', '.join(said)}")
    return lines


def above_lines(row: dict[str, Any], first: str) -> list[str]:
    """What one hypernetwork gains more than the first."""
    return [
        f"  {part}, more than {first}: {', '.join(f'{kind} {_interval(one)}' for kind, one in found.items())}"
        for part, found in row["above_first"].items()
    ]


def _interval(found: dict[str, float]) -> str:
    return f"{found['mean']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


def vector_lines(found: "SentenceVector", session: "ModelSession") -> list[str]:
    """What is known of a sentence's vector, in words."""
    from steering.sentence_vector import nearest_vectors, promoted_tokens

    up, down = promoted_tokens(found.vector, session, N_SHOWN)
    near = nearest_vectors(found.vector, found.at, session.fingerprint, 3)
    lines = [
        f"{found.at}: length {found.norm:.4g}, mean activation {found.mean_norm:.4g}",
        f"promotes {_tokens(up, session)}",
        f"suppresses {_tokens(down, session)}",
        f"nearest vectors: {', '.join(f'{one.name} {one.cosine:+.2f}' for one in near) or 'none is on the shelf'}",
        f"nearest learnt concept: {found.nearest}, distance {found.distance:.3f}; far is above {found.far:.3f}",
    ]
    if found.is_far:
        lines.append("This sentence is far from everything that was learnt: expect little of its vector.")
    return lines


def prompt_lines(
    found: "SentenceVector", trained: "TrainedHypernetwork", session: "ModelSession", prompt: str
) -> list[str]:
    """What the prompt has to do with a vector, in words; nothing where none was given and none is read."""
    from steering.sentence_vector import likeness_without_prompt

    if not trained.reads_prompt:
        return ["The prompt was not read: this hypernetwork reads the sentence alone."] if prompt else []
    if not prompt:
        return ["This is the vector behind no prompt; each prompt has one of its own: give --prompt."]
    cosine = likeness_without_prompt(found, trained, session)
    return [f"This is the vector for this prompt alone; its cosine with that behind no prompt is {cosine:+.3f}."]


def _tokens(weights: list[tuple[int, float]], session: "ModelSession") -> str:
    texts = session.token_texts([token for token, _ in weights])
    return ", ".join(f"{text!r} {weight:+.2f}" for text, (_, weight) in zip(texts, weights, strict=True))
