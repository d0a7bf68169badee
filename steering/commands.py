"""`python cli.py steer …`: fit vectors from a file of pairs, score them, list the methods."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from capture.errors import UserError

if TYPE_CHECKING:
    from steering.contrast_pairs import Contrast
    from steering.fitted import Fitted

# Modules that load torch are imported inside the commands, so that --help answers at once.
steer_app = typer.Typer(no_args_is_help=True, help="Fit steering vectors, score them, list the methods.")
Model = Annotated[str, typer.Option(help="Bundled name, transformers folder or hub name.")]
Options = Annotated[list[str] | None, typer.Option("--option", help="name=value of the method; repeat.")]
Part = Literal["all", "first", "second"]
TOUR = Path(__file__).resolve().parent.parent / "data" / "texts" / "tour.json"


@steer_app.command("list")
def list_methods() -> None:
    """List the steering methods: what each needs, how it is fitted, its options."""
    from steering.method import NEEDS, methods

    for method in methods().values():
        typer.echo(f"{method.slug}: {method.title}. {method.paper}")
        typer.echo(
            f"  needs {NEEDS[method.needs]}; {method.fitted_by}; acts at {method.scope.replace('_', ' ')} tokens"
        )
        for option in method.options:
            values = f" ({', '.join(option.choices)})" if option.choices else ""
            typer.echo(f"  --option {option.name}={option.default}{values}  {option.help}")


@steer_app.command("fit")
def fit(
    method: Annotated[str, typer.Argument(help="Which method; `steer list` lists them.")],
    pairs: Annotated[Path, typer.Argument(help="A bundled set, or a .json, .jsonl or .csv file of pairs or texts.")],
    out: Annotated[Path, typer.Option(help="Folder to write manifest.json and vectors.safetensors to.")],
    layer: Annotated[
        list[int] | None, typer.Option(help="Block, from 0; repeat. Middle one, or all where it chooses.")
    ] = (None),
    site: Annotated[str | None, typer.Option(help="Site, such as resid_post; the method's usual one unless given.")] = (
        None
    ),
    half: Annotated[Part, typer.Option(help="Fit on all pairs, or on every second one and score on the others.")] = (
        "all"
    ),
    option: Options = None,
    model: Model = "stories",
) -> None:
    """Fit a method on a file of pairs, and write its vectors with all that they were made from."""
    from capture.models import load_session
    from steering.contrast_pairs import read_contrast
    from steering.fitting import fit_method
    from steering.method import method_named
    from steering.vector_folder import write_vectors

    chosen, contrast = method_named(method), read_contrast(pairs)
    session = load_session(model)
    n_layers = session.shape.n_layers
    layers = layer or (list(range(n_layers)) if chosen.chooses_layers else [n_layers // 2])
    fitted = fit_method(chosen, session, _part(contrast, half), layers, read_assignments(option), site)
    write_vectors(fitted, out)
    typer.echo("\n".join(fit_lines(fitted)))
    typer.echo(f"Vectors written to {out}")


@steer_app.command("score")
def score(
    folder: Annotated[Path, typer.Argument(help="Folder of vectors that `steer fit --half first` has written.")],
    pairs: Annotated[Path, typer.Argument(help="The set that they were fitted on.")],
    prompts: Annotated[Path, typer.Option(help="JSON text set of neutral prompts; the tour unless given.")] = TOUR,
    strength: Annotated[list[float] | None, typer.Option(help="Strength to try; repeat.")] = None,
    unit: Annotated[
        Literal["relative", "absolute"], typer.Option(help="Mean norms at the hook point, or as stored.")
    ] = ("relative"),
    n_null: Annotated[int, typer.Option(help="Draws of each null.", min=1)] = 8,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Write the scores into the manifest.")] = True,
    model: Model = "stories",
) -> None:
    """Print the dose-response on the pairs held out: concept score and null, KL, fluency. All are proxies."""
    from capture.models import load_session
    from steering.contrast_pairs import read_contrast
    from steering.dose_table import score_lines
    from steering.evaluation import STRENGTHS, evaluate
    from steering.vector_folder import read_vectors, write_vectors

    fitted, contrast = read_vectors(folder), read_contrast(pairs)
    session = load_session(model)
    question = _question(session, fitted, contrast, read_texts(prompts), unit, n_null)
    found = evaluate(question, strength or STRENGTHS)
    typer.echo("\n".join(score_lines(found)))
    if keep:
        write_vectors(fitted, folder, found.to_json())
        typer.echo(f"Scores written to {folder / 'manifest.json'}")


@steer_app.command("scores")
def list_scores() -> None:
    """List the judge-free scores, each with its formula; every one of them is a proxy."""
    from steering.dose_table import formula_lines

    typer.echo("\n".join(formula_lines()))


def _question(session: Any, fitted: "Fitted", contrast: "Contrast", prompts: list[str], unit: str, n_null: int) -> Any:
    """The vectors, the half they were fitted on, found by its digest, and the other half."""
    from steering.evaluation import Question
    from steering.fitted import Setting
    from steering.fitting import fit_method
    from steering.method import method_named

    if fitted.facts.get("fingerprint") != session.fingerprint:
        raise UserError(
            f"These vectors were fitted on {fitted.facts.get('model')!r} with other weights than {session.name!r}.",
            "Name that model with --model.",
        )
    halves = contrast.halves()
    digests = [half.digest() for half in halves]
    if (digest := (fitted.facts.get("texts") or {}).get("digest")) not in digests:
        raise UserError(
            "Scores are of pairs that the vectors were not fitted on, and these were fitted on other texts or on all.",
            "Fit them again with --half first, and name the same file.",
        )
    place = digests.index(digest)
    bos = bool(fitted.facts["options"].get("bos", True))
    method = method_named(fitted.method)
    points = sorted(fitted.vectors)
    layers = range(session.shape.n_layers) if method.chooses_layers else [at.layer or 0 for at in points]

    def refit(shuffled: "Contrast") -> "Fitted":
        return fit_method(method, session, shuffled, list(layers), fitted.facts["options"], points[0].site)

    setting = Setting(unit=unit, ranges=((1 if bos else 0, None),))
    return Question(
        session, method, fitted, halves[place], halves[1 - place], prompts, setting, refit, bos=bos, n_null=n_null
    )


def _part(contrast: "Contrast", half: Part) -> "Contrast":
    return contrast if half == "all" else contrast.halves()[0 if half == "first" else 1]


def read_texts(path: Path) -> list[str]:
    """The texts of a text set; raises UserError for a file that is none."""
    try:
        texts = json.loads(path.read_text("utf-8"))["texts"]
        if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
            raise ValueError("texts is no list of texts")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read as a text set: {error}.", "Give JSON with `texts`.") from error
    return texts


def read_assignments(given: list[str] | None) -> dict[str, str]:
    """Options from words such as positions=last; raises UserError for any other word."""
    found = {}
    for word in given or []:
        name, sign, value = word.partition("=")
        if not sign:
            raise UserError(f"An option is given as name=value; {word!r} was given.", "Write, e.g., positions=last.")
        found[name] = value
    return found


def fit_lines(fitted: "Fitted") -> list[str]:
    """What was fitted, in words."""
    lines = [f"{fitted.method} on {fitted.facts['n_texts']:,} texts of {fitted.facts['texts']['title']!r}"]
    for at, vector in sorted(fitted.vectors.items()):
        lines.append(f"{at}: length {float(vector.norm()):.4g}, mean activation {fitted.mean_norms[at]:.4g}")
    own = (
        "condition",
        "f1",
        "chosen",
        "clean_score",
        "heads",
        "components",
        "explained_variance",
        "training_accuracy",
        "explained",
    )
    return lines + [f"{name}: {json.dumps(fitted.facts[name])}" for name in own if name in fitted.facts]
