"""Figures of Reports: every lens has them, they are of the pinned place, and they hold the Report's own numbers."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.lens import known_lenses
from tests.analysis.test_lens_laws import every_family, every_lens, on_set, on_text, report_of, session_of
from tests.analysis.test_tables import report_of as outliers_of
from ui.figures import figure_modules, pictures_of, sentences_of, strip_of, tables_of
from ui.figures.heat import MAX_HOVER_TEXTS, layers_by_tokens
from ui.figures.outliers import Place, pictures, shown


def test_every_lens_has_figures():
    assert set(figure_modules()) == set(known_lenses())


@every_lens
@every_family
def test_figures_have_names_titles_and_captions_on_every_model(lens, family):
    session = session_of(family)
    for measured in () if lens.needs(session.shape) else (on_text(lens, session), on_set(lens, session)):
        report = report_of(lens, measured)
        is_set = measured.numbers.get("is_text_set", False)
        drawn = pictures_of(replace(report, spec=report.spec.with_(text_set="tour" if is_set else "")), {})
        assert drawn
        assert len({one.name for one in drawn}) == len(drawn)
        for one in drawn:
            assert one.title
            assert one.caption.endswith(".")


def figure(report, name, pins=None):
    return next(one.figure for one in pictures_of(report, pins or {}) if one.name == name)


def test_without_pins_the_place_is_where_the_ratio_is_highest():
    report = outliers_of()
    ratio = report.arrays["max_over_median"]
    place = shown(report, {})
    assert ratio[place.layer, place.pos] == ratio.max()
    assert place.dim == report.arrays["max_dim"][place.layer, place.pos]


def test_pins_choose_the_place_and_bad_ones_do_not():
    report = outliers_of()
    pinned = shown(report, {"layer": 1, "pos": 2, "dim": 3})
    assert (pinned.layer, pinned.pos, pinned.dim) == (1, 2, 3)
    for bad in (99, -1, True, "1", None, 1.0, [1]):
        assert shown(report, {"layer": bad, "pos": bad, "dim": bad}) == shown(report, {})


def test_figures_hold_the_numbers_of_the_pinned_place():
    report, pins = outliers_of(), {"layer": 1, "pos": 2, "dim": 3}
    residual = report.arrays["residual"]
    np.testing.assert_array_equal(figure(report, "outliers-dim-layers", pins).data[0].y, residual[:, 2, 3])
    np.testing.assert_array_equal(figure(report, "outliers-dim-tokens", pins).data[0].y, residual[1, :, 3])
    np.testing.assert_array_equal(
        figure(report, "outliers-top-dims", pins).data[0].x, report.arrays["top_values"][1, 2]
    )
    np.testing.assert_array_equal(figure(report, "outliers-distribution", pins).data[0].x, residual[1].reshape(-1))
    norms = figure(report, "outliers-norms", pins).data
    np.testing.assert_array_equal(norms[0].y, report.arrays["channel_norms_raw"][1])
    np.testing.assert_array_equal(norms[1].y, report.arrays["channel_norms_rotated"][1])


def test_a_long_text_has_no_figures_of_single_dimensions():
    report = outliers_of()
    arrays = {name: array for name, array in report.arrays.items() if name != "residual"}
    every, left = ({one.name for one in pictures_of(each, {})} for each in (report, replace(report, arrays=arrays)))
    assert every - left == {"outliers-dim-layers", "outliers-dim-tokens", "outliers-distribution"}


def test_a_text_set_is_drawn_at_its_pinned_layer():
    report = outliers_of(True)
    assert shown(report, {"layer": 1}) == Place(1, 0, 0)
    assert shown(report, {}).layer == 2
    dims = figure(report, "outliers-set-dims", {"layer": 1})
    np.testing.assert_array_equal(dims.data[0].x, report.arrays["top_values"][1])
    assert strip_of(report, {}) is None


def test_the_strip_has_each_tokens_highest_ratio():
    report = outliers_of()
    strip = strip_of(report, {"pos": 2})
    np.testing.assert_array_equal(strip.values, report.arrays["max_over_median"].max(axis=0))
    assert (list(strip.tokens), strip.pinned) == (report.numbers["tokens"], 2)
    assert strip_of(report, {"pos": 99}).pinned is None


def test_words_and_tables_say_what_the_report_says():
    report = outliers_of()
    said = {one.title: one.lines for one in sentences_of(report)}
    assert len(said["What the definitions say"]) == len(report.numbers["criteria"])
    assert said["What if"] == (report.numbers["what_if_sentence"],)
    (table,) = tables_of(report)
    assert [int(row[0]) for row in table.rows] == [row["dim"] for row in report.numbers["ranked_dims"]]


def test_heat_is_the_logarithm_with_the_cell_ringed_and_no_colour_where_there_is_none():
    drawn = layers_by_tokens(
        [[1.0, 10.0], [0.0, np.nan]], ["a", "<b>"], quantity="q", unit="×", log=True, pinned=(1, 0)
    )
    np.testing.assert_array_equal(drawn.data[0].z, np.array([[0, 1], [np.nan, np.nan]], np.float32))
    assert drawn.data[0].hovertext[0][1] == "&lt;b&gt;, position 1, layer 0: 10 ×"
    ring = drawn.layout.shapes[0]
    assert (ring.x0, ring.x1, ring.y0, ring.y1) == (-0.5, 0.5, 0.5, 1.5)
    assert list(drawn.data[0].colorbar.ticktext)[::4] == ["1", "10"]


def test_a_very_large_heat_says_places_only():
    values = np.ones((20, MAX_HOVER_TEXTS // 20 + 1))
    drawn = layers_by_tokens(values, ["a"] * values.shape[1], quantity="q")
    assert drawn.data[0].hovertext is None
    assert "%{x}" in drawn.data[0].hovertemplate


@pytest.mark.parametrize("is_text_set", [False, True])
def test_a_figure_is_drawn_from_its_report_alone(is_text_set):
    report = outliers_of(is_text_set)
    first, second = ([one.figure.to_json() for one in pictures(report, {"layer": 1})] for _ in range(2))
    assert first == second
