"""Sharing from the app: a kept view opens with its own numbers and no model, and any change leaves it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.link import CODE_FIELD, ID_FIELD, read_link
from analysis.pipeline import run
from analysis.report import Report
from analysis.shared_view import keep_view, kept_view, view_of
from analysis.spec import Spec, from_code, to_code
from analysis.view_file import ViewFile
from capture.errors import UserError
from capture.store import ActivationStore
from ui import answers, resources, state
from ui.view_html import view_html

APP = Path(__file__).resolve().parents[2] / "app.py"
TEXT = "Once upon a time a small bear sat near the river."
FOREIGN = "/no/such/model"


@pytest.fixture
def store(monkeypatch, tmp_path, tiny_session):
    """A store of its own in the place of the app's; the model `stories` is a tiny one."""
    kept = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(resources, "store", lambda: kept)
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(answers, "PATIENCE_S", 60.0)
    yield kept
    kept.close()


@pytest.fixture
def view(store, tiny_session) -> ViewFile:
    """A view of the Outliers page whose model is not here."""
    report = run(Spec("outliers", text=TEXT), lambda *_: tiny_session, None).report
    spec = report.spec.with_(model=FOREIGN, pins={"layer": 1, "pos": 2})
    foreign = Report(spec, {**report.facts, "model": FOREIGN}, report.numbers, report.arrays, report.findings)
    return view_of(spec, (foreign,))


@pytest.fixture
def no_model(monkeypatch):
    """Whatever loads a model fails the test."""

    def refuse(name: str, dtype: str):
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(resources, "load", refuse)


def opened(**query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=90)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def address(app: AppTest) -> dict[str, str]:
    return {
        name: value[0] if isinstance(value, list) else value for name, value in dict(app.query_params.items()).items()
    }


def words(app: AppTest) -> str:
    return "\n".join(one.value.replace("\\", "") for one in (*app.markdown, *app.caption, *app.warning, *app.error))


def press(app: AppTest, label: str) -> AppTest:
    return next(one for one in app.button if one.label == label).click().run()


def test_a_short_link_shows_the_kept_numbers_without_any_model(store, view, no_model):
    app = opened(id=keep_view(view, store))
    assert not app.exception
    assert not app.error
    assert f"**Kept view** of {view.made['at'][:16]}" in words(app)
    assert "position 2, after block 1" in words(app)
    assert address(app) == {ID_FIELD: view.id}
    assert state_of(app).shown == view.spec


def state_of(app: AppTest) -> state.Session:
    return app.session_state["steerscope"]


def test_pins_of_a_code_beside_the_id_are_shown_over_the_kept_numbers(store, view, no_model):
    pinned = view.spec.with_(pins={"layer": 0, "pos": 4})
    app = opened(id=keep_view(view, store), view=to_code(pinned))
    assert "position 4, after block 0" in words(app)
    assert address(app)[ID_FIELD] == view.id
    assert from_code(address(app)[CODE_FIELD]).pins == {"layer": 0, "pos": 4}


def test_an_id_that_is_not_here_gets_a_sentence_and_the_tour(store):
    app = opened(id="0" * 20)
    assert "No view 00000000000000000000 is kept here" in words(app)
    assert len(app.error) == 1
    assert from_code(address(app)[CODE_FIELD]).text == state.tour_spec().text


def test_a_code_beside_an_id_that_is_not_here_is_run_with_a_sentence(store):
    app = opened(id="0" * 20, view=to_code(Spec("outliers", text=TEXT)))
    assert "No view 00000000000000000000 is kept here" in words(app)
    assert from_code(address(app)[CODE_FIELD]).text == TEXT


def test_run_it_now_leaves_the_kept_view(store, tiny_session):
    report = run(Spec("outliers", text=TEXT), lambda *_: tiny_session, None).report
    view = view_of(report.spec, (report,))
    app = press(opened(id=keep_view(view, store)), "Run it now")
    assert not app.error
    assert "Kept view" not in words(app)
    assert set(address(app)) == {CODE_FIELD}
    assert from_code(address(app)[CODE_FIELD]).text == TEXT


def test_another_text_leaves_the_kept_view(store, tiny_session):
    report = run(Spec("outliers", text=TEXT), lambda *_: tiny_session, None).report
    app = opened(id=keep_view(view_of(report.spec, (report,)), store))
    app.sidebar.text_area[0].set_value("The cat sat.").run()
    assert set(address(app)) == {CODE_FIELD}
    assert from_code(address(app)[CODE_FIELD]).text == "The cat sat."


def test_a_kept_view_says_what_has_changed_since(store, view, no_model):
    older = ViewFile(view.spec, view.reports, {**view.made, "versions": {"torch": "1.0"}, "lens_revisions": {}})
    resources.warm_up()
    app = opened(id=keep_view(older, store))
    assert "torch was 1.0 then and is" in words(app)


def test_a_kept_landing_page_shows_every_finding_it_was_kept_with(store, tiny_session, no_model):
    report = run(Spec("outliers", text=TEXT), lambda *_: tiny_session, None).report
    view = view_of(report.spec.with_(lens=state.HOME), (report,))
    app = opened(id=keep_view(view, store))
    assert not app.error
    assert report.findings[0].sentence in words(app)


def test_opening_a_kept_view_needs_no_torch(tmp_path):
    script = (
        "import sys\nfrom ui import frozen, header, rail, resources, share, shell, state\nshell.pages()\n"
        "from analysis.shared_view import kept_view\nfrom capture.store import ActivationStore\n"
        f"store = ActivationStore.open({str(tmp_path / 'store.duckdb')!r})\nstore.view('0' * 20)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=APP.parent)


@pytest.mark.parametrize("base", ["https://lab.example.org/scope", "http://127.0.0.1:8501/"])
def test_links_start_with_the_address_that_the_server_was_told(monkeypatch, base):
    monkeypatch.setenv("STEERSCOPE_BASE_URL", base)
    assert resources.base_address() == base.rstrip("/")


@pytest.mark.parametrize("base", ["javascript:alert(1)", "lab.example.org", "ftp://x", "https://", "http://a?b=c"])
def test_a_base_that_is_no_web_address_is_refused(monkeypatch, base):
    monkeypatch.setenv("STEERSCOPE_BASE_URL", base)
    with pytest.raises(UserError, match="must be an http or https address"):
        resources.base_address()


def test_compare_takes_the_first_view_left_and_the_second_right(store):
    app = opened(view=to_code(Spec("outliers", text=TEXT)))
    first = from_code(address(app)[CODE_FIELD]).with_(pins={})
    app = press(app, "Compare")
    sides = from_code(address(app)[CODE_FIELD]).options
    assert from_code(sides["left"]) == first
    assert not sides.get("right")


def test_a_view_file_of_another_instance_opens_with_its_numbers(store, view, tiny_session):
    app = opened(view=to_code(Spec("outliers", text="a bear")))
    app.sidebar.file_uploader[0].set_value(("theirs.steerscope", view.to_bytes(), "application/gzip")).run()
    assert not app.error
    assert store.view(view.id) == view.to_bytes()
    assert address(app) == {ID_FIELD: view.id}
    assert "position 2, after block 1" in words(app)


HOSTILE = {"noise": b"\x1f\x8b" + b"x" * 1000, "empty": b"", "script": b"<script>alert(1)</script>"}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_is_no_view_gets_a_sentence_and_leaves_the_page(store, data):
    app = opened(view=to_code(Spec("outliers", text=TEXT)))
    app.sidebar.file_uploader[0].set_value(("x.steerscope", data, "application/gzip")).run()
    assert not app.exception
    assert len(app.error) == 1
    assert "Something went wrong" not in app.error[0].value
    assert from_code(address(app)[CODE_FIELD]).text == TEXT


def test_an_exported_page_opens_as_the_view_it_was_made_of(store, view, tiny_session):
    app = opened(view=to_code(Spec("outliers", text="a bear")))
    app.sidebar.file_uploader[0].set_value(("theirs.html", view_html(view).encode(), "text/html")).run()
    assert not app.error
    assert address(app) == {ID_FIELD: view.id}


def test_share_gives_both_links_under_the_address_that_the_server_was_told(store, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_BASE_URL", "https://lab.example.org/scope/")
    app = opened(view=to_code(Spec("outliers", text=TEXT, pins={"pos": 2})))
    app.session_state["steerscope.share"] = True
    app.run()
    short, whole = [read_link(code.value) for code in app.code][:2]
    assert app.code[0].value.startswith("https://lab.example.org/scope/outliers?id=")
    assert kept_view(short.id, store).spec == whole.spec == state_of(app).shown


@pytest.mark.parametrize("missing", ["criteria", "gates", "tokens"])
def test_numbers_of_another_form_are_told_once_and_in_our_words(store, view, no_model, missing):
    (report,) = view.reports
    numbers = {name: value for name, value in report.numbers.items() if name != missing}
    other = view_of(view.spec, (replace(report, numbers=numbers),))
    app = opened(id=keep_view(other, store))
    # Streamlit has words of its own for what a fragment raises.
    assert not app.exception
    assert app.error
    assert all("press Run it now" in one.value for one in app.error)
