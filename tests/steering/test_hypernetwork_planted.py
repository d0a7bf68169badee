"""Planted truth: a model in which each of 15 words has a known direction, and 50 names made of two of the words.

The model raises a word's own sign along the word's direction and along no other, and a text that shows a name is made
of the signs of its two words; so the vector that helps most lies along the sum of the two directions. Ten of the names
are held out: their words were seen, but never together.
"""

import random

import pytest
import torch

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.concepts import Concept, Example, concept_set
from steering.hypernetwork_making import make_hypernetwork
from steering.hypernetwork_recipe import HypernetworkRecipe
from steering.hypernetwork_training import Run
from steering.sentence_vector import sentence_vectors
from tests.models import tiny_llama, tiny_tokenizer

AT = HookPoint(0, "resid_post")
D_MODEL = 64
SIGNS = dict(zip("bcdfghjklmvwxyz", "0123456789!?:;%", strict=True))
NAMES = [(first, second) for first in "bcdfghjklm" for second in "vwxyz"]
HELD_OUT = {(first, "vwxyz"[place % 5]) for place, first in enumerate("bcdfghjklm")}


def planted_directions():
    basis = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(3)))[0]
    return dict(zip(SIGNS, basis, strict=False))


def planted_model(directions):
    model = tiny_llama(hidden_size=D_MODEL, num_hidden_layers=1, initializer_range=0.02, tie_word_embeddings=False)
    with torch.no_grad():
        for word, sign in SIGNS.items():
            model.lm_head.weight[tiny_tokenizer().convert_tokens_to_ids(sign)] += directions[word]
        model.model.norm.weight.fill_(1.0)
    return ModelSession(model, tiny_tokenizer(), name="planted")


def planted_concepts():
    draw, concepts = random.Random(0), []
    for name in NAMES:
        signs = [SIGNS[word] for word in name]
        positives = [Example(f"Once {n}", "".join(draw.sample(signs * 4, 8))) for n in range(12)]
        negatives = [Example(f"Once {n}", "".join(draw.choices([*SIGNS.values()], k=8))) for n in range(12)]
        concepts.append(Concept(" ".join(name), tuple(positives), tuple(negatives), is_held_out=name in HELD_OUT))
    return concept_set("planted", concepts)


@pytest.fixture(scope="module")
def cosines(tmp_path_factory):
    """Cosine of each name's vector with the sum of its words' directions."""
    directions = planted_directions()
    session = planted_model(directions)
    recipe = HypernetworkRecipe(
        n_blocks=1,
        n_heads=4,
        d_mlp=64,
        length=0.5,
        warm_start=0,
        n_steps=200,
        warmup_steps=20,
        learning_rate=4e-3,
        batch=16,
    )
    trained = make_hypernetwork(Run(session, planted_concepts(), AT, recipe, tmp_path_factory.mktemp("planted")))
    found = sentence_vectors(trained, session, [" ".join(name) for name in NAMES], [()] * len(NAMES))
    wanted = [directions[first] + directions[second] for first, second in NAMES]
    return {
        name: float(torch.nn.functional.cosine_similarity(one.vector, truth, dim=0))
        for name, one, truth in zip(NAMES, found, wanted, strict=True)
    }


def test_each_of_forty_names_is_mapped_to_its_direction(cosines):
    """A loss is lowest a little beside the sum, since other rows of the unembedding matter too: hence 0.85."""
    assert min(cosines[name] for name in NAMES if name not in HELD_OUT) > 0.85


def test_ten_names_of_two_known_words_that_were_never_together_are_recovered(cosines):
    """Chance gives 0 ± 0.13 in 64 dimensions, and one of the two directions alone 0.71."""
    assert min(cosines[name] for name in HELD_OUT) > 0.8
