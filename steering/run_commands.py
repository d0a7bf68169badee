"""`python cli.py steer run`: what a model writes on a prompt, clean and under a recipe."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from steering.export_commands import RECIPE_HELP

if TYPE_CHECKING:
    from capture.intervention import Intervention
    from capture.sampling import Sampling
    from capture.session import ModelSession

# Modules that load torch are imported inside the command, so that --help answers at once.


def run_recipe(
    recipe: Annotated[str, typer.Argument(help=RECIPE_HELP)],
    prompt: Annotated[str, typer.Option(help="The text to write on.")],
    n_tokens: Annotated[int, typer.Option(help="Most new tokens.", min=1, max=100_000)] = 64,
    multiple: Annotated[list[float] | None, typer.Option(help="Multiple of the recipe's strength; repeat.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling, the same for every text.", min=0)] = 0,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.", min=0.0)] = 0.8,
    top_p: Annotated[float, typer.Option(help="Share of probability that is sampled from.")] = 0.95,
    top_k: Annotated[int, typer.Option(help="Likeliest tokens that are sampled from; 0 for all.", min=0)] = 0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1, seen tokens become less likely.")] = 1.0,
    bos: Annotated[bool, typer.Option("--bos/--no-bos", help="Begin with the BOS token.")] = True,
    model: Annotated[str | None, typer.Option(help="The model; the one that the recipe names unless given.")] = None,
) -> None:
    """Write on a prompt, clean and under a recipe, from one seed."""
    from capture.models import load_session
    from capture.sampling import Sampling
    from steering.recipe_file import named_recipe

    found = named_recipe(recipe)
    session = load_session(model or found.model or "stories")
    sampling = Sampling(seed, temperature, top_p, top_k, repetition_penalty)
    tokens = session.tokens(prompt, bos)
    lines = written_lines(session, tokens, found.interventions, multiple or [1.0], n_tokens, sampling)
    typer.echo("\n".join(lines))


def written_lines(
    session: "ModelSession",
    tokens: Sequence[int],
    recipe: "Sequence[Intervention]",
    multiples: Sequence[float],
    n_tokens: int,
    sampling: "Sampling",
) -> list[str]:
    """A line for the clean text, and one for each multiple of the recipe's strength; rows of one batch."""
    from capture.generation import GenerationRow
    from steering.recipe import scaled

    prompt = tuple(tokens)
    rows = [GenerationRow(prompt), *(GenerationRow(prompt, scaled(recipe, one)) for one in multiples)]
    texts = session.generate_rows(rows, n_tokens, sampling)
    names = ["clean", *(f"steered × {one:g}" for one in multiples)]
    width = max(map(len, names))
    return [f"{name:<{width}}  {said(session, text)}" for name, text in zip(names, texts, strict=True)]


def said(session: "ModelSession", tokens: Sequence[int]) -> str:
    """New tokens as text on one line; special ones are left out."""
    kept = [token for token in tokens if token not in session.special_tokens]
    return " ".join("".join(session.token_texts(kept)).split())
