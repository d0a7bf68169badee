"""The Latents page without a browser: tokens, cards from a dashboard, labels, changes, effects, and what is refused."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.lens import find_lens
from analysis.link import ID_FIELD
from analysis.pipeline import run
from analysis.report import Report
from analysis.shared_view import keep_view, view_of
from analysis.spec import Spec, from_code
from capture.store import ActivationStore
from sae.dashboard import Subject, build_dashboard
from sae.dashboards import card, labels
from sae.shelf import load_shelved
from tests.analysis.test_lens_laws import on_set, on_text, report_of
from tests.shelves import D_SAE, HOOK, shelve_for
from tests.ui.test_pages import APP, TEXT, load, open_app, shown  # noqa: F401
from ui import resources
from ui.changes import change_words
from ui.figures import latent_card as card_figures
from ui.figures import latents as figures
from ui.figures.latent_place import Place, along_text, latents_at
from ui.figures.latent_place import shown as place_of
from ui.view_html import view_html

LENS = find_lens("latents")
TEXTS = ("the bear sat on the mat", "the cat sat near the river and the trees", "she said that the moon was bright")


@pytest.fixture
def report(tiny_session) -> Report:
    """The Report of a text."""
    return report_of(LENS, on_text(LENS, tiny_session, TEXT))


@pytest.fixture
def store(load, monkeypatch, tmp_path, tiny_session):  # noqa: F811
    """A store with a dashboard of the tiny model's SAE."""
    kept = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(resources, "store", lambda: kept)
    sae = load_shelved(shelve_for(tiny_session))
    texts = tuple(tiny_session.tokens(text, True) for text in TEXTS)
    build_dashboard(Subject(tiny_session, sae, texts, "tiny", "three"), kept)
    yield kept
    kept.close()


def test_without_pins_the_strongest_latent_is_shown(report):
    place, strongest = place_of(report, {}), np.nan_to_num(report.arrays["strongest"])
    assert strongest[place.pos] == strongest.max()
    assert place.latent == report.arrays["indices"][place.pos, 0]


def test_a_pinned_token_shows_its_own_strongest_latent_and_a_pinned_latent_stays(report):
    assert place_of(report, {"pos": 4}) == Place(4, int(report.arrays["indices"][4, 0]))
    assert place_of(report, {"pos": 4, "latent": 7}) == Place(4, 7, True)
    for bad in (D_SAE, -1, True, "1", None, 1.0, [1]):
        assert place_of(report, {"latent": bad, "pos": bad}) == place_of(report, {})


def test_a_latent_along_the_text_has_its_values_and_none_before_the_first_counted(report):
    latent, value = latents_at(report, 5)[0]
    along = along_text(report, latent)
    assert along[5] == np.float32(value)
    assert np.isnan(along[0])
    assert figures.strip(report, {"latent": latent}).label == f"value of latent {latent}"


def test_a_text_set_has_frequencies_of_all_latents_that_fire(tiny_session):
    measured = on_set(LENS, tiny_session, TEXTS)
    drawn = figures.of_a_set(report_of(LENS, measured))[0].figure
    assert sum(drawn.data[0].y[:-1]) == len(measured.arrays["fired"])


def test_the_exported_table_has_the_strongest_latents(report):
    (table,) = figures.tables(report)
    assert [row[0] for row in table.rows] == [row["latent"] for row in report.numbers["strongest_latents"]]
    (said,) = figures.sentences(report)
    assert HOOK in said.lines[0]


def headings(app) -> list[str]:
    return [one.value.replace("\\", "") for one in app.markdown if one.value.startswith("#")]


def test_a_card_is_drawn_from_the_dashboard(store, open_app, tiny_session):  # noqa: F811
    digest = shelve_for(tiny_session)
    app = open_app(Spec("latents", text=TEXT, pins={"pos": 3}))
    assert not app.exception
    assert not app.error
    assert {"##### Examples", "##### Promotes and suppresses", "##### Nearest latents", "### All latents"} <= {
        *headings(app)
    }
    assert shown(app).options == {"sae": digest}


def test_the_statistics_said_are_those_of_the_dashboard(store):
    from sae.dashboards import dashboards_of

    (facts,) = dashboards_of(store, card_of_first(store).facts.sae)
    found = card_of_first(store)
    assert f"({found.n_fired:,})" in card_figures.statistics(found)
    assert f"{facts.n_tokens:,} tokens of three" in card_figures.statistics(found)
    assert sum(found.histogram.counts) == found.n_fired
    assert card_figures.histogram(found).figure.data[0].y[:-1].sum() == found.n_fired


def card_of_first(store):
    """The card of the lowest latent that fires."""
    from capture.store_dashboards import all_dashboard_facts
    from sae.dashboards import cards

    identity = all_dashboard_facts(store)[0]["id"]
    latent = next(one.latent for one in cards(store, identity) if one.n_fired)
    return card(store, identity, latent)


def test_a_label_is_kept_with_its_author_and_shown(store, open_app, tiny_session):  # noqa: F811
    digest = shelve_for(tiny_session)
    app = open_app(Spec("latents", text=TEXT, pins={"pos": 3, "latent": 9}))
    app.text_input(key="steerscope.latent-label-9").set_value("bears <b>")
    next(one for one in app.button if one.label == "Save").click().run()
    assert not app.exception
    assert (labels(store, digest)[9].text, labels(store, digest)[9].author) == ("bears <b>", "visitor")
    assert app.text_input(key="steerscope.latent-label-9").value == "bears <b>"


def test_next_previous_and_random_pin_another_latent(open_app):  # noqa: F811
    app = open_app(Spec("latents", text=TEXT, pins={"pos": 3, "latent": 0}))
    app.button(key="steerscope-latent-previous").click().run()
    assert shown(app).pins == {"pos": 3, "latent": D_SAE - 1}
    app.button(key="steerscope-latent-next").click().run()
    assert shown(app).pins["latent"] == 0


def test_a_change_is_added_changed_and_removed(open_app, tiny_session):  # noqa: F811
    app = open_app(Spec("latents", text=TEXT, pins={"pos": 3, "latent": 9}))
    next(one for one in app.button if one.label == "Add to changes").click().run()
    (change,) = shown(app).interventions
    assert (change["latent"], change["mode"], change["sae"]) == (9, "add", shelve_for(tiny_session))
    app.number_input(key="steerscope.change.0.value").set_value(-2.5).run()
    assert shown(app).interventions[0]["value"] == -2.5
    app.button(key="steerscope.change.0.remove").click().run()
    assert shown(app).interventions == ()
    assert not app.exception


def test_a_view_with_a_changed_latent_has_the_numbers_of_the_pipeline(open_app, tiny_session):  # noqa: F811
    change = {"kind": "edit_latent", "at": HOOK, "sae": shelve_for(tiny_session), "latent": 9, "mode": "add"}
    change |= {"value": 40.0, "strength": 1.0, "from_pos": 1}
    clean, changed = (
        run(Spec("latents", text=TEXT, interventions=made), lambda *_: tiny_session, None).report
        for made in ((), (change,))
    )
    assert along_text(changed, 9)[3] == pytest.approx(along_text(clean, 9)[3] + 40.0, abs=25)
    assert not open_app(Spec("latents", text=TEXT, interventions=(change,))).error


def test_the_effect_of_a_latent_is_told_on_demand(open_app, report):  # noqa: F811
    latent, _ = latents_at(report, 4)[0]
    app = open_app(Spec("latents", text=TEXT, pins={"pos": 4, "latent": latent}))
    assert not any("nats" in one.value and "prediction moves" in one.value for one in app.markdown)
    app.toggle(key="latents-effect").set_value(True).run()
    assert not app.exception
    assert not app.error
    assert any("prediction moves" in one.value for one in app.markdown)


def test_a_silent_latent_is_said_to_change_nothing(open_app, report):  # noqa: F811
    here = {latent for latent, _ in latents_at(report, 4)}
    silent = next(latent for latent in range(D_SAE) if latent not in here)
    app = open_app(Spec("latents", text=TEXT, pins={"pos": 4, "latent": silent}))
    app.toggle(key="latents-effect").set_value(True).run()
    assert any("does not fire on this token" in one.value for one in app.caption)


def test_ones_own_text_is_encoded(open_app, tiny_session):  # noqa: F811
    app = open_app(Spec("latents", text=TEXT, pins={"pos": 4, "latent": 9}))
    app.text_input(key="latents-own-text").set_value(TEXTS[1]).run()
    assert not app.error
    expected = on_text(LENS, tiny_session, TEXTS[1])
    n = int((np.nan_to_num(along_text(report_of(LENS, expected), 9)) > 0).sum())
    words = f"It fires on {n} of {expected.numbers['n_counted']} tokens"
    assert any(words in one.value.replace("\\", "") for one in app.caption)


def test_a_link_to_an_sae_that_is_not_here_says_so(open_app):  # noqa: F811
    app = open_app(Spec("latents", text=TEXT, options={"sae": "0" * 32}))
    assert not app.exception
    assert "No SAE on the shelf is called" in app.error[0].value


def test_another_model_lets_go_of_the_sae_and_the_changes(open_app, load):  # noqa: F811
    from capture.session import ModelSession
    from tests.models import tiny_gpt2, tiny_tokenizer

    other = ModelSession(tiny_gpt2(), tiny_tokenizer(), name="other")
    load["stories + planted"] = other
    digest = shelve_for(other)
    app = open_app(Spec("latents", text=TEXT, options={"sae": shelve_for(load["stories"])}))
    app.sidebar.selectbox[0].set_value("stories + planted").run()
    assert not app.error
    assert shown(app).options == {"sae": digest}


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"kind": "edit_latent", "latent": 9, "mode": "add", "value": 2.5}, "latent 9 + 2.5"),
        ({"kind": "edit_latent", "latent": 9, "mode": "clamp", "value": 4.0}, "latent 9 clamped to 4"),
        ({"kind": "edit_latent", "latent": 9, "mode": "ablate", "value": 0.0}, "latent 9 set to 0"),
        ({"kind": "add_vector", "strength": 1.5}, "add vector: strength 1.5"),
        ({"kind": "edit_latent", "latent": "![x](y)", "mode": "add", "value": None}, "latent ![x](y) + ?"),
    ],
)
def test_a_change_is_named_in_words(recipe, words):
    assert change_words(recipe) == words


def kept(report: Report, store) -> str:
    """The short id of a kept view of a Report."""
    return keep_view(view_of(report.spec.with_(model="/no/such/model", pins={"pos": 3}), (report,)), store)


def test_a_kept_view_is_drawn_without_the_model(store, open_app, tiny_session, monkeypatch):  # noqa: F811
    report = run(Spec("latents", text=TEXT), lambda *_: tiny_session, None).report
    identity = kept(report, store)
    monkeypatch.setattr(resources, "load", lambda *_: pytest.fail("the model was loaded"))
    app = AppTest.from_file(str(APP), default_timeout=90)
    app.query_params[ID_FIELD] = identity
    app.run()
    assert not app.exception
    assert not app.error
    assert any("position 3: " in one.value.replace("\\", "") for one in app.caption)


def test_the_exported_page_has_strip_table_and_figures(report):
    page = view_html(view_of(report.spec.with_(pins={"pos": 3}), (report,)))
    assert "Strongest latents" in page
    assert "value of latent" in page
    assert page.count('class="plot"') == 3


def test_compare_takes_the_outliers_of_the_text_and_its_changes(open_app, tiny_session):  # noqa: F811
    change = {"kind": "edit_latent", "at": HOOK, "sae": shelve_for(tiny_session), "latent": 9, "mode": "add"}
    change |= {"value": 40.0, "strength": 1.0, "from_pos": 1}
    app = open_app(Spec("latents", text=TEXT, interventions=(change,)))
    app.button(key="steerscope.compare").click().run()
    left = from_code(shown(app).options["left"])
    assert (left.lens, left.text, left.interventions) == ("outliers", TEXT, (change,))
