"""How much a hypernetwork's vectors help, cheaply: the likelihood of texts that no fit saw, by own and other vectors.

For each concept: the mean, over a few of its texts kept for evaluation, of log-likelihood per token with its own vector
less that without (gain), and less that with the vector of another concept (specific gain), at one factor. A vector
that depends on the prompt is made for each text's own. Means over concepts with intervals by bootstrap, concepts held
in and held out apart. Generation, fluency and the choice of a strength are for `concepts evaluate`; this needs a
forward pass a text, so that many hypernetworks can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from capture.errors import UserError
from capture.session import ModelSession
from steering.concept_rows import Row, rows_of_concept
from steering.concepts import Concept, ConceptSet
from steering.hypernetwork_folder import TrainedHypernetwork
from steering.hypernetwork_losses import added_rows, steered_losses
from steering.scores import interval
from steering.sentence_vector import sentence_vectors

N_TEXTS, N_BATCH = 4, 32
PARTS = ("held_in", "held_out")
KINDS = ("gain", "specific")


def gains(
    trained: TrainedHypernetwork,
    session: ModelSession,
    concepts: ConceptSet,
    n_texts: int = N_TEXTS,
    factor: float = 1.0,
) -> dict[str, Any]:
    """Of each part: how many concepts, gain and specific gain in nats per token with intervals, and of each concept.

    `length` is the mean length of what is added, in mean norms; `alike` the mean cosine between the vectors of one
    sentence for two texts: 1 where the prompt has no say. Raises UserError for a hypernetwork of another model, and a
    set without concepts that it learnt.
    """
    learnt, held_out = set(trained.learnt), concepts.held_out
    parts = {"held_in": [one for one in concepts.held_in if one.name in learnt], "held_out": held_out}
    if not parts["held_in"]:
        raise UserError(
            f"The hypernetwork learnt no concept of {concepts.title!r}.", "Name the set that it was trained on."
        )
    found = {part: _of_part(trained, session, some, n_texts, factor) for part, some in parts.items() if len(some) > 1}
    facts = {
        "n_learnt": len(trained.learnt),
        "n_steps": trained.facts.get("n_steps"),
        "variant": trained.recipe.variant,
        "loss": trained.recipe.loss,
        "factor": factor,
    }
    return {**facts, **found}


def above(row: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """Gains less those of another hypernetwork, with intervals over the concepts of each part that both have."""
    found: dict[str, Any] = {}
    for part in (part for part in PARTS if part in row and part in first):
        own, other = row[part]["each"], first[part]["each"]
        both = [name for name in own if name in other]
        less = {kind: [own[name][kind] - other[name][kind] for name in both] for kind in KINDS}
        found[part] = {kind: asdict(interval(values)) for kind, values in less.items()}
    return found


def _of_part(
    trained: TrainedHypernetwork, session: ModelSession, concepts: Sequence[Concept], n_texts: int, factor: float
) -> dict[str, Any]:
    recipe = trained.recipe
    texts = [(one, rows) for one in concepts if (rows := _rows(session, one, recipe, n_texts))]
    sizes = [len(rows) for _, rows in texts]
    every = [row for _, rows in texts for row in rows]
    said = [one.asked[0] for one, rows in texts for _ in rows]
    # Each concept's texts under the vector of the concept after it.
    others = [texts[(n + 1) % len(texts)][0].asked[0] for n, size in enumerate(sizes) for _ in range(size)]
    vectors, other_vectors = (factor * _vectors(session, trained, every, some) for some in (said, others))
    clean = _losses(session, trained, every, None)
    own, other = (clean - _losses(session, trained, every, some) for some in (vectors, other_vectors))
    means = [[float(part.mean()) for part in values.split(sizes)] for values in (own, own - other)]
    return {
        "n": len(texts),
        **{kind: asdict(interval(values)) for kind, values in zip(KINDS, means, strict=True)},
        "length": float(vectors.norm(dim=1).mean()) / trained.mean_norm,
        "alike": _alike(vectors.split(sizes)),
        "each": {one.name: dict(zip(KINDS, both, strict=True)) for (one, _), *both in zip(texts, *means, strict=True)},
    }


def _alike(groups: Sequence[Float[Tensor, "_ d"]]) -> float | None:
    """Mean cosine between two vectors of a group, over the groups that have two."""
    cosines = []
    for some in (normalize(group, dim=1) for group in groups if len(group) > 1):
        n = len(some)
        cosines.append((float(some.sum(dim=0).square().sum()) - n) / (n * (n - 1)))
    return sum(cosines) / len(cosines) if cosines else None


def _rows(session: ModelSession, concept: Concept, recipe: Any, n_texts: int) -> tuple[Row, ...]:
    part = concept.evaluation
    return rows_of_concept(session, part, recipe.longest, recipe.bos).positives[:n_texts] if part.positives else ()


def _vectors(
    session: ModelSession, trained: TrainedHypernetwork, rows: Sequence[Row], sentences: Sequence[str]
) -> Float[Tensor, "rows d"]:
    """The vector of each sentence for the prompt of its row, at factor 1."""
    found = []
    for start in range(0, len(rows), N_BATCH):
        prompts = [row.prompt for row in rows[start : start + N_BATCH]]
        found += sentence_vectors(trained, session, sentences[start : start + N_BATCH], prompts)
    return torch.stack([one.vector for one in found])


def _losses(
    session: ModelSession, trained: TrainedHypernetwork, rows: Sequence[Row], vectors: Float[Tensor, "rows d"] | None
) -> Float[Tensor, "rows"]:
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), N_BATCH):
            some, added = rows[start : start + N_BATCH], None
            if vectors is not None:
                added = added_rows(vectors[start : start + N_BATCH], some, 1.0, trained.recipe.skip_first)
            found.append(steered_losses(session, some, trained.at, added))
    return torch.cat(found)
