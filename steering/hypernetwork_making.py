"""From a run to a hypernetwork on disk: train, note where the learnt concepts lie, write the folder."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from capture.model_facts import model_facts
from capture.session import ModelSession
from steering.hypernetwork_folder import TrainedHypernetwork, read_hypernetwork, write_hypernetwork
from steering.hypernetwork_training import Progress, Run, chosen_concepts, train_hypernetwork
from steering.sentence_vector import pooled_sentences
from steering.sentence_words import WORDS, known_words

FAR_SHARE = 0.9
"""Of the learnt concepts lie nearer than `far` to the nearest other one."""


def make_hypernetwork(
    run: Run,
    progress: Progress = lambda share, words: None,
    save_every_s: float = 60.0,
    meant_for: ModelSession | None = None,
    goes_on: bool = True,
) -> TrainedHypernetwork:
    """Train, or go on where a run stopped, write the hypernetwork beside its checkpoint, and read it back.

    `meant_for` is the model as it will be steered, where it is trained through in another precision. Where it does not
    go on, what is written is the hypernetwork of the last checkpoint; its facts say after how many steps.
    """
    network, found, n_steps = train_hypernetwork(run, progress, save_every_s, goes_on)
    chosen, session = chosen_concepts(run.concepts, run.recipe), meant_for or run.session
    trained = TrainedHypernetwork(
        network.requires_grad_(False),
        run.recipe,
        run.at,
        found.mean_norm,
        torch.zeros(0, network.head.out_features),
        0.0,
        tuple(one.name for one in chosen),
        tuple(one.name for one in run.concepts.held_out),
        {
            **facts_of(run, session),
            "n_steps": n_steps,
            WORDS: known_words(session, [c.asked for c in chosen]).to_json(),
        },
    )
    write_hypernetwork(located(trained, session, [one.asked[0] for one in chosen]), run.out)
    return read_hypernetwork(run.out)


def facts_of(run: Run, session: ModelSession) -> dict[str, Any]:
    """What it was made from."""
    return {
        **model_facts(session),
        "concepts": run.described()["concepts"],
    }


def located(trained: TrainedHypernetwork, session: ModelSession, sentences: Sequence[str]) -> TrainedHypernetwork:
    """The same with where the learnt concepts lie, and the distance beyond which a sentence is far from them."""
    pooled = pooled_sentences(trained, session, sentences, [()] * len(sentences))
    known = normalize(pooled, dim=1)
    return replace(trained, known=known, far=far_distance(known))


def far_distance(known: Float[Tensor, "concepts d"]) -> float:
    """The distance from its nearest other one that 90 % of the learnt concepts do not reach."""
    if len(known) < 2:
        return 2.0
    cosines = known @ known.t()
    cosines.fill_diagonal_(-1.0)
    return float((1 - cosines.max(dim=1).values).quantile(FAR_SHARE))
