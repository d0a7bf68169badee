"""The lens of an SAE's quality: what is settled, its numbers against the evaluation, its arrays, its findings."""

import json

import numpy as np
import pytest

from analysis.lens import Subject
from analysis.option import read_options
from analysis.sae_quality import LENS
from analysis.sae_quality_findings import findings_of
from capture.errors import UserError
from capture.hook_point import HookPoint
from sae import shelf
from sae.evaluation import evaluate
from sae.scaling import ScalingLaw
from sae.scaling_grid import GRID, grid_digest, grids_folder, read_grid, with_law
from sae.training_record import training_curve
from tests.shelves import HOOK, random_sae, shelve, shelve_for

TEXT = "the bear sat on the mat and the moon was bright"
SET = ("the bear sat on the mat", "she said that the moon was bright", "the night was long", "a")
LAW = ScalingLaw(-0.5, 0.26, -0.017, -0.042, -1.32, -0.085)


def measured(session, texts=(TEXT,), **options):
    shelve_for(session)
    chosen = LENS.settle(read_options(LENS.options, options), session.fingerprint)
    tokens = tuple(session.tokens(text, True) for text in texts)
    subject = Subject(session, tokens, {}, True, len(texts) > 1)
    return LENS.measure(subject, chosen, lambda share, words: None)


def table_of(session, texts):
    sae = shelf.load_shelved(shelve_for(session))
    return evaluate(sae, session, [session.tokens(text, True) for text in texts], HookPoint.parse(HOOK))


@pytest.fixture
def beside(tiny_session):
    """A second SAE of the model and one that says nothing of its model."""
    shelve_for(tiny_session)
    other = random_sae(tiny_session.shape.d_model, 77, fingerprint=tiny_session.fingerprint)
    shelve(other, "z-other")
    shelve(random_sae(tiny_session.shape.d_model, 78), "silent")
    yield other.digest
    for name in ("z-other", "silent"):
        for file in (shelf.trained_folder() / name).iterdir():
            file.unlink()
        (shelf.trained_folder() / name).rmdir()


@pytest.fixture
def grid(tiny_session):
    """A grid of the model on the shelf."""
    points = [{"n": n, "k": k, "fvu": float(LAW.loss(n, k))} for n in (256, 512, 1024) for k in (8, 16, 32)]
    found = with_law({"fingerprint": tiny_session.fingerprint, "hook_point": HOOK, "points": points})
    folder = grids_folder() / "mine"
    folder.mkdir(parents=True)
    (folder / GRID).write_text(json.dumps(found))
    yield grid_digest(read_grid(folder / GRID))
    (folder / GRID).unlink()
    folder.rmdir()


def test_rows_and_density_are_those_of_the_evaluation(tiny_session):
    found, table = measured(tiny_session, SET), table_of(tiny_session, SET)
    assert {row["name"]: row["value"] for row in found.numbers["rows"]} == {row.name: row.value for row in table.rows}
    np.testing.assert_allclose(found.arrays["density"], table.density, rtol=1e-6)
    assert set(found.arrays) == {"density"}


def test_figures_by_token_stand_at_their_tokens(tiny_session):
    found, table = measured(tiny_session), table_of(tiny_session, (TEXT,))
    error, rise = found.arrays["token_fvu"], found.arrays["token_delta_ce"]
    np.testing.assert_allclose(error[1:], table.token_fvu[0], rtol=1e-6)
    np.testing.assert_allclose(rise[2:], table.token_delta_ce[0], rtol=1e-6)
    assert np.isnan(error[:1]).all()
    assert np.isnan(rise[:2]).all()


def test_a_text_of_one_token_says_what_it_needs(tiny_session):
    found = measured(tiny_session, ("a",))
    assert found.numbers["rows"] == []
    assert found.numbers["sentence"].endswith("give a longer text.")
    assert not found.arrays["density"].any()


def test_labels_add_the_rows_of_the_probes(tiny_session):
    found = measured(tiny_session, labels="speech")
    assert [task["label"] for task in found.numbers["tasks"]] == ["narration"]
    assert {"sparse_probe_5", "probe_loss"} < {row["name"] for row in found.numbers["rows"]}


def test_saes_beside_are_settled_to_digests_and_measured_on_the_same_text(tiny_session, beside):
    found = measured(tiny_session, beside="all")
    own, *others = found.numbers["others"]
    assert own["digest"] == found.numbers["sae"]["digest"][:12]
    other = next(one for one in others if one["digest"] == beside[:12])
    assert shelf.find_shelved("silent").digest[:12] not in [one["digest"] for one in others]
    chosen = LENS.settle(read_options(LENS.options, {"beside": "silent"}), tiny_session.fingerprint)
    assert chosen["beside"] == shelf.find_shelved("silent").digest
    alone = measured(tiny_session, sae=beside)
    assert alone.numbers["others"][0]["fvu"] == pytest.approx(other["fvu"])


def test_the_grid_of_the_model_is_settled_to_its_digest(tiny_session, grid):
    chosen = LENS.settle(read_options(LENS.options, {}), tiny_session.fingerprint)
    assert chosen["scaling"] == grid
    scaling = measured(tiny_session).numbers["scaling"]
    assert len(scaling["points"]) == 9
    assert measured(tiny_session, scaling="none").numbers["scaling"] is None
    with pytest.raises(UserError, match="No grid of runs"):
        measured(tiny_session, scaling="0123456789ab")


def test_the_curve_is_that_of_the_training_beside_the_sae(tiny_session):
    one = shelf.find_shelved(shelve_for(tiny_session))
    assert training_curve(one) == (
        [],
        f"{one.name} came without the record of its training, so that there is no curve.",
    )
    record, point = one.folder / "training.json", {"step": 1, "fvu": 0.5, "l0": 4, "dead_share": 0.25, "loss": 1}
    try:
        record.write_text(json.dumps({"digest": one.digest, "curve": [point]}))
        assert training_curve(one) == ([{"step": 1, "fvu": 0.5, "l0": 4, "dead_share": 0.25}], "")
        record.write_text(json.dumps({"digest": "another", "curve": [point]}))
        assert "is of another training" in training_curve(one)[1]
        record.write_text("{")
        assert "cannot be read" in training_curve(one)[1]
    finally:
        record.unlink()


def test_findings_are_the_token_that_suffers_and_silent_latents_of_a_set():
    numbers = {
        "rows": [
            {"name": name, "value": value}
            for name, value in {
                "l0": 4.0,
                "dead_share": 0.5,
                "loss_recovered_zero": 0.6,
                "ce_clean": 2.0,
                "ce_spliced": 3.6,
                "ce_mean": 5.5,
                "ce_zero": 6.0,
                "delta_ce": 1.6,
            }.items()
        ],
        "tokens": list("abcdef"),
        "is_text_set": False,
        "n_counted": 1000,
    }
    density = np.array([0.1, 0.0, 0.2, 0.0])
    rises = np.array([np.nan, np.nan, 0.1, 5.0, 0.1, -0.1])
    lost, worst = findings_of(numbers, {"density": density, "token_delta_ce": rises})
    assert worst.place == {"pos": 3}
    assert worst.magnitude == 5
    assert "40% of what zeros in its place cost (4)" in lost.sentence
    silent, _ = findings_of({**numbers, "is_text_set": True}, {"density": density})
    assert silent.sentence.startswith("50.0% of the SAE's 4 latents fire on none of 1,000 tokens; 0.0% would not")
    assert silent.place == {"latent": 1}
