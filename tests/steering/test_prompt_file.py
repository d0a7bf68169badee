"""Labelled prompts of other projects are told by their columns, and what cannot be read gets a sentence."""

import json

import pytest

from capture.errors import UserError
from steering.prompt_file import bundled_prompts, prompt_formats, read_prompts

ANSWERS = {"answer_matching_behavior": " (A)", "answer_not_matching_behavior": " (B)"}
CASES = {
    "caa": (
        "r.json",
        [{"question": "Would you?", **ANSWERS}],
        {"Would you? (A)": "matching", "Would you? (B)": "not matching"},
    ),
    "anthropic": (
        "r.jsonl",
        [{"question": "Q?", "statement": "s", **ANSWERS}],
        {"Q? (A)": "matching", "Q? (B)": "not matching"},
    ),
    "axbench": (
        "r.jsonl",
        [
            {"input": "Why?", "output": "x", "output_concept": "dates", "category": "positive"},
            {"input": "How?", "output": "y", "output_concept": "EEEEE", "category": "negative"},
        ],
        {"x": "dates", "y": "no concept"},
    ),
    "ibm responses": (
        "r.json",
        {"compliant_responses": ["Sure"], "non_compliant_responses": ["No"]},
        {"No": "non_compliant", "Sure": "compliant"},
    ),
    "ibm conditions": (
        "r.json",
        {"train": [{"harmful": "a", "harmless": "b"}], "test": [{"harmful": "c", "harmless": "d"}]},
        {"a": "harmful", "b": "harmless"},
    ),
    "text and label": ("r.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], {"a": "x", "b": "y"}),
}


def write(path, data):
    lines = "\n".join(map(json.dumps, data)) if path.suffix == ".jsonl" else json.dumps(data)
    path.write_text(lines, "utf-8")
    return path


@pytest.mark.parametrize(("name", "data", "wanted"), CASES.values(), ids=CASES)
def test_a_layout_is_read_into_texts_and_labels(name, data, wanted, tmp_path):
    found = read_prompts(write(tmp_path / name, data))
    assert {one.text: one.label for one in found.examples} == wanted


def test_a_csv_with_text_and_label_is_read(tmp_path):
    (tmp_path / "r.csv").write_text("text,label\na cat,animal\na mat,thing\n", "utf-8")
    assert [one.label for one in read_prompts(tmp_path / "r.csv").examples] == ["animal", "thing"]


@pytest.mark.parametrize("ending", ["tsv", "txt"])
def test_columns_divided_by_tabs_are_read(ending, tmp_path):
    rows = [f"a {thing} {n}\t{thing}" for n in range(4) for thing in ("cat", "mat")]
    (tmp_path / f"r.{ending}").write_text("\n".join(rows), "utf-8")
    found = read_prompts(tmp_path / f"r.{ending}")
    assert [(one.text, one.label) for one in found.examples[:2]] == [("a cat 0", "cat"), ("a mat 0", "mat")]


def test_what_is_no_file_of_prompts_is_told_what_would_be(tmp_path):
    with pytest.raises(UserError, match="neither a bundled set of prompts") as refused:
        read_prompts(tmp_path / "movies.zip")
    assert "Bundled are sad_turn" in refused.value.hint
    (tmp_path / "r.csv").write_text("statement,label\na cat,1\n", "utf-8")
    with pytest.raises(UserError, match="must have a text called 'text'; it has 'statement', 'label'"):
        read_prompts(tmp_path / "r.csv")


def test_axbench_is_read_from_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(CASES["axbench"][1]), tmp_path / "train_data.parquet")
    assert read_prompts(tmp_path / "train_data.parquet").labels == ("dates", "no concept")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(UserError, match=r"bad\.parquet cannot be read"):
        read_prompts(tmp_path / "bad.parquet")


def test_refusal_prompts_are_read_with_the_file_of_the_other_kind(tmp_path):
    path = write(tmp_path / "harmless_train.json", [{"instruction": "bake a cake", "category": None}])
    with pytest.raises(UserError, match=r"needs harmful_train\.json beside it"):
        read_prompts(path)
    write(tmp_path / "harmful_train.json", [{"instruction": "steal a cake", "category": None}])
    found = read_prompts(path)
    assert (found.labels, [one.text for one in found.examples]) == (
        ("harmful", "harmless"),
        ["steal a cake", "bake a cake"],
    )
    write(tmp_path / "other.json", [{"instruction": "x"}])
    with pytest.raises(UserError, match="says neither"):
        read_prompts(tmp_path / "other.json")


def test_lists_without_labels_are_labelled_by_their_files(tmp_path):
    path = write(tmp_path / "anger.json", ["You are cut off.", "", "Someone lies."])
    with pytest.raises(UserError, match="no other list lies beside it"):
        read_prompts(path)
    write(tmp_path / "joy.json", ["A letter comes.", "Someone lies."])
    found = read_prompts(path)
    assert [(one.text, one.label) for one in found.examples] == [
        ("You are cut off.", "anger"),
        ("Someone lies.", "anger"),
        ("A letter comes.", "joy"),
    ]


def test_a_layout_with_a_hole_gets_a_sentence(tmp_path):
    path = write(tmp_path / "r.json", [{"question": "Q?", **ANSWERS}, {"question": "R?"}])
    with pytest.raises(UserError, match="looks like CAA"):
        read_prompts(path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_prompts(tmp_path / "x.json")
    with pytest.raises(UserError, match="There is no file"):
        read_prompts(tmp_path / "y.json")


@pytest.mark.parametrize("name", bundled_prompts())
def test_a_bundled_set_is_read_by_its_name(name):
    from pathlib import Path

    found = read_prompts(Path(name))
    assert found.labels == ("sad", "other")
    assert len(found.examples) == len({one.text for one in found.examples})


def test_every_format_says_what_it_is():
    assert set(prompt_formats()) == {"axbench", "caa", "ibm", "lists", "refusal_direction"}
    assert all(module.TITLE for module in prompt_formats().values())
