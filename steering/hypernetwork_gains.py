"""How much a hypernetwork's vectors help, cheaply: the likelihood of texts that no fit saw, by own and other vectors.

For each concept: the mean, over a few of its texts kept for evaluation, of log-likelihood per token with its own vector
less that without (gain), and less that with the vector of another concept (specific gain), at factor 1. Means over
concepts with intervals by bootstrap, concepts held in and held out apart. Generation, fluency and the choice of a
strength are for `concepts evaluate`; this needs a forward pass a text, so that many hypernetworks can be compared.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

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


def gains(
    trained: TrainedHypernetwork, session: ModelSession, concepts: ConceptSet, n_texts: int = N_TEXTS
) -> dict[str, Any]:
    """Of each part: how many concepts, and gain and specific gain in nats per token, each with its interval.

    Raises UserError for a hypernetwork of another model, and a set without concepts that it learnt.
    """
    learnt, held_out = set(trained.learnt), concepts.held_out
    parts = {"held_in": [one for one in concepts.held_in if one.name in learnt], "held_out": held_out}
    if not parts["held_in"]:
        raise UserError(
            f"The hypernetwork learnt no concept of {concepts.title!r}.", "Name the set that it was trained on."
        )
    found = {part: _of_part(trained, session, some, n_texts) for part, some in parts.items() if len(some) > 1}
    facts = {
        "n_learnt": len(trained.learnt),
        "n_steps": trained.facts.get("n_steps"),
        "variant": trained.recipe.variant,
    }
    return {**facts, **found}


def _of_part(
    trained: TrainedHypernetwork, session: ModelSession, concepts: Sequence[Concept], n_texts: int
) -> dict[str, Any]:
    recipe = trained.recipe
    texts = [(one.asked[0], rows) for one in concepts if (rows := _rows(session, one, recipe, n_texts))]
    sizes = [len(rows) for _, rows in texts]
    every = [row for _, rows in texts for row in rows]
    said = [sentence for sentence, rows in texts for _ in rows]
    # Each concept's texts under the vector of the concept after it.
    others = [texts[(n + 1) % len(texts)][0] for n, size in enumerate(sizes) for _ in range(size)]
    clean = _losses(session, trained, every, None)
    own, other = (clean - _losses(session, trained, every, sentences) for sentences in (said, others))
    means = [[float(part.mean()) for part in values.split(sizes)] for values in (own, own - other)]
    return {"n": len(texts), "gain": asdict(interval(means[0])), "specific": asdict(interval(means[1]))}


def _rows(session: ModelSession, concept: Concept, recipe: Any, n_texts: int) -> tuple[Row, ...]:
    part = concept.evaluation
    return rows_of_concept(session, part, recipe.longest, recipe.bos).positives[:n_texts] if part.positives else ()


def _losses(
    session: ModelSession, trained: TrainedHypernetwork, rows: Sequence[Row], sentences: Sequence[str] | None
) -> Float[Tensor, "rows"]:
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), N_BATCH):
            some, added = rows[start : start + N_BATCH], None
            if sentences is not None:
                asked = sentences[start : start + N_BATCH]
                vectors = sentence_vectors(trained, session, asked, [row.prompt for row in some])
                stacked = torch.stack([one.vector for one in vectors])
                added = added_rows(stacked, some, 1.0, trained.recipe.skip_first)
            found.append(steered_losses(session, some, trained.at, added))
    return torch.cat(found)
