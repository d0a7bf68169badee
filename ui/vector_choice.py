"""Choosing steering vectors of the shelf: those for the view's model first, each with what it is and from what."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from analysis.spec import Spec
from ui import resources
from ui.step_words import place_words
from ui.words import shortened

if TYPE_CHECKING:
    from capture.hook_point import HookPoint
    from steering.shelf import Shelved

KIND = "vectors"
NONE = "Nothing on the shelf fits: fit one under Fit a vector."


def choose_vectors(
    asked: Spec, key: str, is_wanted: "Callable[[Shelved], bool]", label: str = "Vector"
) -> "Shelved | None":
    """A select box over the vectors for this model; None where there is none."""
    offered = {one.digest: one for one in vectors_for(asked) if is_wanted(one)}
    if not offered:
        st.caption(NONE)
        return None
    digest = st.selectbox(
        label,
        list(offered),
        format_func=lambda digest: vector_words(offered[digest]),
        help="From the shelf: bundled vectors, and those fitted or imported here.",
        key=key,
    )
    return offered.get(str(digest))


def vectors_for(asked: Spec) -> "list[Shelved]":
    """Vectors fitted on this model's weights, then those fitted on a model of its name in another precision."""
    from steering.shelf import shelved

    fingerprint = asked.fingerprint or resources.known_fingerprint(asked.model, asked.dtype)
    known = shelved(KIND)
    exact = [one for one in known if one.fits(fingerprint)]
    return exact + [one for one in known if one not in exact and one.facts.get("model") == asked.model]


def vector_words(one: "Shelved") -> str:
    """A vector in one line: name, method, hook points."""
    where = place_words(points_of(one))
    return shortened(f"{one.name} · {str(one.manifest.get('method')).replace('_', ' ')} · {where}", 90)


def choose_layers(one: "Shelved", key: str) -> list[int]:
    """The layers to use of vectors at several; empty for all."""
    layers = sorted({at.layer for at in points_of(one) if at.layer is not None})
    if len(layers) < 2:
        return []
    return st.multiselect("Blocks", layers, default=layers, key=f"{key}.{one.digest}")


def points_of(one: "Shelved") -> "list[HookPoint]":
    """The hook points of vectors on the shelf."""
    from capture.hook_point import HookPoint

    points = one.manifest.get("hook_points")
    return [HookPoint.parse(str(name)) for name in points.values()] if isinstance(points, dict) else []
