"""Export in the steering lab: the bundle's losses on the screen, and a download with every file."""

import io
import json
import re
import zipfile

import pytest
import torch
from streamlit.testing.v1 import AppTest

from analysis.spec import Spec
from capture.hook_point import HookPoint
from capture.store import ActivationStore
from steering.methods.add_direction import AddDirection
from steering.recipe import Step
from steering.recipe_sweeps import sweep_words
from steering.token_scope import TokenScope
from steering.tuning import tune
from tests.steering.planted import planted_speaker
from tests.steering.test_tuning import plan
from ui import lab_export, resources

AT = HookPoint(1, "resid_post")


def step(width=32, **fields):
    vector = torch.randn(width, generator=torch.Generator().manual_seed(1))
    return Step("happy & glad", (AddDirection(AT, tuple(vector.tolist())),), 2.0, **fields)


@pytest.fixture
def opened(monkeypatch, tiny_session):
    """The inside of the popover for a recipe."""
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "store", lambda: None)

    def open_it(*recipe):
        asked = Spec("steering_lab", text="A bear.", interventions=tuple(one.recipe() for one in recipe))

        def script(asked):
            from ui.boundary import boundary
            from ui.lab_export import _offer

            with boundary("making the bundle"):
                _offer(asked)

        return AppTest.from_function(script, args=(asked,), default_timeout=60).run()

    return open_it


def said(app):
    return "\n".join(one.value.replace("\\", "") for one in (*app.caption, *app.warning, *app.error))


def test_an_empty_recipe_says_what_to_do(opened):
    assert said(opened()) == lab_export.NOTHING


def test_what_files_cannot_say_stands_beside_the_download(opened):
    app = opened(step(scope=TokenScope("skip_special")))
    assert not app.exception
    assert "'happy & glad' leaves special tokens such as BOS out" in said(app)
    assert re.search(r"12 files of [\d.]+ kB: README\.md, apply_steering\.py, control_vector\.gguf", said(app))
    (button,) = app.get("download_button")
    assert button.proto.label.startswith("Bundle (ZIP")


def test_a_recipe_without_loss_says_so(opened):
    app = opened(step())
    assert not app.warning
    assert "Every file can say all of it." in said(app)


def test_a_vector_of_another_width_gets_a_sentence_and_no_download(opened):
    app = opened(step(width=5))
    assert "must have 32 entries; it has 5" in said(app)
    assert not app.get("download_button")


def test_the_archive_has_the_files_and_a_name_that_a_disk_takes(monkeypatch, tiny_session):
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    asked = Spec("steering_lab", text="A bear.", interventions=(step().recipe(),))
    made = lab_export._made(asked, "")
    from steering.bundle import bundle_zip

    with zipfile.ZipFile(io.BytesIO(bundle_zip(made))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == dict(made.files)
    assert lab_export.file_stem(made.name) == "happy---glad"
    assert lab_export.file_stem("../..") == "bundle"


def test_a_sweep_of_the_recipe_is_said_and_goes_into_the_manifest(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "load", lambda name, dtype: planted_speaker())
    store = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(resources, "store", lambda: store)
    asked = plan((), strengths=(0.05,))
    tune(planted_speaker(), asked, store)
    view = Spec("steering_lab", text="A bear.", interventions=asked.recipe)
    sweeps = lab_export.sweeps_for(view)
    assert "a sweep of step 1, on 'planted'" in sweep_words(sweeps[0])
    manifest = json.loads(lab_export._made(view, "", sweeps).files["manifest.json"])
    assert [one["strength"] for one in manifest["recipe_scores"][0]["doses"]] == [0.05]
    store.close()
