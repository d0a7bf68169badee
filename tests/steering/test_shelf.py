"""The shelf of steering things: what can be named here, how it is found, renamed, removed; nothing else is read."""

import json

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from steering import shelf
from steering.fitted import Fitted
from steering.vector_folder import read_vectors, write_vectors

AT = HookPoint(2, "resid_post")
STORIES = "2bea1ec9cb8b6abde95d5469ffd80083"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def made(tmp_path):
    def make(entry, name="given"):
        vectors = {AT: torch.full((3,), float(entry))}
        write_vectors(Fitted("mean_difference", vectors, {AT: 1.0}, {"model": "m"}), tmp_path / name)
        return tmp_path / name

    return make


def test_the_bundled_vectors_are_found_by_name_and_digest():
    found = shelf.find_shelved("vectors", "happy_sad")
    assert shelf.find_shelved("vectors", found.digest[:12]) == found
    assert found.is_bundled
    assert found.fits(STORIES)
    assert len(shelf.shelved("vectors")) == 8


def test_what_is_put_on_the_shelf_is_a_copy_with_a_name(made):
    folder = made(1)
    one = shelf.put_on_shelf("vectors", folder, "My happy one")
    made(2)
    assert shelf.find_shelved("vectors", "My happy one") == one
    assert read_vectors(one.folder).vectors[AT].tolist() == [1, 1, 1]
    assert not one.is_bundled


def test_equal_files_are_one_thing_and_another_with_that_name_gets_a_number(made):
    first = shelf.put_on_shelf("vectors", made(1), "a")
    assert shelf.put_on_shelf("vectors", made(1), "b") == first
    assert shelf.put_on_shelf("vectors", made(2), "a").name == "a 2"
    assert shelf.put_on_shelf("vectors", made(3), "happy_sad").name == "happy_sad 2"


def test_the_digest_follows_the_files_and_not_the_name(made):
    one = shelf.put_on_shelf("vectors", made(1), "a")
    renamed = shelf.rename_shelved(one, "b")
    assert (renamed.digest, renamed.name) == (one.digest, "b")
    manifest = renamed.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"licence": "MIT"}))
    assert shelf.find_shelved("vectors", "b").digest != one.digest
    with pytest.raises(UserError, match="has another digest"):
        shelf.find_shelved("vectors", one.digest)


def test_what_is_taken_off_is_gone_and_its_origin_is_not(made):
    folder = made(1)
    shelf.take_off_shelf(shelf.put_on_shelf("vectors", folder, "a"))
    assert len(shelf.shelved("vectors")) == 8
    assert folder.is_dir()


@pytest.mark.parametrize("change", [shelf.take_off_shelf, lambda one: shelf.rename_shelved(one, "mine")])
def test_what_is_bundled_stays_as_it_is(change):
    with pytest.raises(UserError, match="comes with the program"):
        change(shelf.find_shelved("vectors", "happy_sad"))


@pytest.mark.parametrize("name", ["", " ", ".", "..", ".hidden", "a/b", "../up", "a\\b", "a\0", "a\n", "x" * 61, "a "])
def test_a_name_that_no_folder_may_have_is_refused(made, name):
    with pytest.raises(UserError, match="A name has 1 to 60 letters"):
        shelf.put_on_shelf("vectors", made(1), name)


def test_a_path_is_no_name(made):
    folder = made(1)
    shelf.put_on_shelf("vectors", folder, "a")
    for wanted in (str(folder), "../vectors/a", "", "/etc/passwd"):
        with pytest.raises(UserError, match="on the shelf is called"):
            shelf.find_shelved("vectors", wanted)


def test_links_out_of_a_folder_and_hidden_files_stay_behind(made, tmp_path):
    folder = made(1)
    (tmp_path / "secret").write_text("s")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / ".hidden").write_text("h")
    (folder / "sub").mkdir()
    (folder / "sub" / "more").write_text("m")
    one = shelf.put_on_shelf("vectors", folder, "a")
    assert sorted(path.name for path in one.folder.rglob("*")) == [
        "manifest.json",
        "more",
        "sub",
        "vectors.safetensors",
    ]


def test_a_folder_is_hashed_once(made, monkeypatch):
    one = shelf.put_on_shelf("vectors", made(1), "a")
    monkeypatch.setattr(shelf.hashlib, "file_digest", lambda *_: pytest.fail("it was read again"))
    assert shelf.find_shelved("vectors", "a").digest == one.digest


@pytest.mark.parametrize("text", ["{", "[]", "\ud800" * 3])
def test_a_damaged_manifest_leaves_the_others(made, text):
    one = shelf.put_on_shelf("controllers", made(1), "a")
    shelf.put_on_shelf("controllers", made(2), "b")
    (one.folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert [one.name for one in shelf.shelved("controllers") if not one.is_bundled] == ["b"]


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has a manifest\.json"):
        shelf.put_on_shelf("hypernetworks", tmp_path, "a")


def test_a_full_disk_leaves_nothing_behind(made, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shelf.shutil, "copyfile", full)
    with pytest.raises(UserError, match="No space left on device"):
        shelf.put_on_shelf("vectors", made(1), "a")
    assert list((tmp_path / "home" / "vectors").iterdir()) == []
