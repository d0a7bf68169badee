"""A small concept set and small hypernetworks for the tests, on the tiny Llama."""

import torch

from capture.hook_point import HookPoint
from steering.concepts import Concept, Example, concept_set
from steering.hypernetwork import Hypernetwork, left_padded
from steering.hypernetwork_folder import TrainedHypernetwork, write_hypernetwork
from steering.hypernetwork_recipe import HypernetworkRecipe
from steering.shelf import put_on_shelf

AT = HookPoint(1, "resid_post")
D_MODEL = 32
WORDS = ("bear", "river", "moon", "cat", "night", "stars")


def small_recipe(**changes):
    """A recipe that trains within a second."""
    small = {"n_blocks": 1, "n_heads": 2, "d_mlp": 32, "n_steps": 6, "batch": 4, "warm_start": 0, "longest": 24}
    return HypernetworkRecipe(**{**small, "warmup_steps": 1, "detection_weight": 0.0, **changes})


def small_concepts():
    """Six words, the last one held out; twelve texts with and twelve without each."""
    concepts = []
    for place, word in enumerate(WORDS):
        positives = tuple(Example(f"Once {n}", f" the {word} sat near the {word}.") for n in range(12))
        negatives = tuple(Example(f"Once {n}", " she said that it was not known.") for n in range(12))
        sentences = (f"make it about the {word}", f"the {word}")
        concepts.append(Concept(word, positives, negatives, "words", place == len(WORDS) - 1, sentences))
    return concept_set("words", concepts)


def noisy(recipe, seed=1):
    """A hypernetwork whose head is not zero."""
    network = Hypernetwork(recipe, D_MODEL).started(recipe)
    network.head.weight.data.normal_(generator=torch.Generator().manual_seed(seed))
    return network.eval()


def rows(*lengths, seed=0):
    """Random rows of these lengths, padded on the left."""
    draw = torch.Generator().manual_seed(seed)
    return left_padded([torch.randn(n, D_MODEL, generator=draw) for n in lengths])


def trained_for(session, variant="no_context", **facts):
    """A hypernetwork of a session's model with a random head, as if it had been trained."""
    recipe = small_recipe(variant=variant)
    known = torch.nn.functional.normalize(torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(2)), dim=1)
    model = {"model": session.name, "fingerprint": session.fingerprint, "dtype": session.dtype}
    return TrainedHypernetwork(
        noisy(recipe).requires_grad_(False), recipe, AT, 12.0, known, 0.6, WORDS[:5], WORDS[5:], {**model, **facts}
    )


def shelve_hypernetwork(session, folder, name, variant):
    """Put such a hypernetwork on the shelf; its digest."""
    write_hypernetwork(trained_for(session, variant), folder / name)
    return put_on_shelf("hypernetworks", folder / name, name).digest
