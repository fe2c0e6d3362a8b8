"""Quoted text is unchanged for a real shell."""

from __future__ import annotations

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from luigi_sshjob.remote import quoting

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def sh(script: str) -> bytes:
    return subprocess.run(["sh", "-s"], input=quoting.encode(script), capture_output=True, check=True).stdout


@given(text)
def test_a_quoted_value_is_that_value_for_a_real_shell(value):
    assert sh(f"printf %s {quoting.quote(value)}") == quoting.encode(value)
    assert sh(quoting.one_line(f"printf %s {quoting.quote(value)}")) == quoting.encode(value)


@given(text.filter(bool))
def test_a_quoted_path_is_that_path_or_below_the_home(value):
    expected = value
    if value == "~" or value.startswith("~/"):
        expected = "/home/me" + value[1:]
    elif value.startswith("-"):
        expected = "./" + value
    if not value.startswith("~") or value[:2] in ("~", "~/"):
        assert sh(f"HOME=/home/me; printf %s {quoting.quote_path(value)}") == quoting.encode(expected)
