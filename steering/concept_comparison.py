"""Who is compared on concepts: the baselines of a model and its SAE, and hypernetworks."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.autoencoder import Autoencoder
from sae.shelf import load_shelved, shelved
from steering.concept_contestants import NONE, RANDOM, Contestant, baselines, named, vectors_by_name
from steering.concept_costs import mean_prompt, reading_flops, taught_flops, training_flops
from steering.concepts import Concept, ConceptSet
from steering.hypernetwork_folder import TrainedHypernetwork
from steering.hypernetwork_recipe import CROSS_ATTENTION, IN_CONTEXT, LANGUAGE_MODEL, NO_CONTEXT
from steering.prompt_vectors import Tokens
from steering.sentence_vector import named_hypernetwork, sentence_vector, sentence_vectors

N_BATCH = 32
WORDS = {NO_CONTEXT: "without context", IN_CONTEXT: "in context", CROSS_ATTENTION: "by cross-attention"}


def compared(
    session: ModelSession,
    concepts: ConceptSet,
    hook: str | None,
    sae: str | None,
    hypernetworks: Sequence[str],
    names: Sequence[str],
    over: Sequence[str] = (),
) -> tuple[HookPoint, tuple[Contestant, ...]]:
    """The hook point and the contestants there: the hypernetworks, the named baselines or all, those for the curve.

    Raises UserError for a hypernetwork of another hook point.
    """
    own = [named_hypernetwork(one, session) for one in (*hypernetworks, *over)]
    autoencoder = _sae(session, sae)
    at = HookPoint.parse(hook) if hook else _usual_point(session, own, autoencoder)
    for name, trained in own:
        if trained.at != at:
            raise UserError(f"{name} makes vectors for {trained.at}, not for {at}.", f"Give --hook {trained.at}.")
    fits = autoencoder is not None and str(at) == autoencoder.facts.hook_point
    others = baselines(session, at, autoencoder if fits else None)
    wanted = [NONE, RANDOM, *(one for one in names if one not in (NONE, RANDOM))] if names else []
    made = [of_hypernetwork(session, *one, concepts) for one in own]
    n = len(hypernetworks)
    return at, (*made[:n], *named(others, wanted), *(replace(one, is_on_curve=True) for one in made[n:]))


def _sae(session: ModelSession, sae: str | None) -> Autoencoder | None:
    fitting = [one for one in shelved() if (sae is None or one.is_called(sae)) and one.fits(session.fingerprint)]
    if sae is not None and not fitting:
        raise UserError(f"No SAE of {session.name} on the shelf is called {sae[:40]!r}.", "Leave --sae out.")
    return load_shelved(fitting[0].digest) if fitting else None


def _usual_point(
    session: ModelSession, own: Sequence[tuple[str, TrainedHypernetwork]], sae: Autoencoder | None
) -> HookPoint:
    if own:
        return own[0][1].at
    return HookPoint.parse(sae.facts.hook_point) if sae else HookPoint(session.shape.n_layers // 2, "resid_post")


def of_hypernetwork(session: ModelSession, name: str, trained: TrainedHypernetwork, concepts: ConceptSet) -> Contestant:
    """A hypernetwork, by the usual sentence of each concept; its training is shared by the concepts that it learnt."""
    n_prompt = mean_prompt(session, trained, concepts)

    def vector(said: str) -> Float[Tensor, "d"]:
        return sentence_vector(trained, session, said).vector

    def flops(concept: Concept) -> float:
        return reading_flops(session, trained, len(session.tokens(concept.asked[0], True)), n_prompt)

    return Contestant(
        name,
        how_trained(trained),
        None if trained.reads_prompt else vectors_by_name(vector),
        partial(vectors_by_prompt, session, trained) if trained.reads_prompt else None,
        flops=flops,
        n_learnt=len(trained.learnt),
        flops_before=training_flops(session, trained, concepts),
        flops_each=taught_flops(session, trained, concepts),
    )


def how_trained(trained: TrainedHypernetwork) -> str:
    """What a hypernetwork reads, what it was trained by, and on how many concepts."""
    reads = WORDS[trained.recipe.variant]
    by = "" if trained.recipe.loss == LANGUAGE_MODEL else f", imitating {trained.recipe.teacher.replace('_', ' ')}"
    return f"hypernetwork {reads}{by}, learnt from {len(trained.learnt):,} concepts"


def vectors_by_prompt(
    session: ModelSession, trained: TrainedHypernetwork, concept: Concept, prompts: Sequence[Tokens]
) -> Float[Tensor, "prompts d"]:
    """Δ of the concept's usual sentence and each prompt, as long as it is."""
    found = []
    for start in range(0, len(prompts), N_BATCH):
        some = prompts[start : start + N_BATCH]
        found += sentence_vectors(trained, session, [concept.asked[0]] * len(some), some)
    return torch.stack([one.vector for one in found]) / trained.length
