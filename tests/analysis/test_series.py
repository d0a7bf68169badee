"""A lens over checkpoints: each is loaded by name, the Report is kept, and what is missing is said."""

import json

import numpy as np
import pytest

from analysis import pipeline
from analysis.lens import Measured, SeriesLens
from analysis.quantity import Quantity
from analysis.spec import Spec
from capture.errors import UserError
from capture.models import load_session
from capture.store import ActivationStore
from tests.models import tiny_llama, tiny_tokenizer


def measure(series, options, progress):
    losses = [
        float(series.open(one).loss(series.open(one).tokens(series.texts[0], True)).mean())
        for one in series.checkpoints
    ]
    return Measured({"tokens_seen": [one.n_tokens for one in series.checkpoints]}, {"loss": np.array(losses)})


LENS = SeriesLens(
    slug="losses",
    title="Losses",
    question="How does the loss go?",
    paper="",
    how_to_read="",
    options=(),
    needs=lambda shape: None if shape.n_layers > 1 else "it needs two layers.",
    hook_points=lambda shape, options: (),
    measure=measure,
    quantities=(Quantity("loss", "loss", ("checkpoint",)),),
)
TEXT = "the bear sat on the mat"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run of two checkpoints and the model itself."""
    monkeypatch.setattr(pipeline, "find_lens", lambda slug: LENS)
    for seed, place in enumerate((".", "at-2M", "checkpoints/at-1M")):
        tiny_llama(seed).save_pretrained(tmp_path / place)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokens.json").write_text(json.dumps({".": 3_000_000}))
    return tmp_path


def ask(folder, **fields):
    return Spec("losses", model=str(folder), text=TEXT, **fields)


def test_every_checkpoint_is_measured_in_the_order_of_its_tokens(folder):
    report = pipeline.run(ask(folder), load_session, None).report
    alone = [load_session(f"{folder}{name}") for name in ("@at-1M", "@at-2M", "")]
    wanted = [float(one.loss(one.tokens(TEXT, True)).mean()) for one in alone]
    assert report.arrays["loss"].tolist() == wanted
    assert report.numbers["tokens_seen"] == [1_000_000, 2_000_000, 3_000_000]
    assert (report.facts["model"], report.facts["fingerprint"]) == (str(folder), alone[-1].fingerprint)


def test_a_kept_report_opens_without_loading_until_a_file_changes(folder, tmp_path_factory):
    store = ActivationStore.open(tmp_path_factory.mktemp("store") / "store.duckdb")
    loaded = []

    def load(name, dtype):
        loaded.append(name)
        return load_session(name, dtype)

    first = pipeline.run(ask(folder), load, store)
    loaded.clear()
    again = pipeline.run(ask(folder), load, store)
    assert (again.source, loaded) == ("store", [])
    assert again.report.to_json() == first.report.to_json()
    tiny_llama(7).save_pretrained(folder / "at-2M")
    changed = pipeline.run(ask(folder), load, store)
    assert changed.source == "fresh"
    assert changed.report.spec.fingerprint != first.report.spec.fingerprint
    store.close()


def test_too_few_checkpoints_are_named(folder):
    (folder / "checkpoints" / "at-1M").rename(folder / "checkpoints" / "early")
    (folder / "tokens.json").unlink()
    with pytest.raises(UserError, match=r"at least 2 checkpoints .* has 1 \(at-2M\)"):
        pipeline.run(ask(folder), load_session, None)


def test_a_model_without_a_folder_is_refused_before_anything_is_fetched(folder):
    with pytest.raises(UserError, match="looks at checkpoints in a folder"):
        pipeline.run(Spec("losses", model="owner/name", text=TEXT), load_session, None)


def test_what_a_model_lacks_is_said(folder):
    for place in (".", "at-2M", "checkpoints/at-1M"):
        tiny_llama(num_hidden_layers=1).save_pretrained(folder / place)
    with pytest.raises(UserError, match="it needs two layers"):
        pipeline.run(ask(folder), load_session, None)
