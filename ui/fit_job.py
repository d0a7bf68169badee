"""The job that fits a steering method on a set of texts, and keeps its vectors on the shelf."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from analysis.spec import Spec, from_code, to_code
from capture.errors import UserError
from ui import resources
from ui.job import JobKind, Outcome, Progress

if TYPE_CHECKING:
    from steering.contrast_pairs import Contrast

MAX_TEXT = 1_000_000
"""Characters of a set of texts that a job keeps in its recipe."""
FITTING = 0.95
BUNDLED, LINES = "bundled", "lines"


def fit_recipe(
    asked: Spec,
    name: str,
    method: str,
    texts: tuple[str, str],
    layers: Sequence[int],
    site: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The recipe of a fit.

    `texts` are (BUNDLED, name of the set), (LINES, pairs, one a line) or (name of a file, its text).
    Raises UserError for what the method cannot be fitted on, before anything is run.
    """
    from steering.fitting import checked_options
    from steering.method import method_named

    if len(texts[1]) > MAX_TEXT:
        message = f"A set of texts here has at most {MAX_TEXT:,} characters; {len(texts[1]):,} were given."
        raise UserError(message, "Give fewer texts, or fit on the command line: python cli.py steer fit.")
    chosen = method_named(method)
    read = checked_options(chosen, contrast_of(texts), layers, options, site)
    return {
        "model": asked.model,
        "dtype": asked.dtype,
        "name": name,
        "method": method,
        "texts": list(texts),
        "layers": list(layers),
        "site": site,
        "options": dict(read),
        "view": to_code(asked),
    }


def contrast_of(texts: Sequence[str]) -> "Contrast":
    """The set of texts of a recipe."""
    from steering import contrast_pairs as sets

    name, text = texts
    if name == BUNDLED:
        return sets.read_contrast(Path(text))
    return sets.contrast_of_lines(text) if name == LINES else sets.contrast_of_text(name, text)


def _fit(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    progress(0.0, "starting the engine")
    resources.warm_up()
    from steering.fitting import fit_method
    from steering.method import method_named
    from steering.shelf import put_on_shelf
    from steering.vector_folder import write_vectors

    session = resources.load(recipe["model"], recipe["dtype"])
    progress(0.0, "reading the texts")
    contrast, method = contrast_of(recipe["texts"]), method_named(recipe["method"])
    fitted = fit_method(
        method,
        session,
        contrast,
        recipe["layers"],
        recipe["options"],
        recipe["site"],
        lambda share, words: progress(FITTING * share, words),
    )
    with TemporaryDirectory() as folder:
        write_vectors(fitted, Path(folder))
        shelved = put_on_shelf("vectors", Path(folder), recipe["name"])
    return Outcome(to_code(_view_with(from_code(recipe["view"]), shelved.digest)), shelved.digest)


def _view_with(view: Spec, digest: str) -> Spec:
    """The view from which the fit was asked for, with its vectors as the last step; a condition is no step."""
    from steering.shelf import CONDITION, find_shelved
    from steering.shelf_step import step_from_shelf

    if find_shelved("vectors", digest).manifest.get("method") == CONDITION:
        return view
    return view.with_(interventions=(*view.interventions, step_from_shelf(digest).recipe()))


FIT = JobKind("fit-vectors", "model", _fit)
