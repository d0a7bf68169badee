"""The SAE quality page: its figures hold the Report's numbers, and the page asks for probes and for SAEs beside it."""

from functools import cache
from shutil import rmtree

import numpy as np
import pytest

from analysis.lens import Subject
from analysis.option import read_options
from analysis.report import Report
from analysis.sae_quality import LENS
from analysis.spec import Spec
from sae.scaling import ScalingLaw
from sae.shelf import trained_folder
from tests.models import tiny_llama, tiny_tokenizer
from tests.shelves import random_sae, shelve, shelve_for
from tests.ui.test_pages import load, open_app  # noqa: F401
from ui.figures import sentences_of, strip_of, tables_of
from ui.figures.sae_quality import pictures
from ui.numbers import say_number

TEXT = "the bear sat on the mat and the moon was bright"
LAW = {"alpha": -0.5, "b_k": 0.26, "b_n": -0.017, "g": -0.042, "zeta": -1.32, "eta": -0.085}
NS, KS = (256, 512, 1024), (8, 16, 32)
POINTS = [{"n": n, "k": k, "fvu": float(ScalingLaw(**LAW).loss(n, k))} for n in NS for k in KS]
GRID = {"points": POINTS, "law": LAW, "model": "m", "hook_point": "blocks.1.hook_resid_post", "sentence": "A law."}
CURVE = [{"step": step, "fvu": 1 / (step + 1), "l0": 4.0, "dead_share": step / 10} for step in range(3)]


@cache
def report(is_text_set: bool = False) -> Report:
    from capture.session import ModelSession

    session = ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny llama")
    shelve_for(session)
    chosen = LENS.settle(read_options(LENS.options, {"labels": "speech"}), session.fingerprint)
    texts = (TEXT, "she said that the night was long") if is_text_set else (TEXT,)
    subject = Subject(session, tuple(session.tokens(text, True) for text in texts), {}, True, is_text_set)
    found = LENS.measure(subject, chosen, lambda share, words: None)
    other = {**found.numbers["others"][0], "name": "<b>other", "l0": 8.0, "loss_recovered_zero": 0.5}
    other |= {"low": 0.4, "high": 0.7}
    others = [*found.numbers["others"], other]
    numbers = {**found.numbers, "curve": CURVE, "no_curve": "", "scaling": GRID, "others": others}
    spec = Spec("sae_quality", text_set="tour" if is_text_set else "", text="" if is_text_set else TEXT)
    return Report(spec, {}, numbers, found.arrays, found.findings)


def figure(name, made=None, pins=None):
    return {one.name: one.figure for one in pictures(made or report(), pins or {})}[name]


def test_a_text_has_every_figure_and_a_set_none_by_token():
    names = {one.name for one in pictures(report(), {})}
    assert len(names) == 7
    assert names - {one.name for one in pictures(report(True), {})} == {"sae-quality-rise", "sae-quality-error"}
    assert strip_of(report(True), {}) is None


def test_bars_and_strip_have_the_numbers_by_token():
    np.testing.assert_array_equal(
        figure("sae-quality-rise", pins={"pos": 3}).data[0].y, report().arrays["token_delta_ce"]
    )
    strip = strip_of(report(), {"pos": 3})
    np.testing.assert_array_equal(strip.values, report().arrays["token_delta_ce"])
    assert strip.pinned == 3
    assert strip_of(report(), {"pos": 99}).pinned is None


def test_the_density_counts_every_latent_that_fires_once():
    steps = figure("sae-quality-density").data[0].y
    assert steps[:-1].sum() == (report().arrays["density"] > 0).sum()


def test_dead_latents_and_fvu_are_drawn_by_step():
    dead = figure("sae-quality-dead").data[0]
    assert (list(dead.x), list(dead.y)) == ([1, 2, 3], pytest.approx([0, 10, 20]))
    assert list(figure("sae-quality-training-fvu").data[0].y) == pytest.approx([1, 1 / 2, 1 / 3])


def test_saes_beside_each_other_are_points_with_their_intervals():
    points = figure("sae-quality-beside").data[0]
    assert points.x[1] == 8
    assert (points.error_y.array[1], points.error_y.arrayminus[1]) == pytest.approx((0.2, 0.1))
    assert points.text[1] == "&lt;b&gt;other"


def test_the_law_runs_through_its_points():
    lines = [trace for trace in figure("sae-quality-scaling").data if trace.mode == "lines"]
    assert [line.name for line in lines] == ["k 8", "k 16", "k 32"]
    for line, k in zip(lines, KS, strict=True):
        ends = [one["fvu"] for one in POINTS if one["k"] == k and one["n"] in (NS[0], NS[-1])]
        assert [line.y[0], line.y[-1]] == pytest.approx(ends)


def test_tables_and_words_say_the_reports_numbers():
    figures, probes, beside = tables_of(report())
    value = {row["name"]: row["value"] for row in report().numbers["rows"]}
    said = {row[0]: row[1] for row in (*figures.rows, *probes.rows)}
    assert said["FVU"] == say_number(value["fvu"])
    assert said["CE, clean"] == f"{say_number(value['ce_clean'])} nats"
    assert said["probe on 1 latent"] == say_number(value["sparse_probe_1"])
    assert len(said) == len(value)
    assert beside.rows[1][-1] == "0.5 (0.4 to 0.7)"
    assert {one.title for one in sentences_of(report())} == {"The SAE", "Scaling law"}


def test_nothing_counted_and_nothing_beside_draws_nothing_of_it():
    bare = {**report().numbers, "n_counted": 0, "curve": [], "others": [], "scaling": None}
    arrays = {name: np.zeros_like(array) for name, array in report().arrays.items()}
    made = Report(report().spec, {}, bare, arrays)
    assert {one.name for one in pictures(made, {})} == {"sae-quality-rise", "sae-quality-error"}


@pytest.fixture
def beside(tiny_session):
    """A second SAE of the model on the shelf."""
    shelve(random_sae(tiny_session.shape.d_model, 79, fingerprint=tiny_session.fingerprint), "z-beside")
    yield "z-beside"
    rmtree(trained_folder() / "z-beside")


def test_a_person_chooses_labels_and_measures_all_beside(open_app, beside):  # noqa: F811
    app = open_app(Spec("sae_quality", text=TEXT))
    assert not app.error
    assert len(app.dataframe) == 1
    app.segmented_control[0].set_value("speech").run()
    app.button(key=next(one.key for one in app.button if one.label == "Measure all beside it")).click().run()
    while app.get("progress"):
        app.run()
    assert not app.exception
    assert not app.error
    assert len(app.dataframe) == 3
    assert beside in list(app.dataframe[1].value["SAE"])
