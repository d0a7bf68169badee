"""Fitting a method by name: the one door through which the command line, a page and a notebook go."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.model_facts import model_facts
from capture.option import read_options
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.fitted import Fitted
from steering.method import NEEDS, Method, Options, Progress, silent


def fit_method(
    method: Method,
    session: ModelSession,
    contrast: Contrast,
    layers: Sequence[int],
    given: Mapping[str, Any] | None = None,
    site: str | None = None,
    progress: Progress = silent,
) -> Fitted:
    """The method fitted at a site (its usual one unless named) of some layers; its facts say from what.

    Raises UserError for texts of the wrong kind, options and sites that the method does not have, and layers that the
    model does not have.
    """
    site = site or method.sites[0]
    options = checked_options(method, contrast, layers, given or {}, site)
    assert method.fit is not None  # that was checked
    at = tuple(HookPoint(layer, site) for layer in dict.fromkeys(layers))
    fitted = method.fit(session, contrast, at, options, progress)
    facts = {
        **model_facts(session),
        "tokenizer": tokenizer_digest(session),
        "options": options,
        "texts": {"title": contrast.title, "digest": contrast.digest(), "labels": list(contrast.labels)},
        "n_texts": len(contrast.examples),
    }
    return Fitted(fitted.method, fitted.vectors, fitted.mean_norms, facts | dict(fitted.facts), fitted.tensors)


def checked_options(
    method: Method, contrast: Contrast, layers: Sequence[int], given: Mapping[str, Any], site: str
) -> Options:
    """The method's options with those that are given; raises as `fit_method` does, before any model is run."""
    options = read_options(method.options, given)
    if method.fit is None:
        raise UserError(f"{method.title} is not fitted: it {method.fitted_by}.", "Fit another method, and use it here.")
    _check_texts(method, contrast)
    if site not in method.sites:
        raise UserError(f"{method.title} is not fitted at {site!r}.", f"Choose one of: {', '.join(method.sites)}.")
    if not layers:
        raise UserError("A fit needs at least one layer; none was given.", "Name one, such as the middle one.")
    return options


def _check_texts(method: Method, contrast: Contrast) -> None:
    n_pairs, n_labels = len(contrast.examples) // 2, len(contrast.labels)
    if method.needs in ("pairs", "one pair") and not contrast.is_paired:
        raise UserError(f"{method.title} needs {NEEDS[method.needs]}; single texts were given.", "Give pairs.")
    if method.needs == "one pair" and n_pairs != 1:
        raise UserError(f"{method.title} needs a single pair; {n_pairs:,} were given.", "Keep one of them.")
    if method.needs == "labels" and n_labels != 2:
        raise UserError(f"{method.title} needs texts of two labels; {n_labels} were given.", "Keep two of them.")


def tokenizer_digest(session: ModelSession) -> str:
    """Digest of the texts of all tokens, in order."""
    texts = session.token_texts(range(session.shape.d_vocab))
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:20]
