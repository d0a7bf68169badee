"""The shelf: which SAEs can be named, how they are found, and that nothing else is read."""

from pathlib import Path

import pytest

from capture.errors import UserError
from sae import shelf
from sae.library import load_sae, save_sae
from tests.saes import made

BUNDLED_DIGEST = "375c4d31cfc8d863648b8844200aaf78"
STORIES = "2bea1ec9cb8b6abde95d5469ffd80083"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))


def test_the_bundled_sae_is_found_by_name_digest_and_model():
    found = [shelf.find_shelved(*words) for words in (("stories-block-2",), (BUNDLED_DIGEST[:12],), ("", STORIES))]
    assert {(one.name, one.digest, one.origin) for one in found} == {("stories-block-2", BUNDLED_DIGEST, "bundled")}
    assert found[0].facts == load_sae(shelf.BUNDLED / "stories-block-2").facts


def test_an_opened_folder_is_on_the_shelf_until_it_is_gone(tmp_path):
    save_sae(made("topk"), tmp_path / "mine")
    assert shelf.put_on_shelf(tmp_path / "mine").origin == "opened"
    assert [one.name for one in shelf.shelved()] == ["stories-block-2", "mine"]
    (tmp_path / "mine").rename(tmp_path / "gone")
    assert [one.name for one in shelf.shelved()] == ["stories-block-2"]


def test_a_changed_sae_has_another_digest_and_the_old_one_is_refused(tmp_path):
    save_sae(made("topk"), tmp_path / "mine")
    before = shelf.put_on_shelf(tmp_path / "mine").digest
    save_sae(made("jumprelu"), tmp_path / "mine")
    assert shelf.find_shelved("mine").digest != before
    with pytest.raises(UserError, match="No SAE on the shelf is called"):
        shelf.load_shelved(before)


def test_a_folder_is_hashed_once(tmp_path, monkeypatch):
    save_sae(made("topk"), tmp_path / "mine")
    shelf.put_on_shelf(tmp_path / "mine")
    digest = shelf.find_shelved("mine").digest
    monkeypatch.setattr(shelf, "_read", lambda folder, stamp: pytest.fail(f"{folder} was read again"))
    assert shelf.find_shelved("mine").digest == digest


def test_a_path_is_no_name(tmp_path):
    save_sae(made("topk"), tmp_path / "mine")
    for wanted in (str(tmp_path / "mine"), "../saes/stories-block-2", "/etc/passwd"):
        with pytest.raises(UserError, match="No SAE on the shelf"):
            shelf.find_shelved(wanted)


def test_a_model_without_an_sae_is_told_what_there_is():
    with pytest.raises(UserError, match=r"there are: stories-block-2"):
        shelf.find_shelved("", "0123456789")


def test_a_damaged_index_costs_a_reading_and_nothing_else(tmp_path):
    (tmp_path / "home").mkdir()
    for text in ("{", '{"opened": 3, "seen": []}', "[]"):
        (tmp_path / "home" / shelf.INDEX).write_text(text)
        assert shelf.find_shelved("stories-block-2").digest == BUNDLED_DIGEST


def test_an_sae_is_loaded_once_for_calls_in_a_row():
    assert shelf.load_shelved(BUNDLED_DIGEST) is shelf.load_shelved("stories-block-2")


def test_what_is_no_sae_is_not_put_on_the_shelf(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="none of the layouts"):
        shelf.put_on_shelf(tmp_path / "empty")
    assert shelf.trained_folder() == Path(tmp_path / "home" / "saes").resolve()
