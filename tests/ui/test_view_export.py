"""Views out of links and files, and into files: the same view in every form, and sentences for what cannot be."""

import re
from contextlib import nullcontext

import pytest

import cli
from analysis import pipeline
from analysis.lens import unasked_lenses
from analysis.link import Link
from analysis.pipeline import EVERY_LENS
from analysis.shared_view import keep_view
from analysis.spec import Spec, to_code
from analysis.tables import data_zip
from analysis.view_file import read_view_file
from analysis.whole_view import answers_of, view_of_link
from capture.errors import UserError
from capture.store import ActivationStore
from tests.analysis.test_tables import report_of, view_of
from tests.shelves import shelve_for
from ui.view_export import export, is_view_path, view_named, view_of_path
from ui.view_html import view_html, view_in_html

ASKED = Spec("outliers", text="the bear sat", pins={"layer": 1})


@pytest.fixture
def load(tiny_session):
    return lambda name, dtype: tiny_session


@pytest.fixture
def store(tmp_path):
    opened = ActivationStore.open(tmp_path / "store.duckdb")
    yield opened
    opened.close()


def test_a_view_of_a_spec_has_its_pins_and_the_reports_of_its_lens(load):
    view = view_of_link(Link(ASKED), load, None)
    assert view.spec.pins == {"layer": 1}
    assert [one.digest() for one in view.reports] == [pipeline.run(ASKED, load, None).report.digest()]


def test_a_view_of_the_landing_page_has_the_reports_of_every_lens(load, tiny_session):
    shelve_for(tiny_session)
    view = view_of_link(Link(Spec(EVERY_LENS, text="the bear sat")), load, None)
    assert [one.spec.lens for one in view.reports] == list(unasked_lenses())
    assert view.spec.lens == EVERY_LENS


def test_every_lens_that_refuses_is_one_sentence(load):
    with pytest.raises(UserError, match="text set"):
        answers_of(Spec(EVERY_LENS, text_set="none such"), load, None)


def test_a_link_with_an_id_gives_the_kept_numbers_with_its_own_pins(store):
    kept = view_of(report_of())
    link = Link(kept.spec.with_(pins={"layer": 2}), keep_view(kept, store))
    view = view_of_link(link, _no_model, store)
    assert view.spec.pins == {"layer": 2}
    assert view.reports[0].digest() == kept.reports[0].digest()
    assert view_of_link(Link(id=link.id), _no_model, store).id == kept.id


def _no_model(name, dtype):
    raise AssertionError("a kept view needs no model")


def test_a_link_of_a_page_without_numbers_is_refused(load):
    with pytest.raises(UserError, match="'store', which has no numbers"):
        view_of_link(Link(Spec("store")), load, None)


@pytest.mark.parametrize("ending", [".steerscope", ".html", ".HTM"])
def test_a_view_comes_back_out_of_its_file(tmp_path, ending):
    view, path = view_of(report_of()), tmp_path / f"view{ending}"
    path.write_bytes(view.to_bytes() if ending == ".steerscope" else view_html(view).encode())
    assert is_view_path(str(path))
    assert view_named(str(path), _no_model, nullcontext, None).to_bytes() == view.to_bytes()


def test_an_address_is_no_path():
    assert not is_view_path("http://127.0.0.1:8501/outliers.html?view=abc")
    assert not is_view_path(to_code(ASKED))


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        view_of_path(tmp_path / "none.steerscope")


def test_every_export_is_written_where_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("ui.view_export.figure_files", lambda view: {"one.svg": b"<svg/>"})
    view = view_of(report_of())
    html, data, file = tmp_path / "a" / "v.html", tmp_path / "v.zip", tmp_path / "v.steerscope"
    lines = export(lambda: view, html, data, tmp_path / "figures", file)
    assert view_in_html(html.read_text("utf-8")).id == view.id
    assert data.read_bytes() == data_zip(view)
    assert read_view_file(file.read_bytes()).id == view.id
    assert (tmp_path / "figures" / "one.svg").read_bytes() == b"<svg/>"
    assert lines[-1] == f"{tmp_path / 'figures' / 'one.svg'}  6 bytes"


def test_nowhere_to_write_is_said_before_anything_is_made():
    with pytest.raises(UserError, match="Where to write must be said"):
        export(_no_model)


def test_the_command_line_exports_a_link_and_opens_the_file_again(tmp_path, load, monkeypatch, capsys):
    monkeypatch.setattr("capture.models.load_session", load)
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    page = tmp_path / "view.html"
    assert _run("export-view", to_code(ASKED), "--html", str(page)) == 0
    assert _run("open-view", str(page)) == 0
    identity = re.search(r"^([0-9a-f]{20})  outliers$", capsys.readouterr().out, re.MULTILINE)[1]
    assert _run("export-view", identity, "--file", str(tmp_path / "again.steerscope")) == 0
    assert read_view_file((tmp_path / "again.steerscope").read_bytes()).id == identity


def test_the_command_line_says_that_an_id_is_not_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    assert _run("export-view", "0" * 20, "--html", str(tmp_path / "a.html")) == 2
    assert "No view 00000000000000000000 is kept here." in capsys.readouterr().err


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return int(ended.value.code or 0)
