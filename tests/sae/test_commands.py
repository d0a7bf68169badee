"""`python cli.py sae …` on the bundled model: train, go on, evaluate, convert; bad input by a sentence."""

import json
from pathlib import Path

import pytest

import cli
from sae import tensor_file
from sae.commands import field_words
from sae.library import load_sae, save_sae
from sae.row_choice import RowChoice
from tests.bad_saes import BAD
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


def test_a_flag_says_what_its_field_says(capsys):
    assert field_words(RowChoice)["skip_first"] == "Leave out position 0, the BOS token where there is one."
    run("train", "--help")
    assert "median norm" in " ".join(capsys.readouterr().out.replace("│", " ").split())


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


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_folder_is_said_by_the_command_line(what, tmp_path, capsys, monkeypatch):
    make, words = BAD[what]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tensor_file, "available_bytes", lambda device: 8_000_000_000)
    path = make(tmp_path / "sae")
    for command in (("open", path), ("convert", path, tmp_path / "out")):
        run(*command, code=2)
        assert words in capsys.readouterr().err
    assert {one.name for one in tmp_path.iterdir()} <= {"sae", "home"}


def test_text_that_gives_no_rows_is_refused(tmp_path, capsys):
    for words, content in (("no text", ""), ("no text", "\n<|endoftext|>\n  "), ("A batch of 128 rows", "Once.")):
        (tmp_path / "a.txt").write_text(content)
        run("train", "--hook", HOOK, "--text", tmp_path, "--out", tmp_path / "sae", *TRAIN, code=2)
        assert words in capsys.readouterr().err


def test_a_dictionary_of_one_latent_is_trained(text, tmp_path, capsys):
    small = ["--d-sae=1", "--k=1", "--batch-rows=128", "--total-rows=256", "--buffer-rows=2000"]
    run("train", "--hook", HOOK, "--text", text, "--out", tmp_path / "sae", *small)
    assert "step 2 of 2" in capsys.readouterr().out
    assert load_sae(tmp_path / "sae").W_dec.shape == (1, 192)
