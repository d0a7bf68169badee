"""Concepts from a folder, a labelled file and AxBench's rows."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from capture.errors import UserError
from sae.labelled_texts import LabelledTexts, read_labelled
from steering.concept_making import Plan
from steering.concept_rule import Rule
from steering.concept_sources import concepts_of_axbench, concepts_of_folder, concepts_of_labels
from steering.concepts import Concept


def test_every_label_becomes_a_concept_with_negatives_of_like_length():
    texts = [f"wet {'x' * i}" for i in range(10)] + [f"dry {'y' * i}" for i in range(20)]
    found = concepts_of_labels(LabelledTexts("weather", tuple(texts), ("wet",) * 10 + ("dry",) * 20))
    wet = found.named("wet")
    assert [one.text for one in wet.negatives] == [f"dry {'y' * i}" for i in range(10)]
    assert len(found.named("dry").negatives) == 10


def test_a_shipped_labelled_set_is_read_whole():
    found = concepts_of_labels(read_labelled("feelings"))
    assert [(one.name, len(one.positives), len(one.negatives)) for one in found.concepts] == [
        ("happy", 28, 28),
        ("sad", 28, 28),
    ]


def test_a_folder_has_a_concept_for_each_file_or_folder_in_it(tmp_path):
    (tmp_path / "the_sea").mkdir()
    for n in range(2):
        (tmp_path / "the_sea" / f"{n}.txt").write_text("\n\n".join(f"waves {n} {i}" for i in range(5)))
    (tmp_path / "hut.txt").write_text("\n \n".join(f"a hut {i}" for i in range(9)))
    found = concepts_of_folder(tmp_path)
    assert {one.name: len(one.positives) for one in found.concepts} == {"the sea": 9, "hut": 9}
    assert {one.text for one in found.named("hut").positives} == {f"a hut {i}" for i in range(9)}


def test_with_a_plan_sentences_are_told_apart_by_their_rule_and_keep_the_sentence_before(tmp_path):
    lines = [f"He went there on day {i}. The sea was calm. She came back with number {i}." for i in range(9)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "b.txt").write_text("No word of it here. None at all, ever.")
    sea = Concept("the sea", (), (), "places", True, ("make it about the sea",), "", Rule(("sea",)))
    found = concepts_of_folder(tmp_path, Plan("mine", ("One day",), (sea,)))
    (concept,) = found.held_out
    assert {one.text for one in concept.positives} == {" The sea was calm."}
    assert {one.prompt for one in concept.positives} == {f"He went there on day {i}." for i in range(9)}
    assert all(one.text.startswith((" She", "\nHe")) for one in concept.negatives)
    assert concept.asked == ("make it about the sea",)


def axbench_rows():
    row = {"concept_genre": "text", "dataset_category": "instruction"}
    rows = [
        row | {"input": f"q{i}", "output": f"sea {i}", "output_concept": "the sea", "category": "positive"}
        for i in range(9)
    ]
    rows += [
        row | {"input": f"q{i}", "output": f"hut {i}", "output_concept": "EEEEE", "category": "negative"}
        for i in range(12)
    ]
    rows += [row | {"input": "c", "output": "code 1", "output_concept": "EEEEE", "category": "negative"}]
    rows[-1]["concept_genre"] = "code"
    return [one | {"concept_id": 0 if one["category"] == "positive" else -1} for one in rows]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_axbench_rows_become_concepts_with_the_negatives_of_their_genre(suffix, tmp_path):
    path = tmp_path / f"train_data.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(axbench_rows()), path)
    else:
        path.write_text("\n".join(map(json.dumps, axbench_rows())))
    (concept,) = concepts_of_axbench(path).concepts
    assert (concept.name, concept.group, len(concept.positives)) == ("the sea", "text", 9)
    assert concept.positives[0].prompt == "q0"
    assert {one.text.split()[0] for one in concept.negatives} == {"hut"}


def test_what_gives_no_concept_gets_a_sentence(tmp_path):
    with pytest.raises(UserError, match="must be a folder with"):
        concepts_of_folder(tmp_path)
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    with pytest.raises(UserError, match="needs 8 texts that show it and as many others"):
        concepts_of_folder(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"input": "a"}')
    with pytest.raises(UserError, match="Row 1 must have a text called 'output'"):
        concepts_of_axbench(tmp_path / "rows.jsonl")
    (tmp_path / "rows.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        concepts_of_axbench(tmp_path / "rows.parquet")
