"""The reason that a command gives for its failure, under each common /bin/sh."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo 'no licence: 日本'", "no licence: 日本"),
        ("printf 'the first\\nthe second'", "the first"),
        ("printf 'a\\033[31m\\rb\\001c\\n'", "a[31mbc"),
        ("head -c 3000000 /dev/zero | tr '\\0' x", 1000 * "x"),
        ("true", ""),
    ],
    ids=["text", "lines", "control characters", "endless", "empty"],
)
def test_the_first_line_of_what_a_failing_command_gives_is_the_reason(far_side, command, reason):
    directory = far_side.submit(f'{{ {command}; }} >"$SSHJOB_REASON"; exit 3')
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code, outcome.reason) == ("failed", 3, reason)


@pytest.mark.parametrize(
    ("end", "state"), [("exit 0", "succeeded"), ("kill -9 $$", "killed"), ('rm "$SSHJOB_REASON"; exit 3', "failed")]
)
def test_a_command_that_did_not_fail_by_its_exit_code_has_no_reason_of_its_own(far_side, end, state):
    outcome = far_side.supervise(far_side.submit(f'echo gave up >"$SSHJOB_REASON"; {end}'))
    assert (outcome.state, outcome.reason) == (state, "")


@pytest.mark.parametrize("kind", ["mkfifo", "mkdir", "ln -s /dev/zero"])
def test_a_reason_that_is_no_file_does_not_hold_up_the_end(far_side, kind):
    outcome = far_side.supervise(far_side.submit(f'{kind} "$SSHJOB_REASON"; exit 3'))
    assert (outcome.state, outcome.exit_code, outcome.reason) == ("failed", 3, "")
