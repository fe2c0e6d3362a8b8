"""Values as Python code."""

from __future__ import annotations

import datetime
import decimal
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luigi.freezing import FrozenOrderedDict

from luigi_sshjob.tasks.literals import NotPlain, literal, text_literal

TIMES = st.datetimes(timezones=st.sampled_from([None, datetime.timezone.utc]))
ATOMS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), TIMES),
    *(st.dates(), st.timedeltas(), st.decimals(allow_nan=False)),
)
SETS = st.sets(ATOMS), st.frozensets(ATOMS)
VALUES = st.recursive(
    ATOMS,
    lambda each: st.one_of(st.lists(each), st.lists(each).map(tuple), st.dictionaries(ATOMS, each), *SETS),
    max_leaves=10,
)
# of a file: it has no other characters
TEXT = st.characters(exclude_characters="\r\0", codec="utf-8")
SOURCE = st.text(alphabet=st.one_of(st.sampled_from("\\\"'\n{} "), TEXT))


def evaluated(code: str) -> object:
    return eval(code, {"datetime": datetime, "decimal": decimal})


@given(VALUES)
def test_a_literal_is_the_value(value):
    assert evaluated(literal(value)) == value
    assert type(evaluated(literal(value))) is type(value)


@given(SOURCE)
def test_a_literal_of_several_lines_is_the_text(text):
    assert evaluated(text_literal(text)) == text


def test_equal_sets_have_the_same_literal():
    # as in two processes, these are in another order
    assert list({0, 8}) != list({8, 0})
    assert literal({0, 8}) == literal({8, 0})


def test_containers_of_luigi_become_ordinary_ones_and_numbers_that_are_none_are_kept():
    assert evaluated(literal(FrozenOrderedDict({"a": FrozenOrderedDict()}))) == {"a": {}}
    assert math.isnan(evaluated(literal(math.nan)))


@pytest.mark.parametrize("value", [object(), print, [datetime], type("Text", (str,), {})("x")])
def test_other_values_are_refused(value):
    with pytest.raises(NotPlain):
        literal(value)
