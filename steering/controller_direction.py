"""The direction that a controller's patch goes in: of phrases, of contrast pairs, or of saved vectors; length 1."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import unit
from steering.fitted import Fitted
from steering.fitting import fit_method
from steering.method import method_named
from steering.vector_folder import read_vectors

SEPARATOR = ";"


def phrase_direction(session: ModelSession, wanted: Sequence[str], unwanted: Sequence[str]) -> Float[Tensor, "d_model"]:
    """The paper's: mean unembedding row over the tokens of the wanted phrases minus that of the others, at length 1.

    It lives in the space of the unembedding, and one serves all layers. It depends on the tokenizer. A phrase stands
    in running text, so it is read with a space before it.
    """
    rows = session.weight("W_U", 0).float().T.cpu()  # [d_vocab d_model]
    means = []
    for phrases in (wanted, unwanted):
        tokens = [token for phrase in phrases for token in session.tokens(f" {phrase.strip()}", bos=False)]
        if not tokens:
            raise UserError("A phrase direction needs phrases on both sides; one side has none.", "Write one for each.")
        means.append(rows[torch.tensor(tokens)].mean(dim=0))
    return unit(means[0] - means[1])


def split_phrases(given: str) -> list[str]:
    """The phrases in a text that separates them by semicolons."""
    return [one.strip() for one in given.split(SEPARATOR) if one.strip()]


def difference_directions(session: ModelSession, contrast: Contrast, layers: Sequence[int]) -> Tensor:
    """The mean difference of each layer over every token of the texts, at length 1: [layers d_model]."""
    options = {"positions": "all"}
    fitted = fit_method(method_named("mean_difference"), session, contrast, layers, options, "resid_post")
    return torch.stack([unit(vector) for _, vector in sorted(fitted.vectors.items())])


def saved_directions(
    session: ModelSession, folder: Path, layers: Sequence[int] | None
) -> tuple[tuple[int, ...], Float[Tensor, "layers d_model"]]:
    """Layers and directions of a folder of vectors; one vector serves all layers that are asked for.

    Raises UserError where it is of another model, has no block outputs, or lacks a layer that is asked for.
    """
    fitted = _of_this_model(session, read_vectors(folder))
    known = {
        at.layer: vector.float()
        for at, vector in fitted.vectors.items()
        if at.site == "resid_post" and at.layer is not None and vector.ndim == 1
    }
    if not known:
        raise UserError(
            f"{folder.name} has no vector of a block's output.", "Fit one with --site resid_post, or use pairs."
        )
    chosen = tuple(sorted(known) if layers is None else layers)
    (lonely, *others) = known.values()
    missing = [layer for layer in chosen if layer not in known]
    if missing and others:
        raise UserError(
            f"{folder.name} has vectors of layers {', '.join(map(str, sorted(known)))}; {missing[0]} was asked for.",
            "Choose among them.",
        )
    return chosen, torch.stack([unit(known.get(layer, lonely)) for layer in chosen])


def _of_this_model(session: ModelSession, fitted: Fitted) -> Fitted:
    if fitted.facts.get("fingerprint") != session.fingerprint:
        raise UserError(
            f"These vectors were fitted on {fitted.facts.get('model')!r} with other weights than {session.name!r}.",
            "Fit them on this model.",
        )
    return fitted
