"""Checkpoints: found in a model's folder, counted by name or by tokens.json, loaded with the tokenizer beside them."""

import json

import pytest
from safetensors.torch import save_file

from capture.checkpoints import TrainedModel, checkpoints_of, tokens_in_name
from capture.errors import UserError
from capture.models import load_session
from tests.models import tiny_llama, tiny_tokenizer


@pytest.fixture
def run(tmp_path):
    """A folder with two checkpoints, one of them without a tokenizer, and one folder whose count nothing tells."""
    for seed, name in enumerate(("checkpoints/at-2M", "at-0.5M", "model")):
        tiny_llama(seed).save_pretrained(tmp_path / name)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "logs").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "n_tokens"),
    {"at-4M": 4e6, "250k": 250e3, "step-1.5B": 1.5e9, "run3-2T": 2e12, "at-4": None, "model": None, "M": None}.items(),
)
def test_a_folder_name_tells_its_tokens(name, n_tokens):
    assert tokens_in_name(name) == n_tokens


def test_checkpoints_come_by_their_tokens_and_those_without_a_count_are_left_out(run):
    assert checkpoints_of("mine", run) == (TrainedModel("mine@at-0.5M", 500_000), TrainedModel("mine@at-2M", 2_000_000))


def test_tokens_json_goes_before_names_and_counts_the_folder_itself(run):
    tiny_llama(9).save_pretrained(run)
    (run / "tokens.json").write_text(json.dumps({"at-2M": 2_000_896, "model": 9, ".": 5_000_000}))
    counts = {one.name: one.n_tokens for one in checkpoints_of("mine", run)}
    assert counts == {"mine@model": 9, "mine@at-0.5M": 500_000, "mine@at-2M": 2_000_896, "mine": 5_000_000}


@pytest.mark.parametrize("text", ["{", "[1]", '{"at-2M": "many"}', '{"at-2M": -1}', '{"at-2M": true}', '{"a": 1e99}'])
def test_a_broken_count_gets_a_sentence(run, text):
    (run / "tokens.json").write_text(text)
    with pytest.raises(UserError, match="whole number of tokens"):
        checkpoints_of("mine", run)


def test_a_checkpoint_loads_its_own_weights_with_the_tokenizer_beside_it(run):
    first, second = (load_session(f"{run}@{name}") for name in ("at-2M", "at-0.5M"))
    assert first.fingerprint != second.fingerprint
    assert first.name == f"{run}@at-2M"
    assert first.tokens("the bear", True) == second.tokens("the bear", True)


def test_an_unknown_checkpoint_is_refused_with_those_that_are_there(run):
    with pytest.raises(UserError) as refusal:
        load_session(f"{run}@at-9M")
    assert refusal.value.hint == "Choose one of: at-0.5M, at-2M, model."


def test_a_checkpoint_is_never_looked_for_elsewhere(run):
    save_file({}, run.parent / "model.safetensors")
    (run.parent / "config.json").write_text("{}")
    with pytest.raises(UserError, match="There is no checkpoint"):
        load_session(f"{run}@../")
