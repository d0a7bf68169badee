"""The Library page: what is on the shelf, from what and how good; used, exported, imported, renamed, removed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from analysis.link import CODE_FIELD
from analysis.spec import Spec, to_code
from capture.hook_point import HookPoint
from steering import shelf
from steering.bundle import make_bundle, write_bundle
from steering.fitted import Fitted
from steering.importing import import_any
from steering.shelf import find_shelved, put_on_shelf, shelved
from steering.shelf_export import folder_zip
from steering.shelf_step import step_from_shelf
from steering.vector_file import VectorFile, formats, read_vector_file, write_vector_file
from steering.vector_folder import read_vectors, write_vectors
from tests.steering.test_bundle_carries import controller_step
from ui import library_card, library_export, library_import, library_rows, resources, state

APP = Path(__file__).resolve().parents[2] / "app.py"
TEXT = "Once upon a time a small bear sat near the river."


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch, tiny_session):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(resources, "store", lambda: None)
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "known_fingerprint", lambda name, dtype: tiny_session.fingerprint)


@pytest.fixture
def mine(tmp_path, tiny_session):
    """Vectors of a person's own, for the tiny model, at two blocks."""
    vectors = {HookPoint(layer, "resid_post"): torch.full((32,), 1.0 + layer) for layer in (1, 2)}
    facts = {"model": "stories", "fingerprint": tiny_session.fingerprint, "options": {"bos": True}, "licence": "CC0"}
    write_vectors(Fitted("mean_difference", vectors, dict.fromkeys(vectors, 9.0), facts), tmp_path / "given")
    return put_on_shelf("vectors", tmp_path / "given", "my glad ones")


def opened(**options):
    app = AppTest.from_file(str(APP), default_timeout=90)
    app.query_params[CODE_FIELD] = to_code(Spec("library", text=TEXT, options=options))
    return app.run()


def press(app, label):
    return next(one for one in app.button if one.label == label).click().run()


def said(app):
    return "\n".join(one.value.replace("\\", "") for one in (*app.markdown, *app.caption, *app.warning, *app.error))


def asked(app):
    return app.session_state["steerscope"].asked


def test_the_bundled_vectors_are_listed_with_their_scores():
    app = opened()
    assert not app.exception
    assert not app.error
    rows = app.dataframe[0].value.set_index("name")
    source = find_shelved("vectors", "happy_sad").manifest["scores"]
    assert rows.loc["happy_sad", "AUROC"] == pytest.approx(source["auroc"]["blocks.2.hook_resid_post"])
    assert rows.loc["happy_sad", ["strength", "steers", "origin", "licence"]].tolist() == [
        0.1,
        "yes",
        "bundled",
        "Apache-2.0",
    ]
    assert rows.loc["day_night", "steers"] == "not shown"


def test_vectors_for_the_views_model_come_first_and_show_their_making(mine):
    app = opened()
    assert app.dataframe[0].value["name"].tolist()[0] == "my glad ones"
    assert "### my glad ones" in said(app)
    words = app.table[0].value.to_string().replace("\\", "")
    assert "bos: yes" in words
    assert mine.digest[:12] in words
    assert "CC0" in words


def test_a_link_shows_what_its_digest_names():
    one = find_shelved("vectors", "winter_summer")
    app = opened(item=one.digest[:12])
    assert "### winter_summer" in said(app)
    assert len(app.get("plotly_chart")) == 2


@pytest.mark.parametrize("item", ["0" * 12, "../../etc/passwd", "/etc/passwd", 7])
def test_a_link_to_what_is_not_here_gets_a_sentence_and_reads_no_path(item, monkeypatch):
    app = opened(item=item)
    assert f"Nothing on the shelf is called '{item}': import its file again" in said(app)
    assert not app.exception


@pytest.mark.parametrize("kind", ["controllers", "hypernetworks", "recipes"])
def test_an_empty_kind_says_how_to_fill_it(kind, monkeypatch, tmp_path):
    monkeypatch.setattr(shelf, "BUNDLED", tmp_path)
    app = opened(kind=kind)
    assert f"No {kind} yet" in said(app)
    assert not app.dataframe


def test_a_controller_on_the_shelf_is_shown_with_what_it_says_of_itself(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"method": "was", "facts": {"model": "stories"}, "scores": 3}))
    one = put_on_shelf("controllers", folder, "gate keeper")
    app = opened(kind="controllers", item=one.digest[:12])
    assert not app.error
    rows = app.dataframe[0].value.set_index("name")
    assert rows.loc["gate keeper", ["made by", "model"]].tolist() == ["was", "stories"]
    assert "In the steering lab: Add, Controller." in said(app)
    assert not [one for one in app.button if one.label == "Use in the lab"]


def test_use_in_the_lab_adds_a_step_to_the_recipe(mine):
    app = press(opened(item=mine.digest[:12]), "Use in the lab")
    (step,) = asked(app).interventions
    assert (step["kind"], step["name"], step["source"]) == ("step", "my glad ones", mine.digest)


def test_renaming_keeps_the_digest_and_the_card(mine):
    app = opened(item=mine.digest[:12])
    next(one for one in app.main.text_input if one.label == "New name").set_value("gladness")
    app = press(app, "Rename it")
    assert "### gladness" in said(app)
    assert find_shelved("vectors", mine.digest).name == "gladness"


def test_a_bad_name_gets_a_sentence(mine):
    app = opened(item=mine.digest[:12])
    next(one for one in app.main.text_input if one.label == "New name").set_value("../up")
    app = press(app, "Rename it")
    assert "A name has 1 to 60 letters" in said(app)
    assert find_shelved("vectors", mine.digest).name == "my glad ones"


def test_removing_asks_first_and_takes_only_ones_own(mine):
    app = press(opened(item=mine.digest[:12]), "Remove it for good")
    assert len(shelved("vectors")) == 8
    assert not [one for one in app.button if one.label in ("Remove it for good", "Rename it")]


@pytest.mark.parametrize("kind", [*formats()])
def test_the_export_menu_offers_each_format_with_the_stored_vectors(kind, mine, tmp_path):
    found = library_export._vector_file(mine, Spec("library"))
    assert (found.model_type, found.n_layers) == ("llama", 3)
    vectors = {}
    for name, data in write_vector_file(kind, found).items():
        (tmp_path / name).write_bytes(data)
        vectors |= read_vector_file(tmp_path / name).vectors
    stored = read_vectors(mine.folder).vectors
    assert {at: one.tolist() for at, one in vectors.items()} == {at: one.tolist() for at, one in stored.items()}


def menu(one, kind):
    def script(digest, kind):
        from analysis.spec import Spec
        from steering.shelf import find_shelved
        from ui import library_export
        from ui.boundary import boundary

        one, asked = find_shelved("vectors", digest), Spec("library")
        with boundary("exporting"):
            library_export._bundle(one, asked) if kind == "bundle" else library_export._file(one, asked, kind)

    return AppTest.from_function(script, args=(one.digest, kind), default_timeout=60).run()


def test_the_menu_says_what_a_format_cannot_carry(mine, tmp_path, tiny_session):
    at = HookPoint(0, "resid_post")
    facts = {"model": "stories", "fingerprint": tiny_session.fingerprint}
    write_vectors(Fitted("mean_difference", {at: torch.ones(32)}, {at: 1.0}, facts), tmp_path / "first")
    app = menu(put_on_shelf("vectors", tmp_path / "first", "first block"), "llama.cpp")
    assert "cannot carry block 0" in said(app)
    assert not app.get("download_button")
    assert [one.proto.label for one in menu(mine, "svec").get("download_button")] == ["steering.svec"]


def test_the_menu_offers_the_bundle(mine):
    app = menu(mine, "bundle")
    (button,) = app.get("download_button")
    assert button.proto.label.startswith("Bundle (ZIP")
    assert "my glad ones" in said(app)


def test_an_imported_file_is_on_the_shelf_under_the_name_that_was_given(monkeypatch, tiny_session):
    session = state.Session(asked=Spec("library"))
    monkeypatch.setattr(state, "session", lambda: session)
    found = VectorFile({HookPoint(1, "resid_post"): torch.ones(32)}, "theirs")
    (data,) = write_vector_file("svec", found).values()
    library_import._import(Spec("library"), "..\\..\\a/steering.svec", data, "from a friend", "", "MIT")
    one = find_shelved("vectors", "from a friend")
    assert (one.facts["imported"]["file"], one.facts["licence"]) == ("steering.svec", "MIT")
    assert session.asked.options["item"] == one.digest[:12]
    assert library_rows.origin_of(one) == "imported"
    assert library_rows.made_by(one) == "a .svec file"


@pytest.fixture
def recipe(mine, tiny_session, tmp_path):
    """A recipe on the shelf, from a bundle with a sweep."""
    score = {"mean": 0.2, "low": 0.1, "high": 0.3}
    doses = [
        {"strength": one, "layer": None, "concept": score, "kl": score, "perplexity_ratio": score} for one in (0.5, 1.0)
    ]
    halves = {"tuned": "step 1", "pairs": None, "prompts": {"n_choosing": 1, "n_reported": 1}}
    said = {
        **halves,
        "unit": "as stored",
        "standing": {"strength": 1.0, "layer": None},
        "knee": doses[0],
        "kl_budget": 0.1,
    }
    bundle = make_bundle(tiny_session, [step_from_shelf(mine.digest), controller_step(tiny_session, tmp_path)], "both")
    manifest = json.loads(bundle.files["manifest.json"]) | {"recipe_scores": [{**said, "doses": doses}]}
    write_bundle(
        replace(bundle, files={**bundle.files, "manifest.json": json.dumps(manifest).encode()}), tmp_path / "b"
    )
    return import_any(tmp_path / "b", "theirs").first


def test_a_recipe_is_shown_with_its_steps_and_its_sweep_and_opens_whole(recipe, mine):
    app = opened(item=recipe.digest[:12])
    assert not app.exception
    rows = app.dataframe[0].value.set_index("name")
    assert rows.loc["theirs", ["made by", "steps"]].tolist() == ["a recipe", "my glad ones, Entry 2 (controller)"]
    assert len(app.get("plotly_chart")) == 2
    assert "controllers/cheer, vectors/my glad ones" in app.table[0].value.to_string().replace("\\", "")
    app = press(app, "Open in the lab")
    assert [one["kind"] for one in asked(app).interventions] == ["step", "controller"]


def test_a_networks_folder_is_offered_as_an_archive_that_is_imported(tiny_session, tmp_path, monkeypatch):
    controller_step(tiny_session, tmp_path)
    one = find_shelved("controllers", "cheer")
    (tmp_path / "c.zip").write_bytes(folder_zip(one))
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "there"))
    assert import_any(tmp_path / "c.zip", "again").first.digest == one.digest


@pytest.mark.parametrize("broken", [3, [], [3], [{}], [{"unit": 1}], {"a": 1}])
def test_a_sweep_that_cannot_be_read_leaves_the_page(broken, recipe):
    manifest = recipe.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"recipe_scores": broken}))
    app = opened(item=find_shelved("recipes", "theirs").digest[:12])
    assert not app.exception
    assert "### theirs" in said(app)


def test_lengths_by_block_are_a_picture_of_what_the_manifest_says():
    rows = [(HookPoint(layer, "resid_post"), 2.0 * layer, 9.0) for layer in (2, 1)]
    vector, norm = library_card.length_figure(rows).data
    assert (list(vector.x), list(vector.y), list(norm.y)) == ([1, 2], [2.0, 4.0], [9.0, 9.0])


@pytest.mark.parametrize("one", shelved("vectors"), ids=lambda one: one.name)
def test_the_dose_response_of_bundled_vectors_is_a_picture_of_what_the_manifest_says(one):
    doses = library_rows.doses_of(one)
    kept = one.manifest["scores"]["doses"]
    assert [dose["strength"] for dose in doses] == [dose["strength"] for dose in kept]
    (cost,) = library_card.cost_figure(doses, library_rows.unit_of(one)).data
    assert list(cost.y) == [dose["kl"]["mean"] for dose in kept]


@pytest.mark.parametrize("scores", [{"doses": 3}, {"doses": [{}]}, {"doses": [{"strength": "x"}]}, {"facts": []}, "no"])
def test_scores_that_cannot_be_read_leave_the_page(scores, mine):
    manifest = mine.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"scores": scores}))
    app = opened(item=find_shelved("vectors", "my glad ones").digest[:12])
    assert not app.error
    assert "### my glad ones" in said(app)


DRAWN = """
import os, sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("app.py", default_timeout=60)
app.query_params[sys.argv[1]] = sys.argv[2]
app.run()
print([one.value for one in app.title], 'torch' in sys.modules, flush=True)
os._exit(0)  # the app's threads are of a server that ends with its process, and may not outlive Python's end
"""


def test_the_page_is_drawn_without_torch(tmp_path):
    command = [sys.executable, "-c", DRAWN, CODE_FIELD, to_code(Spec("library"))]
    env = {**os.environ, "STEERSCOPE_HOME": str(tmp_path)}
    said = subprocess.run(command, cwd=APP.parent, env=env, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["['Library']", "False"]
