"""The recipe that makes the bundled model: its windows, its resume, its export."""

import hashlib
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from capture.checkpoints import checkpoints_of
from capture.errors import UserError
from capture.models import load_session
from data.recipes.bundle_model import bundle_model
from data.recipes.text_stream import batches, encode_documents, epoch_windows, read_documents, training_files
from data.recipes.train_model import train
from data.recipes.training_recipe import TrainingRecipe

TINY = TrainingRecipe(
    d_model=16,
    n_layers=1,
    n_heads=1,
    d_mlp=32,
    d_vocab=300,
    context=32,
    windows="16:0.5,32:1",
    batch_tokens=128,
    micro_tokens=64,
    total_tokens=128 * 12,
    warmup_steps=2,
    mix="tale:2",
)


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    tales = "\n<|endoftext|>\n".join(
        f"The {animal} sat on the mat {n} times." for n in range(40) for animal in ["cat", "dog"]
    )
    (tmp_path / "tale.train.txt").write_text(tales)
    told_again = " ".join(f"The dog sat on the mat {n} times." for n in range(5, 25))
    (tmp_path / "simple.heldout.txt").write_text(told_again)
    return tmp_path


def run(text_folder: Path, out: Path, recipe: TrainingRecipe, **settings) -> Path:
    return train(text_folder, out, recipe, compile_model=False, eval_every=6, n_threads=1, **settings)


def test_documents_are_split_at_separators(text_folder: Path) -> None:
    assert read_documents(text_folder / "tale.train.txt")[1] == "The dog sat on the mat 0 times."


def test_every_window_starts_with_bos_and_no_token_is_lost() -> None:
    documents = [np.arange(1, 40, dtype=np.uint16), np.arange(40, 90, dtype=np.uint16)]
    windows = epoch_windows([(documents, 1)], window=8, seed=3)
    assert (windows[:, 0] == 0).all()
    seen = windows[:, 1:].ravel()
    assert len(seen) >= 91 - 2 * 7
    assert (np.bincount(seen[seen > 0], minlength=90) <= 1).all()


def test_a_batch_depends_on_its_step_alone() -> None:
    sources = [([np.arange(1, 290, dtype=np.uint16)] * 3, 1)]
    whole = list(batches(sources, TINY, 0))
    later = list(islice(batches(sources, TINY, 5), 3))
    assert all(torch.equal(a, b) for a, b in zip(whole[5:8], later, strict=True))
    assert [tuple(batch.shape) for batch in (whole[5], whole[6])] == [(8, 16), (4, 32)]


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = TrainingRecipe(batch_tokens=100, total_tokens=100 * 1000, warmup_steps=100, learning_rate=1.0)
    assert recipe.rate_at(49) == pytest.approx(0.5)
    assert recipe.rate_at(500) == 1.0
    assert recipe.rate_at(775) == pytest.approx(0.02 + 0.98 * 0.5)
    assert recipe.rate_at(999) == pytest.approx(0.02 + 0.98 / 450)


def test_a_stopped_run_goes_on_to_the_same_weights(text_folder: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop_after_the_first_evaluation(line: str) -> None:
        if line.startswith("held-out"):
            raise Stopped

    # The step that was evaluated is saved one step later at the earliest, so save after every step.
    with pytest.raises(Stopped):
        run(text_folder, tmp_path / "stopped", TINY, report=stop_after_the_first_evaluation, save_every_s=0)
    resumed = run(text_folder, tmp_path / "stopped", TINY)
    whole = run(text_folder, tmp_path / "whole", TINY)
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"n_layers": 0}, "n_layers must be at least 1"),
        ({"n_heads": 3}, "must divide the width"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"total_tokens": 5}, "total_tokens must be at least 128"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(text_folder: Path, tmp_path: Path, changed, words) -> None:
    with pytest.raises(UserError, match=words):
        run(text_folder, tmp_path / "run", replace(TINY, **changed))


def test_training_lowers_the_held_out_loss(text_folder: Path, tmp_path: Path) -> None:
    recipe = TrainingRecipe(**{**TINY.__dict__, "total_tokens": 128 * 60, "learning_rate": 1e-2})
    out = run(text_folder, tmp_path / "run", recipe)
    curve = json.loads((out.parent / "curve.json").read_text())["curve"]
    assert curve[-1]["simple.heldout"] < curve[0]["simple.heldout"] - 0.5


def test_the_export_is_a_folder_that_transformers_loads(text_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = run(text_folder, tmp_path / "run", TINY, keep_at=(1_000,))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    assert tokenizer.bos_token_id == 0
    assert tokenizer.decode(tokenizer("The cat  sat,\n")["input_ids"]) == "The cat  sat,\n"
    assert (tmp_path / "run" / "at-0M" / "config.json").is_file()
    assert json.loads((tmp_path / "run" / "tokens.json").read_text()) == {"at-0M": 1_024, "model": 1_536}


def test_a_run_is_bundled_with_its_checkpoints_counts_and_checksums(text_folder: Path, tmp_path: Path) -> None:
    run(text_folder, tmp_path / "run", TINY, keep_at=(1_000,))
    (tmp_path / "run" / "at-0M").rename(tmp_path / "run" / "at-1k")
    out = bundle_model(tmp_path / "run", tmp_path / "small")
    trained = checkpoints_of("small", out)
    assert [(one.name, one.n_tokens) for one in trained] == [("small@at-1k", 1_024), ("small", 1_536)]
    assert [load_session(str(out) + one.name[5:]).shape.n_layers for one in trained] == [1, 1]
    card = (out / "README.md").read_text()
    assert card.startswith("# small\n")
    for weights in out.rglob("*.safetensors"):
        assert hashlib.sha256(weights.read_bytes()).hexdigest() in card


def test_a_run_that_is_not_over_is_not_bundled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be a finished run"):
        bundle_model(tmp_path, tmp_path / "small")


def test_a_folder_without_text_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it has none"):
        training_files(tmp_path, "tale:1")


def test_too_little_text_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="must fill a batch of 128 tokens"):
        next(batches([([np.ones(20, np.uint16)], 1)], TINY, 0))


def test_encoding_keeps_documents_apart(text_folder: Path) -> None:
    from data.recipes.text_stream import learn_tokenizer

    files = [text_folder / "tale.train.txt"]
    tokenizer = learn_tokenizer(files, d_vocab=300)
    encoded = encode_documents(tokenizer, ["The cat", "The dog"])
    assert [tokenizer.decode(ids) for ids in encoded] == ["The cat", "The dog"]
    assert all(0 not in ids for ids in encoded)


def test_the_card_states_command_checksum_and_losses(text_folder: Path, tmp_path: Path) -> None:
    out = run(text_folder, tmp_path / "run", TINY)
    card = (out / "README.md").read_text()
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    last = json.loads((out.parent / "curve.json").read_text())["curve"][-1]
    assert digest in card
    assert f"{last['simple.heldout']:.2f}" in card
    assert "python cli.py train-model --text TEXT_FOLDER --out OUT_FOLDER --d-model 16" in card


def test_the_card_sums_up_the_licences_of_the_text(text_folder: Path, tmp_path: Path) -> None:
    rows = [("licence", "repo", "bytes_before_cleaning"), ("CC0", "a/one", "1500000"), ("CC0", "b/two", "500000")]
    (text_folder / "SOURCES.tsv").write_text("\n".join("\t".join(row) for row in rows))
    card = (run(text_folder, tmp_path / "run", TINY) / "README.md").read_text()
    assert "| CC0 | a/one, b/two | 2.0 |" in card
