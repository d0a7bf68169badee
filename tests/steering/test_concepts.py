"""Concepts: rules, files, bad input, the two parts of the examples, and what a plan makes of continuations."""

import json
from pathlib import Path

import pytest

from capture.errors import UserError
from steering.concept_making import N_PLAIN, make_concepts, read_plan
from steering.concept_rule import Rule
from steering.concepts import Concept, Example, concept_set, read_concepts, write_concepts

SEA = Rule(("sea", "waves"))


@pytest.mark.parametrize(
    ("rule", "text", "n"),
    [
        (SEA, "The Sea and the waves; a seat.", 2),
        (Rule(("Rose",)), "A rose, and Rose.", 1),
        (Rule(("b",), "start"), "Big boats carry a cab.", 2),
        (Rule(("ly",), "end"), "Slowly, lyre, Lily's fly", 3),
        (Rule(("?",), "text"), "Who? What?", 2),
        (Rule(("a.*b", "("), "text"), "a.*b aXXb (", 2),
    ],
)
def test_a_rule_counts_its_terms_where_it_looks_for_them(rule, text, n):
    assert rule.count(text) == n
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_a_rule_holds_from_its_number_of_occurrences_on():
    assert [Rule(("!",), "text", n).holds("Oh! No!") for n in (1, 2, 3)] == [True, True, False]


def small(**changes: object) -> Concept:
    given = {"positives": (Example("One day", " by the sea"),), "negatives": (Example("One day", " in the hut"),)}
    return Concept(**{"name": "the sea", **given, **changes})


@pytest.mark.parametrize(
    ("concepts", "words"),
    [
        ([], "1 to 20,000 concepts"),
        ([small(negatives=())], "no text of 'the sea' does not show it"),
        ([small(positives=())], "no text of 'the sea' shows it"),
        ([small(), small()], "Two concepts are called 'the sea'"),
        ([small(positives=(Example("", "  "),))], "it is empty"),
        ([small(negatives=small().positives)], "cannot both show 'the sea' and not show it"),
        ([small(rule=Rule(("hut",)))], "'the sea' is not shown by 'by the sea', which is given as the contrary"),
        ([small(sentences=("x" * 10_000,))], "10,000 were given"),
        ([small(name=" ")], "asked for in words; none was given"),
    ],
)
def test_a_bad_set_gets_a_sentence(concepts, words):
    with pytest.raises(UserError, match=words):
        concept_set("bad", concepts)


def test_a_written_set_is_read_as_it_was(tmp_path):
    other = small(name="a hut", group="places", is_held_out=True, sentences=("in a hut",), rule=Rule(("sea",)))
    found = concept_set("two", [small(), other], {"seed": 1})
    write_concepts(found, tmp_path / "set.json")
    assert read_concepts(tmp_path / "set.json") == found
    assert [len(found.held_in), len(found.held_out)] == [1, 1]
    assert len(json.loads((tmp_path / "set.json").read_text())["examples"]) == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("[]", "no list of concepts"),
        ("{", "cannot be read"),
        ('{"concepts": [{"name": 3}]}', "a concept has a name"),
        ('{"concepts": [{"name": "a", "positives": [0], "negatives": ["b"]}]}', "no example 0"),
        ('{"schema_version": 9, "concepts": []}', "version 9 is not known"),
        ('{"concepts": [{"name": "a", "positives": ["a"], "negatives": ["b"], "rule": {}}]}', "list of terms"),
    ],
)
def test_a_broken_file_gets_a_sentence(data, words, tmp_path):
    (tmp_path / "set.json").write_text(data)
    with pytest.raises(UserError, match=words):
        read_concepts(tmp_path / "set.json")


def test_no_prompt_is_both_for_fitting_and_for_evaluation():
    examples = tuple(Example(f"prompt {i % 40}", f"text {i}") for i in range(120))
    concept = small(positives=examples)
    first, second = ({one.prompt for one in part.positives} for part in (concept.training, concept.evaluation))
    assert first | second == {one.prompt for one in examples}
    assert not first & second
    assert 5 <= len(second) <= 20


PLAN = {
    "hold_out_every": 2,
    "prompts": [f"Prompt {i}" for i in range(48)],
    "groups": [
        {
            "group": "places",
            "sentences": ["make it about {x}"],
            "beginning": "Of {x}.",
            "concepts": {
                "the sea": {"terms": ["sea"]},
                "the hut": {"terms": ["hut"], "beginning": "A hut."},
                "nothing": {"terms": ["zebra"]},
            },
        }
    ],
}


def planned(tmp_path: Path, **changes: object):
    (tmp_path / "plan.json").write_text(json.dumps(PLAN | changes))
    return read_plan(tmp_path / "plan.json")


def continued(rows, seed):
    """Continuations that take up the last word of the beginning, every fourth one not."""
    words = [row.split(" Prompt")[0].split()[-1] if "." in row else "They went home" for row in rows]
    return [f" {'no' if i % 4 == 3 else word} and no more than that, {i} {seed}" for i, word in enumerate(words)]


def test_a_plan_becomes_positives_that_show_it_and_negatives_with_the_same_prompts(tmp_path):
    found = make_concepts(planned(tmp_path), continued)
    assert [(one.name, one.is_held_out, one.asked[0]) for one in found.concepts] == [
        ("the sea", False, "make it about the sea"),
        ("the hut", True, "make it about the hut"),
    ]
    assert found.made["left_out"] == ["nothing"]
    for concept in found.concepts:
        assert [one.prompt for one in concept.positives] == [one.prompt for one in concept.negatives]
        assert len(concept.positives) == 48
    assert {one.text.split()[0] for one in found.concepts[0].negatives} == {"They", "hut."}


def test_every_prompt_is_continued_plainly_and_only_prompts_without_a_positive_are_tried_again(tmp_path):
    asked = []
    make_concepts(planned(tmp_path), lambda rows, seed: asked.append(len(rows)) or continued(rows, seed))
    assert asked == [48 * N_PLAIN, 48, 12, 3, 48, 12, 3, 48, 48, 48]


def test_a_plan_that_cannot_be_read_or_made_gets_a_sentence(tmp_path):
    with pytest.raises(UserError, match="plan of concepts"):
        planned(tmp_path, prompts=[])
    with pytest.raises(UserError, match="12 to fit and 6 to evaluate; 'the sea', which has most, has 0 and 0"):
        make_concepts(planned(tmp_path), lambda rows, seed: ["nothing of the kind at all, not here"] * len(rows))


def test_a_plan_with_too_few_prompts_is_refused_before_anything_is_drawn(tmp_path):
    few = planned(tmp_path, prompts=PLAN["prompts"][:17])
    with pytest.raises(UserError, match="needs 12 to fit and 6 to evaluate"):
        make_concepts(few, lambda rows, seed: pytest.fail("something was drawn"))
