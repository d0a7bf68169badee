"""The shelf in the app: it lists SAEs, opens a folder, refuses what is none, and offers a page those that fit."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.link import CODE_FIELD
from analysis.spec import Spec, to_code
from capture.store import ActivationStore
from sae import tensor_file
from sae.library import save_sae
from sae.shelf import BUNDLED, shelved
from tests.bad_saes import BAD
from tests.sae.test_shelf import BUNDLED_DIGEST, STORIES
from tests.saes import D_IN, D_SAE, made
from ui import resources
from ui.sae_shelf import offered_saes

APP = Path(__file__).resolve().parents[2] / "app.py"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def page(monkeypatch, tmp_path):
    """The Store page over an empty store."""
    kept = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(resources, "store", lambda: kept)
    app = AppTest.from_file(str(APP), default_timeout=90)
    app.query_params[CODE_FIELD] = to_code(Spec("store"))
    yield app.run()
    kept.close()


def shelf_of(app):
    return next(one.value for one in app.dataframe if "digest" in one.value.columns)


def open_folder(app, path):
    next(box for box in app.main.text_input if box.label.startswith("Folder, ")).set_value(str(path))
    return next(one for one in app.button if one.label == "Open").click().run()


def test_the_page_lists_the_bundled_sae_with_its_facts(page):
    assert not page.error
    (row,) = shelf_of(page).to_dict("records")
    assert (row["name"], row["kind"], row["d_in"], row["latents"], row["k"]) == (
        "stories-block-2",
        "topk",
        192,
        4096,
        32,
    )
    assert (row["hook point"], row["model"], row["origin"]) == ("blocks.2.hook_resid_post", "stories", "bundled")
    assert BUNDLED_DIGEST.startswith(row["digest"])


def test_a_folder_that_is_opened_is_listed_and_taken_off_again(page, tmp_path):
    save_sae(made("gated"), tmp_path / "mine")
    page = open_folder(page, tmp_path / "mine")
    assert not page.error
    row = shelf_of(page).to_dict("records")[1]
    assert (row["name"], row["kind"], row["d_in"], row["latents"]) == ("mine", "gated", D_IN, D_SAE)
    page = next(one for one in page.button if one.label == "Take this SAE off the shelf").click().run()
    assert shelf_of(page)["name"].tolist() == ["stories-block-2"]
    assert (tmp_path / "mine" / "cfg.json").is_file()


def test_what_is_no_sae_gets_a_sentence_and_is_not_listed(page, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, words in (
        (tmp_path / "empty", "none of the layouts"),
        ("/no/such/folder", "There is no folder"),
        ("no-such/id", "no release"),
    ):
        page = open_folder(page, path)
        assert not page.exception
        assert words in page.error[0].value
    assert len(shelf_of(page)) == 1


def test_what_is_wrong_with_a_folder_is_said_on_the_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tensor_file, "available_bytes", lambda device: 8_000_000_000)
    for n, (make, words) in enumerate(BAD.values()):
        page = open_folder(page, make(tmp_path / f"sae-{n}"))
        assert not page.exception
        assert words in page.error[0].value.replace("\\", "")
    assert len(shelf_of(page)) == 1
    assert not (tmp_path / "stolen").exists()


def test_a_model_is_offered_what_was_trained_on_it_and_what_does_not_say(tmp_path):
    from sae.shelf import put_on_shelf

    save_sae(made("topk"), tmp_path / "silent")
    save_sae(made("relu", provenance={"fingerprint": "of another model"}), tmp_path / "other")
    save_sae(made("gated", provenance={"fingerprint": "in bfloat16", "model": "stories"}), tmp_path / "halved")
    for name in ("silent", "other", "halved"):
        put_on_shelf(tmp_path / name)
    assert [one.name for one in offered_saes(STORIES, "stories")] == ["stories-block-2", "halved", "silent"]
    assert [one.name for one in offered_saes("", "stories")] == [one.name for one in shelved()]
    assert offered_saes(STORIES, "stories")[0].folder == BUNDLED / "stories-block-2"


CHOOSER = """
import streamlit as st
from ui import state
from ui.sae_shelf import choose_sae
asked = state.session().asked
chosen = choose_sae(asked, {fingerprint!r})
st.text(f"{{chosen.digest if chosen else None}} {{asked.options.get('sae', '')}}")
"""


def test_a_page_chooses_among_them_and_opens_another(tmp_path, monkeypatch, tiny_session):
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    save_sae(made("topk"), tmp_path / "silent")
    app = AppTest.from_string(CHOOSER.format(fingerprint=STORIES), default_timeout=60).run()
    assert app.text[0].value == BUNDLED_DIGEST
    app = open_folder(app, tmp_path / "silent")
    digest = shelved()[1].digest
    assert app.text[0].value == f"{digest} {digest}"
    assert "do not say where it reads" in app.toast[0].value
    app = app.selectbox[0].set_value(BUNDLED_DIGEST).run()
    assert app.text[0].value == f"{BUNDLED_DIGEST} {BUNDLED_DIGEST}"


def test_a_model_without_an_sae_is_told_so():
    app = AppTest.from_string(CHOOSER.format(fingerprint="0123"), default_timeout=60).run()
    assert app.selectbox[0].placeholder == "none was trained on this model"
    assert app.text[0].value == "None"
