"""Several people at once: each keeps what is theirs; who they are; what is said where anybody may come in."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from analysis.link import CODE_FIELD
from analysis.pipeline import run
from analysis.spec import Spec, from_code, to_code
from ui import answers, job_kinds, people, resources, sign_in, visitor
from ui.sign_in import is_loopback

ROOT = Path(__file__).resolve().parents[2]
ANN = Spec("outliers", text="Once upon a time a small bear sat near the river.", pins={"layer": 1, "pos": 2})
BOB = Spec("outliers", text="The cat sat on the mat.", bos=False, options={"what_if": "zero"}, pins={"pos": 4})
EDIT = {"kind": "replace_entries", "at": "blocks.0.hook_resid_post", "entries": [[None, 3, 9.0]], "strength": 1.0}
EDITED = ANN.with_(interventions=(EDIT,))


@pytest.fixture
def open_app(monkeypatch, tiny_session):
    """`open_app(spec)` is the app in a session of its own; all share one process, one model, one queue."""
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "store", lambda: None)
    monkeypatch.setattr(answers, "PATIENCE_S", 60.0)
    job_kinds.queue.clear()

    def opened(spec: Spec) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90)
        app.query_params[CODE_FIELD] = to_code(spec)
        return app.run()

    yield opened
    job_kinds.queue().close()
    job_kinds.queue.clear()


def own(app: AppTest):
    return app.session_state["steerscope"]


def digest(app: AppTest) -> str:
    """Of the Report on screen."""
    key = own(app).last_good[own(app).shown.lens]
    return own(app).answers[key][0].report.digest()


def alone(spec: Spec, tiny_session) -> str:
    return run(spec, lambda name, dtype: tiny_session, None).report.digest()


def title_of_the_pinned_token(app: AppTest) -> str:
    return next(one.value for one in app.markdown if one.value.startswith("#### "))


def test_two_people_in_turns_see_the_numbers_that_each_would_see_alone(open_app, tiny_session):
    ann, bob = open_app(ANN), open_app(BOB)
    for _ in range(2):
        ann.run()
        bob.run()
    assert (digest(ann), digest(bob)) == (alone(ANN, tiny_session), alone(BOB, tiny_session))
    assert (own(ann).shown.pins, own(bob).shown.pins) == (ANN.pins, BOB.pins)
    assert (own(ann).shown.options, own(bob).shown.options) == ({}, BOB.options)
    assert title_of_the_pinned_token(ann) != title_of_the_pinned_token(bob)


def test_what_one_person_changes_the_other_does_not_see(open_app, tiny_session):
    ann, bob = open_app(ANN), open_app(BOB)
    ann.sidebar.text_area[0].set_value("The moon was bright.").run()
    bob.run()
    assert own(bob).shown.text == BOB.text
    assert bob.sidebar.text_area[0].value == BOB.text
    assert digest(bob) == alone(BOB, tiny_session)
    assert digest(ann) == alone(ANN.with_(text="The moon was bright."), tiny_session)


def test_the_interventions_of_one_person_do_not_reach_the_other(open_app, tiny_session):
    ann, bob = open_app(EDITED), open_app(ANN)
    ann.run()
    assert digest(ann) == alone(EDITED, tiny_session)
    assert digest(bob) == alone(ANN, tiny_session)
    assert digest(ann) != digest(bob)


def test_the_views_of_a_person_are_listed_for_that_person_alone(open_app):
    ann, bob = open_app(ANN), open_app(BOB)
    ann.sidebar.text_area[0].set_value("The moon was bright.").run()
    bob.run()
    links = [one.proto for one in ann.sidebar.get("page_link") if "·" in one.proto.label]
    assert [from_code(link.query_string.partition("view=")[2]).text for link in links] == [ANN.text]
    assert [spec.text for spec in own(bob).recent] == [BOB.text]


def test_the_list_of_views_is_short_and_names_each_once(open_app):
    app = open_app(ANN)
    for number in (*range(people.MAX_RECENT), people.MAX_RECENT - 2):
        app.sidebar.text_area[0].set_value(f"A cat, {number}.").run()
    texts = [spec.text for spec in own(app).recent]
    assert len(texts) == len(set(texts)) == people.MAX_RECENT
    assert texts[:2] == ["A cat, 6.", "A cat, 7."]


def test_two_browsers_are_two_owners_and_an_id_is_never_on_the_page(open_app):
    ann, bob = open_app(ANN), open_app(BOB)
    assert own(ann).visitor != own(bob).visitor
    assert len(own(ann).visitor) == 32
    assert own(ann).visitor not in "".join(one.value for one in (*ann.markdown, *ann.caption))


@pytest.mark.parametrize("said", ["0" * 32, "", None, "browser x", "G" * 32, 7, {"id": 1}])
def test_a_browser_is_believed_only_an_id_of_the_right_shape(monkeypatch, said):
    session = SimpleNamespace(visitor="a" * 32)
    claims = []
    monkeypatch.setattr(visitor.state, "session", lambda: session)
    monkeypatch.setattr(visitor, "signed_in_name", lambda: "")
    monkeypatch.setattr(visitor, "queue", lambda: SimpleNamespace(claim=lambda *names: claims.append(names)))
    monkeypatch.setattr(visitor, "_mount", lambda **_: {"id": said})
    visitor.recognise()
    is_believed = said == "0" * 32
    assert session.visitor == (said if is_believed else "a" * 32)
    assert claims == ([("browser " + "a" * 32, "browser " + "0" * 32)] if is_believed else [])


def test_who_signed_in_owns_the_jobs_whatever_the_browser_says(monkeypatch):
    monkeypatch.setattr(visitor, "signed_in_name", lambda: "ann@example.org")
    monkeypatch.setattr(visitor, "_mount", lambda **_: pytest.fail("the browser was asked"))
    visitor.recognise()
    assert visitor.owner() == "name ann@example.org"


@pytest.mark.parametrize(
    ("address", "is_ours"),
    {
        "127.0.0.1": True,
        "127.0.0.2": True,
        "localhost": True,
        "::1": True,
        "[::1]": True,
        "0.0.0.0": False,
        "::": False,
        "192.168.1.5": False,
        "example.org": False,
        "127.0.0.1.example.org": False,
    }.items(),
)
def test_only_loopback_addresses_are_this_machine_alone(address, is_ours):
    assert is_loopback(address) == is_ours


def test_a_server_that_others_can_reach_says_so_on_the_page_and_once_in_the_log(open_app, monkeypatch, caplog):
    sign_in._log_once.clear()
    monkeypatch.setattr(sign_in, "bound_address", lambda: "0.0.0.0")
    app = open_app(ANN).run()
    said = [one.value.replace("\\", "") for one in app.sidebar.caption if "beyond this machine" in one.value]
    assert len(said) == 1
    assert "listens on 0.0.0.0, beyond" in said[0]
    assert caplog.text.count("beyond this machine") == 1


def test_on_the_loopback_nothing_is_said(open_app, monkeypatch, caplog):
    monkeypatch.setattr(sign_in, "bound_address", lambda: "127.0.0.1")
    app = open_app(ANN)
    assert "beyond" not in "".join(one.value for one in app.sidebar.caption) + caplog.text


@pytest.fixture
def user(monkeypatch):
    """Who Streamlit says is there, where [auth] is configured."""
    monkeypatch.setattr(sign_in, "has_sign_in", lambda: True)
    person = {"is_logged_in": False}
    monkeypatch.setattr(
        st, "user", type("User", (dict,), {"is_logged_in": property(lambda one: one["is_logged_in"])})(person)
    )
    return st.user


def test_where_sign_in_is_configured_nobody_sees_the_app_without(open_app, user):
    app = open_app(ANN)
    assert not app.exception
    assert [one.label for one in app.button] == ["Sign in"]
    assert "steerscope" not in app.session_state
    assert len(app.sidebar.text_area) == 0


def test_who_signed_in_sees_their_name_and_the_way_out(open_app, user):
    user.update(is_logged_in=True, sub="1234", name="Ann *Example*")
    app = open_app(ANN)
    assert not app.exception
    assert "Ann *Example*" in [one.value.replace("\\", "") for one in app.sidebar.caption]
    assert "Sign out" in [one.label for one in app.sidebar.button]
    assert sign_in.signed_in_name() == "1234"


def test_without_auth_in_the_secrets_nothing_of_authlib_is_imported():
    code = "import sys; from ui import people, sign_in; print(sign_in.has_sign_in(), 'authlib' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]
