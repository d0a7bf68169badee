"""Option: a value is read as what was declared, or refused with what is allowed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.option import Option, read_options
from capture.errors import UserError

CHOICE = Option("what_if", "What if", "What to put there.", "leave", choices=("leave", "zero", "mean"))
SWITCH = Option("rotated", "Rotated", "After a Hadamard rotation.", False)
COUNT = Option("n_dims", "Dimensions", "How many to list.", 8, minimum=1.0, maximum=64.0, step=1.0)
SHARE = Option("share", "Share", "Of the entries.", 0.5, minimum=0.0, maximum=1.0, step=0.05)
FREE = Option("strength", "Strength", "Multiple of the vector.", 1.0)
N_FREE = Option("n", "Number", "Any whole number.", 3)
TEXT = Option("left", "Left", "A link.", "")
OPTIONS = (CHOICE, SWITCH, COUNT, SHARE, FREE)
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.integers(), max_size=1)
)


def read_or_refused(option: Option, given_value: object):
    """The value read, or the UserError; anything else is raised."""
    try:
        return option.read(given_value)
    except UserError as error:
        return error


@given(st.sampled_from((*OPTIONS, N_FREE, TEXT)), anything)
def test_anything_is_read_as_the_declared_kind_or_refused_with_a_hint(option, given_value):
    read = read_or_refused(option, given_value)
    if isinstance(read, UserError):
        assert option.label in read.message
        assert str(option.default) in read.hint
    else:
        assert type(read) is type(option.default)
        assert option.read(read) == read


@given(st.sampled_from(OPTIONS), anything)
def test_a_value_that_was_read_is_finite_and_inside_its_range(option, given_value):
    read = read_or_refused(option, given_value)
    if not isinstance(read, UserError):
        json.dumps(read, allow_nan=False)
        assert not option.choices or read in option.choices
        assert option.minimum is None or option.minimum <= read <= option.maximum


@given(st.integers(1, 64))
def test_a_count_reads_the_same_as_number_and_as_text(count):
    assert COUNT.read(count) == COUNT.read(str(count)) == COUNT.read(float(count)) == count


@given(st.floats(0, 1))
def test_a_share_reads_the_same_as_number_and_as_text(share):
    assert SHARE.read(share) == SHARE.read(repr(share)) == share


@pytest.mark.parametrize(("text", "value"), [("true", True), ("yes", True), ("false", False), ("no", False)])
def test_a_switch_reads_words(text, value):
    assert SWITCH.read(text) is value


@pytest.mark.parametrize("option", OPTIONS)
def test_the_default_is_allowed(option):
    assert option.read(option.default) == option.default


def test_given_options_replace_defaults_and_the_rest_stays():
    read = read_options(OPTIONS, {"n_dims": "3", "rotated": "yes"})
    assert read == {"what_if": "leave", "rotated": True, "n_dims": 3, "share": 0.5, "strength": 1.0}


@given(st.text(max_size=12).filter(lambda name: name not in {option.name for option in OPTIONS}))
def test_an_unknown_option_is_refused_with_the_known_ones(name):
    with pytest.raises(UserError, match="what_if, rotated, n_dims, share, strength"):
        read_options(OPTIONS, {name: 1})


@pytest.mark.parametrize("option", [FREE, N_FREE, SHARE])
@pytest.mark.parametrize("given_value", ["inf", "-inf", "nan", "1e999", float("inf"), 10**400, "9" * 400, "0x10", ""])
def test_what_is_no_finite_number_is_refused_in_few_words(option, given_value):
    with pytest.raises(UserError, match="must be a") as refused:
        option.read(given_value)
    assert len(refused.value.message) < 150


def test_a_text_that_is_too_long_is_refused_in_few_words():
    with pytest.raises(UserError, match="at most 64,000 characters") as refused:
        TEXT.read("a" * 64_001)
    assert len(refused.value.message) < 150
