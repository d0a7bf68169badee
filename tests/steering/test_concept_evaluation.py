"""Comparing on concepts: a planted direction wins, the choice never sees what is reported, a stopped run goes on."""

import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from sae.autoencoder import Autoencoder
from sae.facts import Facts
from steering.concept_contestants import (
    BEGINNING,
    MEAN_DIFFERENCE,
    NONE,
    PROMPTING,
    RANDOM,
    Contestant,
    aurocs,
    baselines,
    best_latent,
    named,
    sentence_lead,
    vectors_by_name,
)
from steering.concept_evaluation import (
    BUT_BOS,
    Row,
    _dose,
    arena_of,
    changes,
    chosen,
    detection,
    field_of,
    led_values,
    measure,
)
from steering.concept_report import Asked, costs, evaluate_concepts, plain_sentence, report_lines
from steering.concept_rule import Rule
from steering.concepts import Concept, Example, concept_set
from steering.prompt_vectors import AddByPrompt, PromptVectors, prompts_of
from steering.scoring import values_of
from tests.steering.planted import DOWN, UP, direction
from tests.steering.test_reft_r1 import next_letter_session

AT = HookPoint(1, "resid_post")
PROMPTS = [f"see {first}{second}" for first in "abcd" for second in "nopqrs"]


def letters(some, seed):
    draw = torch.Generator().manual_seed(seed)
    return "".join(some[i] for i in torch.randint(8, (6,), generator=draw).tolist())


def letter_concept(name="up", is_held_out=False, flip=False):
    """Texts of UP letters against texts of DOWN letters, or the other way round."""
    some = [tuple(Example(p, letters(one, n)) for n, p in enumerate(PROMPTS)) for one in (UP, DOWN)]
    rule = Rule(tuple(DOWN if flip else UP), "text", 2)
    positives, negatives = reversed(some) if flip else some
    return Concept(name, positives, negatives, "letters", is_held_out, ("write up",), "ABAB.", rule)


CONCEPTS = concept_set("letters", [letter_concept(), letter_concept("down", True, True)])


@cache
def arena():
    return arena_of(next_letter_session(), CONCEPTS, AT, strengths=(0.3, 0.6), n_tokens=6)


@cache
def field():
    return field_of(arena(), CONCEPTS.concepts[0])


PLANTED = Contestant("planted", "the planted direction", lambda concept: direction(), n_learnt=1, seconds_before=8.0)


def compared(*names):
    return named(baselines(next_letter_session(), AT), names)


def test_the_planted_direction_steers_and_detects_and_chance_does_not():
    rows = {one.name: measure(arena(), field(), one) for one in (PLANTED, *compared(RANDOM, NONE))}
    scores = {name: row.reported["concept"] for name, row in rows.items()}
    assert scores["planted"] > 0.3
    assert scores["planted"] > 3 * abs(scores[RANDOM])
    assert (scores[NONE], rows[NONE].reported["kl"], rows[NONE].reported["fluency"]) == (0.0, 0.0, 2.0)
    assert rows["planted"].detection == 1.0
    assert rows["planted"].shown >= rows[NONE].shown


def by_prompt(vectors):
    """A contestant with a vector for each prompt, in mean norms."""
    return Contestant("by prompt", "toy", by_prompt=lambda concept, prompts: torch.stack(list(map(vectors, prompts))))


def test_the_same_vector_for_every_prompt_is_as_one_vector_whatever_its_length():
    one, each = measure(arena(), field(), PLANTED), measure(arena(), field(), by_prompt(lambda prompt: 3 * direction()))
    assert each.reported == pytest.approx(one.reported, abs=1e-6)
    assert (each.strength, each.choosing, each.texts) == (one.strength, pytest.approx(one.choosing), one.texts)
    assert (each.length, each.detection) == (pytest.approx(3.0), None)


def test_vectors_of_prompts_keep_their_lengths_beside_each_other():
    vectors = PromptVectors(((1,), (2,)), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    added = vectors.added(AT, 4.0, BUT_BOS)
    ((first,), (second,)) = (added.bound_to(next_letter_session(), prompt) for prompt in ((1,), (2,)))
    assert first.added().tolist() == [6.0, 0.0]
    assert second.added().tolist() == [0.0, 2.0]
    nothing = PromptVectors(((1,),), torch.zeros(1, 2)).added(AT, 4.0, BUT_BOS)
    assert nothing.bound_to(next_letter_session(), (1,))[0].added().tolist() == [0.0, 0.0]


def test_a_vector_for_each_prompt_acts_on_the_texts_of_its_prompt_alone():
    """Of every three prompts one has the planted direction, one its opposite, and one nothing."""
    material = field().material
    signs = {prompt: place % 3 - 1 for place, prompt in enumerate(sorted(prompts_of(material)))}
    vectors = PromptVectors((*signs,), torch.stack([sign * direction() for sign in signs.values()]))
    (found,) = values_of(material, [changes(arena(), vectors, 0.6)])
    own = [signs[one.tokens[: one.start]] for one in material.pairs[::2]]
    assert set(own) == {-1, 0, 1}
    assert [(one > 0) - (one < 0) for one in found.concept] == own
    assert [one > 0 for one in found.kl] == [signs[one] != 0 for one in material.prompts]


def test_a_vector_for_each_prompt_is_of_one_comparison_and_no_link():
    added = AddByPrompt(AT, {}, 1.0, BUT_BOS)
    with pytest.raises(ValueError, match="bound to one"):
        added(torch.zeros(1, 2, 32), AT, 0)
    with pytest.raises(ValueError, match="has no recipe"):
        added.recipe()


def test_the_choice_of_the_strength_never_sees_the_half_that_is_reported():
    """Fact 4.5 (15)."""
    vector = direction()
    strong = [(one,) for one in (0.3, 0.6, 0.9)]
    found = values_of(field().material, [changes(arena(), vector, *one) for one in strong])
    half = field().halves[1]

    def poisoned(values, sign):
        concept = tuple(sign * 1e3 if i in half.pairs else one for i, one in enumerate(values.concept))
        kl = tuple(1e3 if sign < 0 and i in half.prompts else one for i, one in enumerate(values.kl))
        return replace(values, concept=concept, kl=kl)

    clean = [_dose(field(), *one, values, 0) for one, values in zip(strong, found, strict=True)]
    for best in range(3):
        spoilt = [poisoned(values, 1 if place == best else -1) for place, values in enumerate(found)]
        doses = [_dose(field(), *one, values, 0) for one, values in zip(strong, spoilt, strict=True)]
        assert doses == clean
        assert chosen(doses) == chosen(clean)


def test_pairs_and_prompts_of_the_two_halves_share_no_prompt():
    choosing, reporting = field().halves
    assert not set(choosing.pairs) & set(reporting.pairs)
    prompts = [{field().pairs[i][0].prompt for i in half.pairs} for half in (choosing, reporting)]
    prompts = [
        own | {arena().prompts[i] for i in half.prompts} for own, half in zip(prompts, field().halves, strict=True)
    ]
    assert not prompts[0] & prompts[1]
    assert all(one.is_for_evaluation for pair in field().pairs for one in pair)


def test_no_words_before_the_prompt_change_nothing_and_others_do(tiny_session):
    arena = arena_of(tiny_session, CONCEPTS, AT, PROMPTS[:6], n_tokens=6)
    field = field_of(arena, CONCEPTS.concepts[0])
    nothing, led = (led_values(arena, field, lead) for lead in ("", "ABCD"))
    assert max(map(abs, nothing.concept)) < 1e-5
    assert max(nothing.kl) < 1e-6
    assert nothing.written.loss == pytest.approx(field.material.written.loss, abs=1e-5)
    assert min(led.kl) > 1e-4


def test_auroc_by_the_largest_value():
    """Fact 4.5 (13)."""
    positive, negative = torch.rand(2, 20, 3, generator=torch.Generator().manual_seed(0))
    areas = aurocs(positive, negative)
    torch.testing.assert_close(aurocs(positive.exp() * 3, negative.exp() * 3), areas)
    torch.testing.assert_close(aurocs(-positive, -negative), 1 - areas)
    assert aurocs(torch.ones(4, 1), torch.ones(5, 1)).tolist() == [0.5]
    # Not of the direction: the largest of −x is minus the smallest of x.
    texts = replace(field(), activations=(torch.tensor([[5.0], [-9.0]]), torch.tensor([[1.0], [2.0]])))
    assert [detection(texts, torch.tensor([sign])) for sign in (1.0, -1.0)] == [1.0, 1.0]


def test_a_latent_is_chosen_by_how_well_its_largest_value_tells_the_texts_apart():
    """Latent 2 of three fires along the direction, latent 0 against it, latent 1 always."""
    v = direction()
    W_enc, b_enc = torch.stack([-v, 0 * v, v], dim=1), torch.tensor([0.0, 1.0, 0.0])
    sae = Autoencoder(Facts("topk", 32, 3, 2), W_enc, b_enc, 2 * torch.eye(3, 32), torch.zeros(32))
    latent, vector, area = best_latent(next_letter_session(), CONCEPTS.concepts[0], AT, sae)
    assert (latent, area) == (2, 1.0)
    assert vector.tolist() == torch.eye(3, 32)[2].tolist()


def asked(contestants, **changes):
    return Asked(**{"arena": arena(), "concepts": CONCEPTS, "contestants": contestants, **changes})


def test_a_run_that_stopped_goes_on_and_makes_nothing_twice(tmp_path):
    out, made = tmp_path / "report.json", []
    watched = replace(PLANTED, vector=lambda concept: made.append(concept.name) or direction())
    whole = evaluate_concepts(asked((watched, *compared(RANDOM))), out)
    rows = out.with_suffix(".rows.jsonl")
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[:2]) + lines[2][:40])
    again = evaluate_concepts(asked((watched, *compared(RANDOM))), out)
    assert made == ["up", "down", "down"]

    def timeless(report):
        return [{**row, "seconds": 0} for row in report["rows"]]

    assert sorted(map(str, timeless(again))) == sorted(map(str, timeless(whole)))
    assert json.loads(out.read_text()) == json.loads(json.dumps(again))


def test_the_report_has_both_parts_apart_with_intervals_costs_and_a_sentence(tmp_path):
    other = replace(PLANTED, name="of 1", is_on_curve=True)
    contestants = (PLANTED, *compared(RANDOM, MEAN_DIFFERENCE, PROMPTING), other)
    report = evaluate_concepts(asked(contestants), tmp_path / "r.json")
    table = {(line["contestant"], line["part"]): line for line in report["table"]}
    assert table[MEAN_DIFFERENCE, "held_in"]["concept"]["mean"] > 0.2
    assert table["planted", "held_out"]["concept"]["mean"] < 0
    assert [(line["contestant"], line["part"], line["n_learnt"]) for line in report["curve"]] == [
        ("of 1", "held_out", 1)
    ]
    cost = {one["contestant"]: one for one in report["costs"]}
    assert cost["planted"]["seconds"] >= 8.0
    assert cost[MEAN_DIFFERENCE]["flops"] > 0
    assert "held in (1) it beats the random vector" in plain_sentence(report, MEAN_DIFFERENCE)
    assert any("mean difference" in line and "held_out" in line for line in report_lines(report))


def test_what_a_hypernetwork_costs_is_shared_and_at_some_number_it_is_cheaper():
    learnt = replace(PLANTED, flops=lambda concept: 1.0, flops_before=100.0, flops_each=1.0, n_learnt=10)
    alone = replace(PLANTED, name="alone", flops=lambda concept: 6.0, n_learnt=None, seconds_before=0.0)
    row = Row("up", "", True, "", 0.1, {}, (), None, None, 3.0, 0.0, ())
    rows = [replace(row, contestant="planted", flops=1.0), replace(row, contestant="alone", flops=6.0)]
    shared, other = costs((learnt, alone), rows)
    assert (shared["flops"], other["flops"]) == (12.0, 6.0)
    assert shared["seconds"] == pytest.approx(3.0 + 8.0 / 10)
    # 100 / n + 1 + 1 < 6 from 26 concepts on.
    assert shared["cheaper_from"] == {"alone": 26}


def test_rows_of_another_comparison_are_refused(tmp_path):
    evaluate_concepts(asked(compared(NONE)), tmp_path / "r.json")
    other = replace(arena(), strengths=(0.1,))
    with pytest.raises(UserError, match="of another comparison: strengths differ"):
        evaluate_concepts(asked(compared(NONE), arena=other), tmp_path / "r.json")


def test_what_is_compared_is_named_and_any_callable_can_be_put_in():
    with pytest.raises(UserError, match="Nothing that is compared is called 'luck'"):
        compared("luck")
    heard = []
    vector = vectors_by_name(lambda sentence: heard.append(sentence) or torch.tensor([3.0, 4.0]))
    assert vector(CONCEPTS.concepts[0]).tolist() == pytest.approx([0.6, 0.8])
    assert heard == ["write up"]
    assert sentence_lead(CONCEPTS.concepts[0]) == "Write up."
    (beginning,) = compared(BEGINNING)
    assert beginning.lead(CONCEPTS.concepts[0]) == "ABAB."


def test_equal_names_give_equal_random_vectors_of_length_1():
    (random,) = compared(RANDOM)
    first, again, other = (random.vector(CONCEPTS.concepts[i]) for i in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert math.isclose(float(first.norm()), 1.0, abs_tol=1e-6)
