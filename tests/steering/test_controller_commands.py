"""The commands for controllers: train, score, list, ask, export, import, on the planted model."""

import json

import pytest

import cli
from tests.steering.planted import planted_pairs
from tests.steering.planted_controller import contrast, session


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """`run(line)` is what a command prints."""
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("steering.shelf.BUNDLED", tmp_path / "bundled")
    monkeypatch.setattr("capture.models.load_session", lambda name: session())
    monkeypatch.chdir(tmp_path)
    for name, seed in (("prompts", 1), ("held", 9)):
        rows = [{"text": one.text, "label": one.label} for one in contrast(6, seed=seed).examples]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    pairs = [{"positive": a.text, "negative": b.text} for a, b in planted_pairs(6).pairs]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs), "utf-8")

    def said(line: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(line.split())
        assert ended.value.code == 0
        return capsys.readouterr().out

    return said


TRAIN = "controller train prompts.jsonl --held-out held.jsonl --pairs pairs.json --no-bos --n-epochs 2 --hidden 4"


def test_a_controller_is_trained_scored_listed_asked_and_carried(run, tmp_path):
    printed = run(f"{TRAIN} --out mine --shelve")
    assert "6 prompts labelled 'up' to act on, 6 others" in printed
    assert "AUROC of s" in printed
    assert "On the shelf as mine" in printed
    assert "mine (" in run("controller list")
    assert "\nwith α 0.1: ABC" in run("controller ask mine --text ABC --n-tokens 3")
    assert "written to out" in run("controller export mine --out out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"controller.safetensors", "manifest.json"}
    assert run("controller import out --name again").startswith("On the shelf as mine")
    assert "axbench" in run("controller formats")


def test_variants_are_compared_in_one_table(run, tmp_path):
    for variant in ("paper", "fixed"):
        run(f"{TRAIN} --variant {variant} --out {variant} --no-score")
    printed = run("controller score paper fixed --prompts prompts.jsonl --held-out held.jsonl --pairs pairs.json")
    assert "constant" in printed
    names = [one["name"] for one in json.loads((tmp_path / "paper" / "manifest.json").read_text())["scores"]["systems"]]
    assert names == ["paper", "fixed", "constant", "CAST", "labels known"]


def test_what_cannot_be_measured_is_refused_before_it_is_trained(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*TRAIN.split(), "--pairs=", "--out", "mine"])
    assert (ended.value.code, (tmp_path / "mine").exists()) == (2, False)
    assert "Effects are measured on contrast pairs" in capsys.readouterr().err
