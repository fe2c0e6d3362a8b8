"""Lines of a job's log in Luigi's log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from luigi_sshjob.tasks.log_lines import LogLines


def stream(pieces: list[bytes], limit: int = 100) -> list[str]:
    lines: list[str] = []
    log = LogLines(lines.append, limit, "see there", clock=lambda: 0)
    for piece in pieces:
        log.feed(piece)
    log.finish()
    return lines


@given(st.binary(), st.integers(1, 7))
def test_a_log_cut_anywhere_gives_the_same_lines(data, size):
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert stream(pieces, 1000) == stream([data], 1000)


def test_log_lines_are_shown_as_a_person_would_see_them():
    assert stream([b"10%\r20%\r100%\nd\xc3", b"\xa9j\xff\nno newline"]) == [
        "100%",
        "déj\N{REPLACEMENT CHARACTER}",
        "no newline",
    ]


def test_the_number_of_log_lines_is_limited():
    lines: list[str] = []
    now = 0.0
    log = LogLines(lines.append, 10, "see there", clock=lambda: now)
    log.feed(b"x\n" * 8)
    log.feed(b"y\n" * 1000)
    log.feed(b"z\n" * 1000)
    assert lines == ["x"] * 8 + ["(998 lines left out here; see there)"] + ["y"] * 2
    now = 60.0
    log.feed(b"next minute\n")
    assert lines[11:] == ["(1000 lines left out here; see there)", "next minute"]
    log.feed(b"z\n" * 1000)
    log.finish()
    assert len(lines) == 13 + 10
    assert lines[13] == "(991 lines left out here; see there)"
