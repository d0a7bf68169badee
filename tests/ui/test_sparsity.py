"""The Sparsity and Sparsity law pages, run without a browser: they fill, restore, write, and say what is missing."""

import json
import shutil

import numpy as np
import pytest

from analysis.pipeline import run
from analysis.spec import Spec, from_code
from tests.models import tiny_llama, tiny_tokenizer
from tests.ui.test_pages import TEXT, load, open_app, shown
from ui import resources
from ui.figures import pictures_of, sentences_of, strip_of, tables_of
from ui.figures import sparsity as figures
from ui.figures.sparsity_parts import thresholds_json, thresholds_list
from ui.numbers import say_quantity

__all__ = ["load", "open_app"]

SPEC = Spec("sparsity", text=TEXT, options={"p": 10.0})


def said(app) -> str:
    return " ".join(element.value for element in (*app.markdown, *app.caption)).replace("\\", "")


def boxes(app) -> str:
    return " ".join(one.proto.body for one in app.get("html"))


@pytest.fixture(scope="module")
def report(tiny_session):
    return run(SPEC, lambda *_: tiny_session, None).report


@pytest.fixture(scope="module")
def of_a_set(tiny_session):
    return run(SPEC.with_(text="", text_set="tour"), lambda *_: tiny_session, None).report


def figure(report, name, pins=None):
    return next(one.figure for one in pictures_of(report, pins or {}) if one.name == name)


def test_the_page_shows_the_answer_of_its_report(open_app, report):
    app = open_app(SPEC)
    assert not app.error
    values = {metric.label: metric.value for metric in app.metric}
    assert values["Neurons kept"] == say_quantity(100 * report.numbers["activation_ratio"], "%")
    assert values["Loss, nats a token"] == f"{report.numbers['delta_loss']:+.4f}"
    assert report.numbers["sentence"] in said(app)


@pytest.mark.parametrize("budget", [1.0, 5.0])
def test_a_press_on_a_marked_budget_asks_for_it(open_app, budget):
    app = open_app(SPEC)
    app.button_group(key="steerscope.sparsity.marks").set_value(f"{budget:g} %").run()
    assert not app.error
    assert shown(app).options == {"p": budget}
    assert app.slider(key="steerscope.option.sparsity.p").value == budget


def test_a_link_restores_budget_and_place(open_app, report):
    app = open_app(SPEC.with_(pins={"layer": 1, "pos": 3}))
    assert "position 3, block 1" in said(app)
    assert say_quantity(100 * float(report.arrays["kept_share"][1, 3]), "%") in said(app)
    assert shown(app).pins == {"layer": 1, "pos": 3}


def test_a_text_that_is_too_short_says_how_many_tokens_are_needed(open_app):
    app = open_app(SPEC.with_(text="the cat"))
    assert not app.exception
    assert not app.error
    assert "needs at least 8 predicted tokens" in said(app)


def test_a_text_set_is_shown_by_text(open_app, of_a_set):
    app = open_app(SPEC.with_(text="", text_set="tour", pins={"layer": 2, "text": 4}))
    assert not app.error
    assert "#### text 4" in said(app)
    assert say_quantity(100 * float(of_a_set.arrays["text_kept_share"][4, 2]), "%") in said(app)


def test_writing_on_shows_both_texts_token_by_token(open_app, tiny_session, report):
    from analysis.sparse_text import write_on
    from capture.intervention import operator_from_recipe
    from ui.numbers import token_label

    app = open_app(SPEC)
    next(button for button in app.button if button.label.startswith("Write on")).click().run()
    assert not app.error
    masks = tuple(map(operator_from_recipe, report.numbers["recipes"]))
    written = write_on(tiny_session, tiny_session.tokens(TEXT, True), masks)
    for token in (*written.dense, *written.sparse):
        assert f">{token_label(token, n_chars=40)}<" in boxes(app)
    assert shown(app).pins["write"] is True


@pytest.mark.parametrize("is_oracle", [False, True])
def test_the_frontier_has_the_share_that_is_chosen(open_app, report, is_oracle):
    app = open_app(SPEC.with_(pins={"oracle": True} if is_oracle else {}))
    assert not app.error
    assert ("if an oracle named the zeros beforehand" in said(app)) == is_oracle
    picture = figures.frontier(report, is_oracle).figure
    share = report.arrays["frontier_oracle_share" if is_oracle else "frontier_skipped_share"]
    assert sorted(x for trace in picture.data for x in trace.x) == sorted(100 * share)


@pytest.mark.parametrize("method", ["top_k", "fat", "cats", "teal", "cett", "zero"])
def test_every_method_can_write(open_app, method):
    app = open_app(SPEC.with_(pins={"write": True, "method": method}))
    assert not app.exception
    assert not app.error
    assert "weak neurons off" in boxes(app)


def test_the_bundled_pair_is_offered_to_compare(open_app, tmp_path, monkeypatch):
    assert "SiLU beside ReLU" not in said(open_app(SPEC)) or len(resources.catalogue()) > 2
    shutil.copytree(resources_folder(), tmp_path / "stories")
    (tmp_path / "stories-relu").mkdir()
    monkeypatch.setenv("STEERSCOPE_STORIES", str(tmp_path / "stories"))
    app = open_app(SPEC)
    link = next(one for one in app.get("page_link") if one.proto.label == "Compare both on this text")
    spec = from_code(link.proto.query_string.partition("view=")[2])
    assert [from_code(spec.options[side]).model for side in ("left", "right")] == ["stories", "stories-relu"]


def resources_folder():
    from capture.model_source import stories_folder

    return stories_folder()


def test_figures_hold_the_reports_numbers(report):
    arrays = report.arrays
    np.testing.assert_allclose(figure(report, "sparsity-heat").data[0].z, 100 * arrays["kept_share"], rtol=1e-6)
    dense, kept = figure(report, "sparsity-layers").data
    np.testing.assert_array_equal(kept.y, 100 * arrays["activation_ratio"])
    np.testing.assert_array_equal(dense.y, 100 * arrays["nonzero_share"])
    np.testing.assert_array_equal(figure(report, "sparsity-curve").data[0].x, 100 * arrays["curve_activation_ratio"])
    every, layer = figure(report, "sparsity-neurons", {"layer": 1}).data
    assert every.y.sum() == arrays["neuron_frequency"].size
    assert (layer.y.sum(), layer.y[0]) == (
        arrays["neuron_frequency"].shape[1],
        (arrays["neuron_frequency"][1] == 0).sum(),
    )


def test_the_frontier_has_every_point_once_and_names_the_tensor(report):
    traces = figure(report, "sparsity-frontier").data
    assert sum(len(trace.x) for trace in traces) == len(report.arrays["frontier_method"])
    assert all(" · zeros on " in trace.name for trace in traces)
    ours = [trace for trace in traces if trace.name.startswith("CETT")]
    others = {trace.line.color for trace in traces} - {trace.line.color for trace in ours}
    assert len({trace.line.color for trace in ours}) == 1
    assert len(others) == len(traces) - len(ours)


def test_the_specialised_are_those_that_the_lens_counts(of_a_set):
    _, special = figure(of_a_set, "sparsity-specialised").data
    assert len(special.x) == of_a_set.numbers["n_specialised"]


def test_the_curve_is_read_between_its_points(report):
    order = np.argsort(report.arrays["curve_target"])
    rises = np.maximum.accumulate(report.arrays["curve_delta_loss"][order])
    ratios = report.arrays["curve_activation_ratio"][order]
    place = int(np.flatnonzero(np.diff(rises) > 0)[0])
    between = (rises[place] + rises[place + 1]) / 2
    assert figures.kept_at(report, 100 * np.expm1(between)) == pytest.approx(ratios[place : place + 2].mean(), rel=1e-6)
    assert np.isnan(figures.kept_at(report, 1e9))


def test_thresholds_are_those_of_the_report_in_both_files(report):
    said, listed = json.loads(thresholds_json(report)), json.loads(thresholds_list(report))
    assert said["thresholds"] == listed == report.arrays["threshold"].tolist()
    assert said["hook_points"][1] == "blocks.1.mlp.hook_post"
    assert (said["p_percent"], said["fingerprint"]) == (10.0, report.facts["fingerprint"])


def test_strip_tables_and_sentences_are_in_an_export(report, of_a_set):
    np.testing.assert_allclose(strip_of(report, {}).values, 100 * report.arrays["kept_share"].mean(axis=0), rtol=1e-6)
    assert strip_of(of_a_set, {}) is None
    assert [len(one.rows) for one in tables_of(report)][::2] == [3, len(report.numbers["methods"])]
    assert sentences_of(report)[0].lines[0] == report.numbers["sentence"]


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A bundled model with two checkpoints besides, loaded as the app would."""
    for seed, place in enumerate((".", "checkpoints/at-1M", "checkpoints/at-4M")):
        tiny_llama(seed).save_pretrained(tmp_path / "stories" / place)
    tiny_tokenizer().save_pretrained(tmp_path / "stories")
    (tmp_path / "stories" / "tokens.json").write_text('{".": 9000000}')
    monkeypatch.setenv("STEERSCOPE_STORIES", str(tmp_path / "stories"))
    return tmp_path / "stories"


@pytest.fixture
def real_load(load, monkeypatch):
    from capture.models import load_session

    monkeypatch.setattr(resources, "load", load_session)


def test_the_law_asks_for_a_text_set_first(open_app):
    app = open_app(Spec("sparsity_law", text=TEXT))
    assert not app.error
    assert "one sentence is too few" in said(app)


def test_the_law_draws_its_points_and_says_what_they_tell(real_load, run_folder, open_app):
    from capture.models import load_session

    spec = Spec("sparsity_law", text_set="tour", options={"p": 10.0})
    app = open_app(spec)
    assert not app.exception
    assert not app.error
    report = run(spec, load_session, None).report
    assert report.numbers["trend"] in said(app)
    assert report.numbers["sentence"] in said(app)
    points = figure(report, "sparsity-law").data[-1]
    np.testing.assert_array_equal(points.x, [0.001, 0.004, 0.009])
    np.testing.assert_array_equal(points.y, 100 * report.arrays["ratio"])


def test_a_link_to_a_folder_of_checkpoints_is_not_followed(open_app, run_folder):
    app = open_app(Spec("sparsity_law", model=str(run_folder), text_set="tour"))
    assert not app.error
    assert "nobody opened here yet" in said(app)
