"""The command line on concepts."""

import json

import pytest

import cli
from capture.errors import UserError
from data.recipes import sampling
from steering.concepts import concept_set, read_concepts, write_concepts
from tests.steering.test_concepts import PLAN, continued


def run(*words):
    cli.app([str(word) for word in words], standalone_mode=False)


def test_a_labelled_set_is_imported_and_shown(tmp_path, capsys):
    run("concepts", "import", "feelings", "--out", tmp_path / "feelings.json", "--held-out", 0)
    assert "feelings: 2 concepts held in, 0 held out, 56 texts" in capsys.readouterr().out
    assert [one.name for one in read_concepts(tmp_path / "feelings.json").concepts] == ["happy", "sad"]
    run("concepts", "show", tmp_path / "feelings.json", "--concept", "sad")
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("+ ")]) == 28 == len(lines) // 2


def test_a_set_is_made_after_a_plan(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sampling, "continuation_sampler", lambda folder, n_tokens: continued)
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    run("concepts", "make", "--plan", tmp_path / "plan.json", "--out", tmp_path / "made.json")
    assert "Left out for want of texts: nothing" in capsys.readouterr().out
    found = read_concepts(tmp_path / "made.json")
    assert [one.name for one in found.concepts] == ["the sea", "the hut"]
    assert len(found.made["model_sha256"]) == len(found.made["plan_sha256"]) == 64


def test_what_is_no_models_folder_gets_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"must be a model's folder; it has no config\.json"):
        run("concepts", "make", "--model-folder", tmp_path / "none", "--out", tmp_path / "made.json")


def test_axbench_rows_are_known_by_their_look(tmp_path, capsys):
    of = {"input": "Tell.", "concept_genre": "text"}
    rows = [of | {"output": f"a ship, {i}", "output_concept": "ships", "category": "positive"} for i in range(9)]
    rows += [of | {"output": f"a cat, {i}", "output_concept": "EEEEE", "category": "negative"} for i in range(9)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run("concepts", "import", tmp_path / "rows.jsonl", "--out", tmp_path / "rows.json", "--held-out", 0)
    assert "rows: 1 concepts held in, 0 held out, 9 texts" in capsys.readouterr().out


def test_the_baselines_are_compared_on_a_bundled_concept(tmp_path, capsys):
    write_concepts(concept_set("one", [read_concepts("stories").named("the sea")]), tmp_path / "one.json")
    given = ["--concepts", tmp_path / "one.json", "--contestant", "mean difference", "--strength", 0.2]
    run("concepts", "evaluate", "--out", tmp_path / "report.json", *given)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [line["contestant"] for line in report["table"]] == ["no steering", "random vector", "mean difference"]
    assert report["table"][2]["concept"]["mean"] > 0.05
    assert "mean difference: of concepts held in (1) it beats the random vector" in capsys.readouterr().out
