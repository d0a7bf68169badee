"""`python cli.py sae …` on the bundled model: train, go on, evaluate, convert; bad input by a sentence."""

import json
from pathlib import Path

import pytest

import cli
from sae.library import load_sae, save_sae
from tests.saes import made

STORY = "Once upon a time there was a little bear who lived near a river. He liked to eat honey and to sleep. "
TRAIN = ["--d-sae=64", "--k=4", "--batch-rows=128", "--total-rows=1280", "--buffer-rows=2000", "--window=64"]
BUNDLED = Path(__file__).resolve().parents[2] / "data" / "saes" / "stories-block-2"
HOOK = "blocks.2.hook_resid_post"


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text(STORY * 60)
    return tmp_path / "text"


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        cli.main(["sae", *map(str, arguments)])
    assert ended.value.code == code


def test_an_sae_is_trained_evaluated_and_converted(text, tmp_path, capsys):
    run("train", "--hook", HOOK, "--text", text, "--out", tmp_path / "sae", *TRAIN)
    assert "step 10 of 10" in capsys.readouterr().out
    run("train", "--hook", HOOK, "--text", text, "--out", tmp_path / "sae", *TRAIN)
    assert "step" not in capsys.readouterr().out
    run(
        "eval", tmp_path / "sae", "--text", text / "a.txt", "--n-texts", 4, "--window", 64, "--out", tmp_path / "t.json"
    )
    table = json.loads((tmp_path / "t.json").read_text())
    fvu = next(row for row in table["rows"] if row["name"] == "fvu")
    assert f"{fvu['value']:.4f}" in capsys.readouterr().out
    assert fvu["low"] <= fvu["value"] <= fvu["high"]
    run("convert", tmp_path / "sae", tmp_path / "layers.2", "--to", "sparsify")
    assert load_sae(tmp_path / "layers.2").facts.hook_point == HOOK


def test_probes_ablations_and_explanations_are_rows_too(text, tmp_path, capsys):
    more = ["--labels", "speech", "--explain", 2, "--ablate", 4, "--out", tmp_path / "t.json"]
    run("eval", BUNDLED, "--text", text / "a.txt", "--n-texts", 4, "--window", 48, *more)
    table, printed = json.loads((tmp_path / "t.json").read_text()), capsys.readouterr().out
    over = {row["name"]: row["interval_over"] for row in table["rows"]}
    assert (over["sparse_probe_5"], over["ablation_sparsity"], over["explanation_recall"]) == (
        "texts",
        "places",
        "latents",
    )
    assert len(table["explanations"]) == 2
    assert f"latent {table['explanations'][0]['latent']}: " in printed
    assert [task["label"] for task in table["tasks"]] == ["narration"]


def test_bad_input_gets_a_sentence(text, tmp_path, capsys):
    run("train", "--hook", HOOK, "--text", text, "--out", tmp_path / "sae", "--d-sae", 8, "--k", 9, code=2)
    assert "k must be from 1 to d_sae = 8" in capsys.readouterr().err
    run("train", "--hook", "blocks.2.nothing", "--text", text, "--out", tmp_path / "sae", *TRAIN, code=2)
    assert "nothing" in capsys.readouterr().err
    run("eval", tmp_path, "--text", text / "a.txt", code=2)
    assert "none of the layouts" in capsys.readouterr().err
    run("train", "--hook", HOOK, "--text", text, "--out", tmp_path / "sae", *TRAIN)
    run("eval", tmp_path / "sae", "--text", text / "none.txt", code=2)
    assert "There is no file none.txt" in capsys.readouterr().err
    run("eval", tmp_path / "sae", "--text", text / "a.txt", "--labels", "none.csv", code=2)
    assert "nor a labelled set of that name" in capsys.readouterr().err


def test_an_opened_sae_is_listed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    save_sae(made("gated"), tmp_path / "mine")
    run("open", tmp_path / "mine")
    run("list")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[:5] == ["mine", "gated", "12", "40", "–"]
    assert load_sae(tmp_path / "mine").digest[:12] in last
    run("open", tmp_path / "none", code=2)
    assert "There is no folder" in capsys.readouterr().err
