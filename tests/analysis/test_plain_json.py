"""JSON of a stranger: read as it is, or refused for a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.plain_json import MAX_DEPTH, read_json

texts = st.text(st.characters(codec="utf-8"), max_size=20)
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(leaves | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(values, st.booleans())
def test_json_is_read_as_it_was_written(value, ensure_ascii):
    assert read_json(json.dumps(value, ensure_ascii=ensure_ascii)) == value


def nested(depth):
    return "[" * depth + "]" * depth


def test_nesting_is_read_to_a_depth_and_no_deeper():
    assert json.dumps(read_json(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(ValueError, match="nested too deep"):
        read_json(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (nested(100_000), "nested too deep"),
        ("[" + "[]," * 3_000_000 + "[]]", "more than 2,000,000 values"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "Infinity"),
        ("[1e999]", "infinity"),
        ('{"a": 9223372036854775808}', "beyond 64 bits"),
        ("[1" + "0" * 5_000 + "]", "digits"),
        ('["\\ud800"]', "surrogates"),
        ('{"\\udfff": 1}', "surrogates"),
        ("{", "Expecting"),
        ("", "Expecting"),
    ],
)
def test_what_could_not_be_written_again_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        read_json(text)
