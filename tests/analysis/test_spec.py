"""Spec: its link, its checks, its digest."""

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.spec import (
    DTYPES,
    MAX_CODE_CHARS,
    MAX_SPEC_BYTES,
    Spec,
    canonical_json,
    digest_json,
    from_code,
    read_spec,
    to_code,
)
from capture.errors import UserError

# Surrogates cannot be written as UTF-8, so no browser can send one.
texts = st.text(st.characters(codec="utf-8"), max_size=60)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    leaves | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
named_values = st.dictionaries(names, json_values, max_size=4)
specs = st.builds(
    Spec,
    lens=names,
    model=texts,
    text=texts,
    text_set=texts,
    bos=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    fingerprint=texts,
    options=named_values,
    interventions=st.lists(named_values, max_size=3).map(tuple),
    pins=named_values,
)
EXAMPLE = Spec("outliers", text="Once upon a time", options={"what_if": "zero"}, pins={"pos": 3})


def code_of(data: object) -> str:
    """A code that is whole and undamaged, whatever it says."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(data).encode())).decode().rstrip("=")


@given(specs)
def test_a_link_restores_the_spec_it_was_made_from(spec):
    assert from_code(to_code(spec)) == spec


@given(specs)
def test_plain_json_restores_the_spec_and_its_digest(spec):
    again = read_spec(json.loads(canonical_json(spec.to_json())))
    assert again == spec
    assert again.digest() == spec.digest()


@given(specs)
def test_a_link_has_only_characters_that_an_address_keeps(spec):
    assert set(to_code(spec)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(specs, named_values)
def test_pins_change_the_link_but_not_the_numbers(spec, pins):
    pinned = spec.with_(pins=pins)
    assert pinned.digest() == spec.digest()
    assert from_code(to_code(pinned)).pins == pins


@given(specs)
def test_another_text_has_other_numbers(spec):
    assert spec.with_(text=spec.text + "x").digest() != spec.digest()


@given(st.dictionaries(names, json_values, min_size=2))
def test_the_order_of_fields_does_not_change_a_digest(value):
    assert digest_json(dict(reversed(value.items()))) == digest_json(value)


@given(specs, st.data())
def test_a_link_cut_anywhere_is_refused_with_a_sentence(spec, data):
    code = to_code(spec)
    kept = data.draw(st.integers(0, len(code) - 2))
    with pytest.raises(UserError, match="This link cannot be read"):
        from_code(code[:kept])


@given(st.text(max_size=300))
def test_noise_is_refused_with_a_sentence(noise):
    with pytest.raises(UserError, match="This link cannot be read"):
        from_code(noise)


@given(st.binary(max_size=300))
def test_a_well_formed_code_of_noise_is_refused_with_a_sentence(noise):
    packed = base64.urlsafe_b64encode(zlib.compress(noise)).decode().rstrip("=")
    with pytest.raises(UserError, match="This link cannot be read"):
        from_code(packed)


@given(json_values)
def test_json_that_is_no_spec_is_refused_with_a_sentence(value):
    with pytest.raises(UserError, match="This link cannot be read"):
        read_spec(value)


@given(st.sampled_from(sorted(EXAMPLE.to_json())), json_values)
def test_a_field_of_any_value_is_read_or_refused_and_nothing_else(name, value):
    try:
        spec = read_spec(EXAMPLE.to_json() | {name: value})
    except UserError:
        return
    assert from_code(to_code(spec)) == spec


def test_one_changed_character_is_refused_or_reads_the_same():
    """The last character of base64 has bits that mean nothing; every other change must break the checksum."""
    code = to_code(EXAMPLE)
    for at, old in enumerate(code):
        damaged = code[:at] + ("A" if old != "A" else "B") + code[at + 1 :]
        try:
            assert from_code(damaged) == EXAMPLE
        except UserError:
            continue


def test_a_small_code_that_unpacks_to_much_is_refused():
    bomb = code_of(EXAMPLE.to_json() | {"text": "a" * (MAX_SPEC_BYTES + 1)})
    assert len(bomb) < MAX_CODE_CHARS
    with pytest.raises(UserError, match="cut short or too large"):
        from_code(bomb)


def test_deep_nesting_is_refused_rather_than_recursed_into():
    deep = base64.urlsafe_b64encode(zlib.compress(b"[" * 100_000)).decode()
    with pytest.raises(UserError, match="This link cannot be read"):
        from_code(deep)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 99}, "version 99"),
        ({"version": None}, "version None"),
        ({"colour": "red"}, "'colour'"),
        ({"text": 3}, "'text' is not text"),
        ({"lens": ""}, "names no lens"),
        ({"bos": 1}, "'bos'"),
        ({"dtype": "float16"}, "float32, bfloat16"),
        ({"options": []}, "'options'"),
        ({"pins": "here"}, "'pins'"),
        ({"interventions": ["zero"]}, "not a list of recipes"),
    ],
)
def test_a_wrong_field_is_named(change, reason):
    with pytest.raises(UserError, match=reason):
        read_spec(EXAMPLE.to_json() | change)
