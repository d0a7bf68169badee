"""The exported page: what it shows is what the view says, it carries the view, and nothing in a text acts as markup."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from analysis.report import Finding
from analysis.spec import Spec
from analysis.view_file import ViewFile
from capture.errors import UserError
from tests.analysis.test_tables import report_of, view_of
from ui import view_html as module
from ui.figures import pictures_of
from ui.figures.part import Sentences, Strip, Table
from ui.view_html import view_html, view_in_html
from ui.view_sections import N_SHADES, sentences, shade_of, table, token_strip

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class _Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.found[-1][0] if self.found else "", data))


def figures_in(page: str) -> list[dict]:
    return json.loads(re.search(r'id="steerscope-figures">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.parametrize("is_text_set", [False, True])
def test_the_page_carries_the_view_itself(is_text_set):
    view = view_of(report_of(is_text_set))
    again = view_in_html(view_html(view))
    assert again.id == view.id
    assert again.to_bytes() == view.to_bytes()


@pytest.mark.parametrize("is_text_set", [False, True])
def test_the_page_draws_the_figures_of_the_pinned_place(is_text_set):
    view = view_of(report_of(is_text_set))
    drawn = figures_in(view_html(view))
    wanted = pictures_of(view.reports[0], view.spec.pins)
    assert [one["name"] for one in drawn] == [one.name for one in wanted]
    assert [one["layout"] for one in drawn] == [json.loads(one.figure.to_json())["layout"] for one in wanted]


def test_the_page_says_question_findings_provenance_and_how_to_read_it():
    view = view_of(replace(report_of(), findings=(Finding("Block 1 is loud.", 3.5, "×", 2.0, {"layer": 1}),)))
    text = " ".join(data for _, data in _Elements(view_html(view)).texts)
    for said in ("Where are this model's activations extreme", "Block 1 is loud.", "3.5 ×", "a" * 16, view.id):
        assert said in text
    assert "How to read this" in text
    assert view.reports[0].digest() in text


def test_a_page_of_several_reports_has_the_findings_of_all_by_score():
    found = [Finding(f"Finding {n}.", 1.0, "×", float(n), {"layer": 0}) for n in (1, 3, 2)]
    one, other = (replace(report_of(), findings=tuple(part)) for part in (found[:1], found[1:]))
    page = view_html(replace(view_of(one, other), spec=Spec("what_stands_out", text="the bear")))
    assert re.findall(r"Finding \d\.", page) == ["Finding 3.", "Finding 2.", "Finding 1."]
    assert "<h1>What stands out</h1>" in page


def test_the_policy_names_every_script_and_style_of_the_page():
    page = view_html(view_of(report_of()))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL):
        assert f"'{module._digest(script)}'" in policy
    assert f"'{module._digest(module._plotly())}'" in policy
    assert f"'{module._digest(re.search('<style>(.*?)</style>', page, re.DOTALL)[1])}'" in policy


def test_nothing_that_a_text_says_becomes_an_element():
    plain, hostile = report_of(), report_of()
    tokens = [HOSTILE] * len(plain.numbers["tokens"])
    finding = Finding(HOSTILE, 1.0, HOSTILE, 1.0, {"layer": 0})
    facts = {**plain.facts, "model": HOSTILE}
    hostile = replace(plain, numbers={**plain.numbers, "tokens": tokens}, findings=(finding,), facts=facts)
    view = view_of(replace(hostile, spec=plain.spec.with_(text=HOSTILE, model=HOSTILE)))
    same = view_of(replace(plain, findings=(replace(finding, sentence="a", unit="b"),)))
    found, wanted = (_Elements(view_html(one)).found for one in (view, same))
    assert [tag for tag, _ in found] == [tag for tag, _ in wanted]
    assert [sorted(named) for _, named in found] == [sorted(named) for _, named in wanted]


def test_json_in_the_page_cannot_end_its_element():
    value = {"a": "</script><!--<script>&amp;\u2028"}
    text = module._inert_json(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


def test_a_lens_that_is_not_known_any_more_keeps_its_findings_and_numbers():
    report = replace(report_of(), spec=Spec("older_lens"), findings=(Finding("It was so.", 1.0, "×", 1.0, {}),))
    page = view_html(view_of(report))
    assert "It was so." in page
    assert view_in_html(page).reports[0].digest() == report.digest()


def test_numbers_that_do_not_fit_their_lens_are_a_sentence():
    report = replace(
        report_of(), numbers={"tokens": "what", "is_text_set": 3}, arrays={"kurtosis": np.zeros((2, 1, 3))}
    )
    page = view_html(view_of(report))
    assert "This part cannot be drawn" in page
    assert figures_in(page) == []


def test_large_numbers_are_left_to_the_view_file(monkeypatch):
    assert 'id="steerscope-data"' in view_html(view_of(report_of()))
    monkeypatch.setattr(module, "MAX_DATA_BYTES", 10)
    page = view_html(view_of(report_of()))
    assert 'id="steerscope-data"' not in page
    assert "data-save=data" not in page


@pytest.mark.parametrize("text", ["", "<html></html>", HOSTILE])
def test_a_page_that_holds_no_view_is_refused(text):
    with pytest.raises(UserError, match="has one view in it; 0 were found"):
        view_in_html(text)


def test_a_damaged_view_in_a_page_is_refused():
    page = view_html(view_of(report_of()))
    with pytest.raises(UserError, match=r"cannot be read|damaged"):
        view_in_html(re.sub(r'(id="steerscope-view">.{200}).', r"\1/////", page))


def test_shades_run_from_the_lowest_to_the_highest_value():
    assert shade_of(np.array([1.0, 10.0, 100.0]), True, False) == [0, round((N_SHADES - 1) / 2), N_SHADES - 1]
    assert shade_of(np.array([-1.0, 0.0, 0.5]), False, True) == [0, round((N_SHADES - 1) / 2), 23]
    assert shade_of(np.array([np.nan, 0.0, 2.0]), True, False) == [None, None, round((N_SHADES - 1) / 2)]
    assert shade_of(np.array([np.nan]), False, False) == [None]


def test_the_strip_marks_the_pinned_token_and_says_its_ends():
    page = "".join(token_strip(Strip(("a", "<b>"), np.array([1.0, 2.0]), "heat", "×", pinned=1)))
    assert 'class="s31 pinned" title="position 1: 2 ×">&lt;b&gt;</span>' in page
    assert "heat: 1 to 2 ×" in page


def test_long_tables_and_lists_say_how_much_is_left_out():
    assert "and 5 more, in the data" in table(Table("T", ("a",), tuple((n,) for n in range(205))))
    assert "and 1 more, in the data" in sentences(Sentences("S", ("x",) * 201))


def test_equal_views_give_equal_pages():
    assert view_html(view_of(report_of())) == view_html(view_of(report_of()))


def test_a_view_without_a_text_set_or_text_is_drawn():
    report = report_of()
    assert "<blockquote>" not in view_html(ViewFile(Spec("outliers"), (report,), {}))
