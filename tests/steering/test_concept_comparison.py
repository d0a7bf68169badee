"""Hypernetworks of all three variants as contestants, and what they cost."""

from dataclasses import replace

import pytest
import torch

from steering.concept_comparison import compared, how_trained, of_hypernetwork
from steering.concept_costs import fit_flops, taught_flops, training_flops
from steering.concept_evaluation import arena_of, field_of, measure
from steering.fit_rows import fit_texts
from steering.hypernetwork_folder import write_hypernetwork
from steering.hypernetwork_recipe import CROSS_ATTENTION, IN_CONTEXT, NO_CONTEXT, RECONSTRUCTION
from steering.prompt_vectors import prompts_of
from steering.sentence_vector import sentence_vector
from tests.steering.hypernetworks import AT, small_concepts, trained_for

READS_PROMPT = (IN_CONTEXT, CROSS_ATTENTION)


def with_recipe(trained, **changes):
    return replace(trained, recipe=replace(trained.recipe, **changes))


@pytest.mark.parametrize("variant", READS_PROMPT)
def test_the_vectors_of_many_prompts_at_once_are_those_of_each_alone(variant, tiny_session):
    concepts = small_concepts()
    concept, trained = concepts.concepts[0], trained_for(tiny_session, variant)
    made = of_hypernetwork(tiny_session, "own", trained, concepts)
    prompts = [tiny_session.tokens(f"Once {'x' * n}", True) for n in range(40)]
    found = made.by_prompt(concept, prompts)
    alone = [sentence_vector(trained, tiny_session, concept.asked[0], one).vector / trained.length for one in prompts]
    torch.testing.assert_close(found, torch.stack(alone), atol=1e-5, rtol=1e-4)
    assert float((found[0] - found[1]).norm()) > 1e-3
    assert (made.vector, made.has_vectors) == (None, True)


@pytest.mark.parametrize("variant", READS_PROMPT)
def test_a_hypernetwork_that_reads_the_prompt_is_measured_at_the_length_of_its_vectors(variant, tiny_session):
    concepts = small_concepts()
    arena = arena_of(tiny_session, concepts, AT, strengths=(0.1, 0.2), n_tokens=4)
    field = field_of(arena, concepts.concepts[0])
    trained = trained_for(tiny_session, variant)
    row = measure(arena, field, of_hypernetwork(tiny_session, "own", trained, concepts))
    prompts, said = prompts_of(field.material), field.concept.asked[0]
    norms = [sentence_vector(trained, tiny_session, said, one).norm / trained.length for one in prompts]
    assert row.length == pytest.approx(sum(norms) / len(norms), rel=1e-4)
    assert row.reported["kl"] > 0
    assert row.detection is None


def test_folders_of_all_variants_are_compared_beside_each_other(tiny_session, tmp_path):
    for variant in (NO_CONTEXT, *READS_PROMPT):
        write_hypernetwork(trained_for(tiny_session, variant), tmp_path / variant)
    folders = [str(tmp_path / one) for one in (NO_CONTEXT, *READS_PROMPT)]
    at, found = compared(tiny_session, small_concepts(), None, None, folders, ["mean difference"])
    assert at == AT
    assert [one.name for one in found if one.has_vectors] == [
        NO_CONTEXT,
        *READS_PROMPT,
        "random vector",
        "mean difference",
    ]
    assert [one.how for one in found[:3]] == [
        f"hypernetwork {reads}, learnt from 5 concepts"
        for reads in ("without context", "in context", "by cross-attention")
    ]
    imitating = with_recipe(trained_for(tiny_session), loss=RECONSTRUCTION)
    assert how_trained(imitating) == "hypernetwork without context, imitating mean difference, learnt from 5 concepts"


def test_a_training_costs_its_passes_and_one_teacher_for_each_concept(tiny_session):
    """Of 6 steps of 4 texts, at most 24 tokens long, 2 imitate; 6 a weight and token of a sentence, 8 long."""
    concepts, base = small_concepts(), trained_for(tiny_session)
    n_params, n_weights = tiny_session.shape.n_params, sum(one.numel() for one in base.network.parameters())
    own = 6 * 4 * 6 * n_weights * 8
    trained = with_recipe(base, warm_start=2)
    assert training_flops(tiny_session, trained, concepts) == 4 * 4 * 24 * 4 * n_params + own
    detecting = with_recipe(trained, detection_weight=0.1)
    assert training_flops(tiny_session, detecting, concepts) == 4 * 4 * 24 * 8 * n_params + own
    texts = [fit_texts(tiny_session, one.training.contrast(), True) for one in concepts.concepts[:5]]
    n_tokens = sum(len(text.tokens) for some in texts for text in some)
    assert taught_flops(tiny_session, trained, concepts) == pytest.approx(2 * n_params * n_tokens / 5)
    assert taught_flops(tiny_session, base, concepts) == 0.0
    by_reft = with_recipe(trained, teacher="reft_r1")
    assert taught_flops(tiny_session, by_reft, concepts) == pytest.approx(3 * 6 * n_params * n_tokens / 5)
    assert fit_flops(tiny_session, concepts.concepts[0], "contrast_pca") == 2 * n_params * sum(
        len(text.tokens) for text in texts[0]
    )


def test_reading_the_prompt_costs_the_hypernetwork_its_tokens_and_cross_attention_the_models_pass(tiny_session):
    concepts = small_concepts()
    n_prompt = sum(len(tiny_session.tokens(f"Once {n}", True)) for n in range(12)) / 12
    n_params = tiny_session.shape.n_params
    for variant in READS_PROMPT:
        trained = with_recipe(trained_for(tiny_session, variant), warm_start=6)
        n_weights = sum(one.numel() for one in trained.network.parameters())
        reads = 2 * n_params * n_prompt if variant == CROSS_ATTENTION else 0
        wanted = 6 * 4 * (6 * n_weights * (8 + n_prompt) + reads)
        assert training_flops(tiny_session, trained, concepts) == pytest.approx(wanted, rel=0.05)
        a_vector = of_hypernetwork(tiny_session, "own", trained, concepts).flops(concepts.concepts[0])
        n_sentence = len(tiny_session.tokens("make it about the bear", True))
        assert a_vector == pytest.approx(2 * n_weights * (n_sentence + n_prompt) + reads, rel=0.05)
