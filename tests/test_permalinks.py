"""Links and view files of every version so far open, with the numbers they had; their files never change."""

import hashlib
import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.lens import lenses
from analysis.link import Link, read_link
from analysis.option import read_options
from analysis.shared_view import changes_since, keep_view, kept_view
from analysis.spec import from_code, read_spec
from analysis.view_file import SUFFIX, read_view_file
from capture.store import ActivationStore
from ui import resources
from ui.view_html import view_in_html

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
VIEWS = FIXTURES / "views_v1"
SHA256 = {
    "links_v1.json": "b7c8dd1844899a0b898c20eab142025751ac6dc4bb849fe5618bbe0dd0d3f89e",
    "views_v1/texts.html": "b61cc8b0433e62e6fd25d846b880855e36393164150c82b1ca0142bc68942bba",
    "views_v1/expected.json": "217810f17ed517f4d2dd63b6f2fa399d5d80621797828e429c21e0f2c6c17cd6",
}
LINKS = json.loads((FIXTURES / "links_v1.json").read_text("utf-8"))
EXPECTED = json.loads((VIEWS / "expected.json").read_text("utf-8"))
every_link = pytest.mark.parametrize("row", LINKS, ids=[row["name"] for row in LINKS])
every_view = pytest.mark.parametrize("name", EXPECTED)


@pytest.fixture
def store(tmp_path):
    store = ActivationStore.open(tmp_path / "store.duckdb")
    yield store
    store.close()


def view_bytes(name: str) -> bytes:
    return (VIEWS / f"{name}{SUFFIX}").read_bytes()


def test_the_fixtures_are_the_files_that_were_sent():
    found = {name: hashlib.sha256((FIXTURES / name).read_bytes()).hexdigest() for name in SHA256}
    assert found == SHA256
    assert {name: hashlib.sha256(view_bytes(name)).hexdigest() for name in EXPECTED} == {
        name: must["sha256"] for name, must in EXPECTED.items()
    }


@every_link
def test_a_link_gives_the_spec_that_was_sent(row):
    spec = from_code(row["code"])
    assert spec == read_spec(row["spec"])
    assert spec.digest() == row["digest"]
    assert read_link(row["address"]) == Link(spec, row["id"])


@every_link
def test_a_lens_still_takes_the_options_of_its_links(row):
    lens = lenses().get(row["spec"]["lens"])
    options = row["spec"]["options"]
    assert lens is None or options.items() <= read_options(lens.options, options).items()


@every_view
def test_a_view_file_gives_the_numbers_that_were_sent(name):
    view, must = read_view_file(view_bytes(name)), EXPECTED[name]
    assert (view.id, view.spec, dict(view.made)) == (must["id"], read_spec(must["spec"]), must["made"])
    assert [_numbers(report) for report in view.reports] == must["reports"]


def _numbers(report):
    return {
        "digest": report.digest(),
        "facts": dict(report.facts),
        "findings": [finding.sentence for finding in report.findings],
        "sums": {name: f"{array.astype('float64').sum():.6g}" for name, array in report.arrays.items()},
    }


def test_an_exported_page_gives_the_view_in_it():
    view = view_in_html((VIEWS / "texts.html").read_text("utf-8"))
    assert view.to_bytes() == read_view_file(view_bytes("texts")).to_bytes()
    assert view.id == EXPECTED["texts"]["id"]


@every_view
def test_what_changed_since_can_be_told(name):
    model = EXPECTED[name]["reports"][0]["facts"]["model"]
    said = changes_since(read_view_file(view_bytes(name)), {model: "0" * 32})
    assert any(f"The model {model} was" in sentence for sentence in said)


@every_view
def test_its_page_draws_a_kept_view_without_the_model(name, store, monkeypatch):
    def refuse(name: str, dtype: str):
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(resources, "store", lambda: store)
    monkeypatch.setattr(resources, "load", refuse)
    identity = keep_view(read_view_file(view_bytes(name)), store)
    assert kept_view(identity, store).id == EXPECTED[name]["id"]
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90)
    app.query_params["id"] = identity
    app.run()
    assert not app.exception
    assert not app.error
    shown = "\n".join(one.value for one in (*app.markdown, *app.caption))
    assert f"**Kept view** of {EXPECTED[name]['made']['at'][:16]}" in shown.replace("\\", "")
