"""The vectors that a hypernetwork imitates: one of a steering method for each concept, at length 1, kept in a file."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession
from capture.written_file import replace_file
from sae.tensor_file import read_tensors
from steering.concepts import Concept
from steering.direction import unit
from steering.fitting import fit_method
from steering.method import method_named

TEACHERS = ".teachers.safetensors"
EVERY_TOKEN = {"positions": "all"}
Progress = Callable[[float, str], None]


def taught_vectors(
    session: ModelSession, concepts: Sequence[Concept], at: HookPoint, slug: str, folder: Path, progress: Progress
) -> dict[str, Float[Tensor, "d"]]:
    """The unit vector of each concept by a method fitted on its training texts; read again where a run goes on.

    A method that may read one position or every one reads every one.
    """
    path = folder / TEACHERS
    kept = read_tensors(path) if path.is_file() else {}
    if {one.name for one in concepts} <= set(kept):
        return {one.name: kept[one.name] for one in concepts}
    method = method_named(slug)
    options = EVERY_TOKEN if any(option.name == "positions" for option in method.options) else {}
    found = {}
    for n, concept in enumerate(concepts):
        fitted = fit_method(method, session, concept.training.contrast(), [at.layer or 0], options, at.site)
        found[concept.name] = unit(fitted.vectors[at].float())
        progress(0.0, f"fitting {method.title} to {concept.name}, {n + 1:,} of {len(concepts):,}")
    replace_file(path, save(found))
    return found
