"""Method: one way to steer, found by discovery; what it is fitted on, its options, its fit and its use."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from capture.errors import UserError
from capture.option import Option, OptionValue

if TYPE_CHECKING:
    from capture.hook_point import HookPoint
    from capture.intervention import Intervention
    from capture.session import ModelSession
    from steering.contrast_pairs import Contrast
    from steering.fitted import Fitted, Setting

Options = Mapping[str, OptionValue]
Progress = Callable[[float, str], None]
Fit = Callable[["ModelSession", "Contrast", Sequence["HookPoint"], Options, Progress], "Fitted"]
Apply = Callable[["Fitted", "Setting"], "tuple[Intervention, ...]"]
NEEDS = {
    "pairs": "contrast pairs",
    "labels": "texts of two labels, paired or not",
    "classes": "texts of two or more labels",
    "one pair": "a single pair",
    "direction": "the vectors of another method",
    "models": "a tuned model and the same one untuned",
    "sentence": "a sentence and a trained hypernetwork",
}


@dataclass(frozen=True)
class Method:
    """One steering method; `fit` is None where it uses the vectors of another."""

    slug: str
    title: str
    paper: str
    needs: str
    """A key of NEEDS."""
    fitted_by: str
    apply: Apply
    fit: Fit | None = None
    options: tuple[Option, ...] = ()
    sites: tuple[str, ...] = ("resid_post",)
    """Sites that it is fitted at, the usual one first."""
    scope: str = "all"
    """The token scope of its paper, one of steering.token_scope.SCOPES."""
    is_additive: bool = False
    """Whether it adds its vectors, so that a random vector of that length is what chance gives."""
    labels_decide: bool = True
    """Whether exchanging the labels of half the texts is a fit by chance: not where something else makes the vector."""
    chooses_layers: bool = False
    """Whether it is fitted at all layers, and picks among them, unless some are named."""

    def __post_init__(self) -> None:
        if self.needs not in NEEDS:
            raise ValueError(f"a method needs one of {', '.join(NEEDS)}; got {self.needs!r}")


@cache
def methods() -> dict[str, Method]:
    """Every method by its slug, in the order of their names."""
    import steering.methods

    names = [module.name for module in pkgutil.iter_modules(steering.methods.__path__)]
    modules = [importlib.import_module(f"steering.methods.{name}") for name in sorted(names)]
    found = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    return {method.slug: method for method in found}


def method_named(slug: str) -> Method:
    """The method of a name; raises UserError for an unknown one."""
    if slug not in methods():
        raise UserError(f"No steering method is called {slug!r}.", f"Choose one of: {', '.join(methods())}.")
    return methods()[slug]


def silent(share: float, words: str) -> None:
    """Progress that nobody looks at."""
