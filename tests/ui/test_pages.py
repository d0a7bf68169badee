"""Every page, run without a browser on tiny models: it draws, restores a link, refuses a bad one, and stays."""

import importlib
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.lens import lenses
from analysis.link import CODE_FIELD
from analysis.spec import Spec, from_code, to_code
from capture.errors import UserError
from tests.models import FAMILIES, tiny_tokenizer
from tests.shelves import shelve_for
from ui import answers, resources, shell, state

APP = Path(__file__).resolve().parents[2] / "app.py"
TEXT = "Once upon a time a small bear sat near the river."
PAGES = ("what_stands_out", "latents", "outliers", "sae_quality", "sparsity")
ODD_TEXTS = {
    "one token": "a",
    "emoji": "a 🙂 and a 👩‍👩‍👧",
    "right to left": "שלום עולם",
    "HTML": "<img src=x onerror=alert(1)><b>bold</b>",
    "markup": "![x](https://example.org/x.png) $x$ :red[y] `z`",
}


keep_shared = resources.keep_shared


@pytest.fixture
def load(monkeypatch, tiny_session):
    """The loader that the app has instead of the real one; `sessions` may be filled by a test."""
    sessions = {"stories": tiny_session}
    shelve_for(tiny_session)

    def from_table(name: str, dtype: str):
        if name not in sessions:
            raise UserError(f"No model is called {name!r}.", "Choose one of the sidebar's.")
        return sessions[name]

    monkeypatch.setattr(resources, "load", from_table)
    monkeypatch.setattr(resources, "store", lambda: None)
    monkeypatch.setattr(resources, "keep_shared", lambda specs: None)
    monkeypatch.setattr(answers, "PATIENCE_S", 60.0)
    return sessions


@pytest.fixture
def open_app(load):
    """`open_app(spec or code)` is the app after its first run at that address."""

    def opened(view: Spec | str | None = None) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=90)
        if view is not None:
            app.query_params[CODE_FIELD] = to_code(view) if isinstance(view, Spec) else view
        return app.run()

    return opened


def shown(app: AppTest) -> Spec:
    """The Spec in the address."""
    values = app.query_params[CODE_FIELD]
    return from_code(values[0] if isinstance(values, list) else values)


def test_pages_are_found_with_the_landing_page_first_and_those_of_no_text_last():
    found = list(shell.pages())
    modules = [importlib.import_module(f"ui.pages.{slug}") for slug in found]
    of_one_text = [getattr(module, "IS_OF_ONE_TEXT", True) for module in modules]
    drawn_from_answers = [slug for slug, module in zip(found, modules, strict=True) if hasattr(module, "render")]
    assert tuple(drawn_from_answers[: len(PAGES)]) == PAGES
    assert of_one_text == sorted(of_one_text, reverse=True)
    assert "store" in found[len(PAGES) :]


@pytest.mark.parametrize("slug", PAGES)
def test_a_page_draws_and_its_address_spells_it(open_app, slug):
    app = open_app(Spec(slug, text=TEXT))
    assert not app.exception
    assert not app.error
    assert app.title[0].value == shell.title_of(slug, importlib.import_module(f"ui.pages.{slug}"))
    assert shown(app).lens == slug
    assert shown(app).text == TEXT
    assert shown(app).fingerprint


def test_the_landing_page_is_filled_with_the_tour_at_once(open_app):
    app = open_app()
    assert not app.error
    assert shown(app).text == state.tour_spec().text
    assert sum(markdown.value.startswith("**") for markdown in app.markdown) >= 3


@pytest.mark.parametrize("slug", PAGES)
def test_a_link_restores_text_options_and_pins(open_app, slug, tiny_session):
    own = {"outliers": {"what_if": "zero"}, "latents": {"sae": shelve_for(tiny_session)}, "sparsity": {"p": 5.0}}
    own["sae_quality"] = own["latents"] | {"beside": ""}
    options = own.get(slug, {})
    spec = Spec(slug, text=TEXT, bos=False, options=options, pins={"layer": 1, "pos": 2, "dim": 3})
    first = shown(open_app(spec))
    again = open_app(first)
    assert not again.error
    assert shown(again) == first
    assert (first.pins, first.bos, first.options) == (spec.pins, False, options)
    assert again.sidebar.toggle[0].value is False
    assert again.sidebar.text_area[0].value == TEXT


BAD_LINKS = {
    "cut": to_code(Spec("outliers", text=TEXT))[:-20],
    "noise": "kJ3-" * 16_000,
    "too long": "A" * 65_000,
    "no such page": to_code(Spec("nothing", text=TEXT)),
    "markup": to_code(Spec("outliers", text=TEXT, model="![x](https://example.org/x.png)")),
}


@pytest.mark.parametrize("code", BAD_LINKS.values(), ids=BAD_LINKS)
def test_a_bad_link_gets_one_sentence_and_no_traceback(open_app, code):
    app = open_app(code)
    assert not app.exception
    assert len(app.error) == 1
    assert "![x](" not in app.error[0].value
    assert "Traceback" not in app.error[0].value


@pytest.mark.parametrize("name", ["cut", "noise", "too long", "no such page"])
def test_after_a_bad_link_the_tour_is_shown(open_app, name):
    app = open_app(BAD_LINKS[name])
    assert shown(app).text == state.tour_spec().text
    assert app.sidebar.text_area[0].value == state.tour_spec().text


@pytest.mark.parametrize("slug", PAGES)
@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_an_odd_text_is_shown_as_it_was_typed(open_app, slug, text):
    app = open_app(Spec(slug, text=text))
    assert not app.exception
    assert not app.error
    for element in (*app.markdown, *app.caption):
        assert "![x](" not in element.value
        assert "<img" not in element.value.replace("\\<img", "")


@pytest.mark.parametrize(("text", "word"), {"": "at least one", "word " * 20_000: "64"}.items(), ids=["empty", "100 k"])
def test_a_refused_text_leaves_the_view_before_and_its_address(open_app, text, word):
    app = open_app(Spec("outliers", text=TEXT))
    before = app.query_params[CODE_FIELD]
    app.sidebar.text_area[0].set_value(text).run()
    assert not app.exception
    assert len(app.error) == 1
    assert word in app.error[0].value
    assert app.query_params[CODE_FIELD] == before
    assert any("What the definitions say" in markdown.value for markdown in app.markdown)


def test_another_text_gives_another_address(open_app):
    app = open_app(Spec("outliers", text=TEXT))
    app.sidebar.text_area[0].set_value("The cat sat on the mat.").run()
    assert not app.error
    assert shown(app).text == "The cat sat on the mat."


def test_an_unknown_model_is_refused_and_the_view_before_stays(open_app):
    app = open_app(Spec("outliers", text=TEXT))
    app.sidebar.selectbox[0].set_value("Other model…").run()
    app.sidebar.text_input[0].set_value("/no/such/folder").run()
    assert not app.exception
    assert "/no/such/folder" in app.error[0].value.replace("\\", "")
    assert shown(app).model == "stories"


def test_an_unforeseen_error_shows_an_id_and_logs_the_traceback(open_app, load, caplog):
    load["stories"] = None
    app = open_app()
    code = app.error[0].value.rpartition("error ")[2].rstrip("]")
    assert "Something went wrong" in app.error[0].value
    assert f"error {code}" in caplog.text
    assert "Traceback" in caplog.text


def test_nothing_to_show_offers_the_tour(open_app):
    app = open_app(Spec("outliers", text=""))
    assert len(app.error) == 1
    next(button for button in app.button if "tour" in button.label).click()
    app.run()
    assert not app.error
    assert shown(app).text == state.tour_spec().text


def test_a_link_made_with_other_weights_is_shown_with_a_caution(open_app):
    app = open_app(Spec("outliers", text=TEXT, fingerprint="0" * 16))
    assert not app.error
    assert "00000000" in app.warning[0].value


def test_what_if_compares_clean_and_edited(open_app):
    app = open_app(Spec("outliers", text=TEXT, options={"what_if": "zero", "criterion": "loudest_dims"}))
    assert [metric.label for metric in app.metric] == [
        "Entries changed",
        "Loss, nats per token",
        "KL from clean, nats per token",
    ]


@pytest.mark.parametrize("slug", PAGES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_page_draws_on_every_family_or_says_what_it_needs(open_app, load, slug, family):
    from capture.session import ModelSession

    load["stories"] = session = ModelSession(FAMILIES[family](), tiny_tokenizer(), name=family)
    shelve_for(session)
    missing = lenses()[slug].needs(session.shape) if slug in lenses() else None
    app = open_app(Spec(slug, text=TEXT))
    assert not app.exception
    assert len(app.error) == (missing is not None)
    assert (missing or "") in "".join(error.value for error in app.error).replace("\\", "")


@pytest.mark.parametrize("slug", PAGES)
def test_a_text_set_is_shown_by_layer(open_app, slug):
    app = open_app(Spec(slug, text_set="tour"))
    assert not app.exception
    assert not app.error
    assert shown(app).text_set == "tour"


def test_a_link_to_a_folder_loads_nothing_until_a_person_agrees(open_app, load, monkeypatch, tmp_path):
    asked_for = []
    from_table, allowed = resources.load, resources.is_allowed

    def watched(name: str, dtype: str):
        if not allowed(name):
            raise UserError("A link asks for this model.", "Press Open this model.")
        asked_for.append(name)
        return from_table("stories", dtype)

    monkeypatch.setattr(resources, "load", watched)
    app = open_app(Spec("outliers", text=TEXT, model=str(tmp_path)))
    assert "A link asks for this model" in app.error[0].value
    assert asked_for == []
    next(button for button in app.button if button.label == "Open this model").click().run()
    assert asked_for == [str(tmp_path)]
    assert not app.error


def test_the_loader_refuses_a_model_that_only_a_link_named(tmp_path):
    with pytest.raises(UserError, match="which nobody opened here yet"):
        resources.load(str(tmp_path), "float32")


def test_a_link_may_name_a_checkpoint_of_a_model_that_it_may_name(tmp_path):
    assert resources.is_allowed("stories@at-4M")
    assert not resources.is_allowed(f"{tmp_path}@at-4M")
    (tmp_path / "stories@at-4M").mkdir()
    assert not resources.is_allowed(f"{tmp_path}/stories@at-4M")


def test_the_badge_checks_the_text_on_screen(open_app, tiny_session):
    from capture.faithfulness import check

    app = open_app(Spec("outliers", text=TEXT))
    next(button for button in app.button if button.label == "Check this text").click().run()
    expected = check(tiny_session, tiny_session.tokens(TEXT, True))
    assert any(f"On this text: {expected.status}" in caption.value for caption in app.caption)
    assert f"{expected.n_tokens}" in app.table[0].value["value"].tolist()


def test_the_pinned_token_is_named_as_it_was_written(open_app):
    app = open_app(Spec("outliers", text="a bear", pins={"pos": 0}))
    titles = [one.value.replace("\\", "") for one in app.markdown if one.value.startswith("#### ")]
    assert titles == [f"#### {tiny_tokenizer().bos_token}"]


def test_a_shared_report_outlives_the_limit_of_the_store(monkeypatch, tiny_session, tmp_path):
    from analysis.pipeline import report_key, run
    from capture.store import ActivationStore

    store = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(resources, "store", lambda: store)
    specs = [run(Spec("outliers", text=text), lambda *_: tiny_session, store).report.spec for text in (TEXT, "a bear")]
    keep_shared(specs[:1])
    store.limit_bytes = 1_000
    store.keep_statistics("another", b"x" * 10)
    assert [store.report(report_key(spec)) is not None for spec in specs] == [True, False]
    store.close()
