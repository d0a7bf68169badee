"""SAEs by release and id, from a stand-in for the hub: SAELens itself reads what it gives."""

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from capture.errors import UserError
from sae import registry, shelf
from sae.library import load_sae
from tests.saes import D_IN, D_SAE, K, normal

NAMED = "gpt2-small-res-jb/blocks.8.hook_resid_pre"
REPOSITORY = "jbloom/GPT2-Small-SAEs-Reformatted"


@pytest.fixture(scope="module")
def saelens_loaders():
    return registry._saelens().loading.pretrained_sae_loaders


@pytest.fixture
def hub(tmp_path, monkeypatch, saelens_loaders):
    """A folder in the hub's place, with one TopK SAE under the registry's path of NAMED; returns that SAE and asks."""
    import sae_lens

    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    theirs = sae_lens.TopKSAE(sae_lens.TopKSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K))
    theirs.b_enc.data = normal(D_SAE, seed=2)
    theirs.cfg.metadata.hook_name = "blocks.8.hook_resid_pre"
    theirs.save_model(str(tmp_path / "hub" / NAMED.split("/")[1]))
    asked = []

    def snapshot(repository, allow_patterns, etag_timeout):
        asked.append((repository, allow_patterns[0]))

    def download(repo_id, filename, force_download):
        path = tmp_path / "hub" / filename
        if not path.is_file():
            raise huggingface_hub.errors.EntryNotFoundError(filename)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(saelens_loaders, "hf_hub_download", download)
    return theirs, asked


def test_release_and_id_are_fetched_once_and_named_so_on_the_shelf(hub):
    theirs, asked = hub
    one = shelf.open_sae(NAMED)
    assert (one.name, one.origin, one.facts.hook_point) == (NAMED, "fetched", "blocks.8.hook_resid_pre")
    x = normal(9, D_IN, seed=0)
    torch.testing.assert_close(load_sae(one.folder).reconstruct(x)[0], theirs(x).detach(), atol=1e-5, rtol=1e-5)
    assert shelf.open_sae(NAMED) == one
    assert asked == [(REPOSITORY, "blocks.8.hook_resid_pre")]
    assert shelf.find_shelved(NAMED) == one
    assert shelf.load_named(NAMED).digest == one.digest


@pytest.mark.parametrize(
    ("named", "words", "hint"),
    [
        ("gpt2-small-res-jbx/a", "no release of that name", "gpt2-small-res-jb"),
        ("gpt2-small-res-jb/blocks.99.hook_resid_pre", "has no SAE 'blocks.99", "blocks.9.hook_resid_pre"),
    ],
)
def test_what_is_not_listed_is_told_what_is_near(hub, named, words, hint):
    with pytest.raises(UserError, match=words) as refused:
        shelf.open_sae(named)
    assert hint in refused.value.hint
    assert hub[1] == []


def test_a_hub_that_cannot_be_reached_is_a_sentence_that_says_what_to_do(hub, monkeypatch):
    def unreachable(*_, **__):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UserError, match="hub cannot be reached") as refused:
        shelf.open_sae(NAMED)
    assert REPOSITORY in refused.value.hint
    assert not registry.fetched_folder().exists()


def test_what_saelens_cannot_read_leaves_nothing_behind(hub, tmp_path):
    config = Path(tmp_path / "hub" / "blocks.8.hook_resid_pre" / "cfg.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "architecture": "magic"}))
    with pytest.raises(UserError, match="SAELens could not read"):
        shelf.open_sae(NAMED)
    assert list(registry.fetched_folder().glob("*")) == []


@pytest.mark.parametrize("named", ["/etc/passwd", "../up/x", "~/x", "./a/b", "alone"])
def test_a_path_is_no_release(named):
    assert not registry.may_be_listed(named)
