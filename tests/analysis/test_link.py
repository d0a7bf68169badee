"""A link in any of its spellings gives the view that it was made of."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.link import Link, link_of, read_link
from analysis.spec import MAX_CODE_CHARS, Spec, to_code
from capture.errors import UserError

texts = st.text(st.characters(codec="utf-8"), max_size=40)
specs = st.builds(Spec, lens=texts.filter(bool), text=texts, pins=st.dictionaries(texts, st.integers(0, 9), max_size=2))
ids = st.text("0123456789abcdef", min_size=20, max_size=20)
links = st.builds(Link, specs) | st.builds(Link, st.none(), ids) | st.builds(Link, specs, ids)
bases = st.sampled_from(["http://127.0.0.1:8501", "https://a.example/b/outliers?view=old#x", "http://[::1]/?id=1", "/"])
A, B = "a" * 20, "b" * 20


@given(links, bases)
def test_an_address_gives_its_link_again(link, base):
    address = link.address(base)
    assert read_link(address) == link
    assert urlsplit(address)[:2] == urlsplit(base)[:2]


@given(links)
def test_query_parameters_give_their_link_again(link):
    assert link_of(link.query()) == link


@given(specs, ids)
def test_a_code_alone_and_an_id_alone_are_links(spec, identity):
    assert read_link(f" {to_code(spec)}\n") == Link(spec)
    assert read_link(identity) == Link(id=identity)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is cut short"),
        ("?", "neither view= nor id="),
        ("http://a/?page=1", "neither view= nor id="),
        ("?id=../../etc/passwd", "20 hex digits"),
        (f"?id={A.upper()}", "20 hex digits"),
        (f"?id={A}0", "20 hex digits"),
        (f"id={A}&id={B}&view=x", "cannot be read"),
        ("http://[?view=x", "is no address"),
        ("javascript:alert(1)", "it is damaged"),
        ("x" * (2 * MAX_CODE_CHARS + 1), "at most"),
        ("http://\u2100" + "a" * 50_000 + "/?view=x", "is no address"),
    ],
)
def test_what_is_no_link_is_refused_with_a_short_sentence(text, words):
    with pytest.raises(UserError, match=words) as refused:
        read_link(text)
    assert len(refused.value.message) < 300
    assert refused.value.hint


def test_of_several_ids_the_first_counts():
    assert read_link(f"?id={A}&id={B}") == Link(id=A)
