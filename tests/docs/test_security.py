"""docs/security.rst: each claim names tests that exist."""

from __future__ import annotations

import re

from support.doc_examples import ROOT, text

_ROW = re.compile(r"^   \* - (?P<claim>.+?)^     - (?P<tests>.+?)(?=^   \* - |^\S|\Z)", re.MULTILINE | re.DOTALL)


def test_each_claim_of_the_security_page_names_existing_tests():
    rows = [
        (row["claim"], row["tests"]) for row in _ROW.finditer(text("security.rst")) if row["claim"].strip() != "claim"
    ]
    assert len(rows) > 30
    known = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    for claim, tests in rows:
        named = set(re.findall(r"``(test_\w+)``", tests))
        assert named, claim
        assert named <= known, f"{claim}: {named - known}"
