"""How long a scheduler let a job wait, in each shell."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(("age", "known"), [(90, True), (-90, False)], ids=["ago", "clock set back"])
def test_the_time_in_a_queue_is_measured_by_the_file_system_or_unknown(far_side, age, known):
    directory = far_side.submit("true")
    far_side.host.run("sh", "-c", f'touch -d "@$(($(date +%s) - {age}))" {directory}/spec')
    supervise = [*far_side.argv, f"{far_side.library}/supervise.sh", directory, "0022"]
    far_side.host.run("env", "SSHJOB_SCHEDULER_ID=7", *supervise)
    outcome = far_side.outcome(directory)
    assert outcome.succeeded
    assert (90 <= outcome.queue_seconds < 120) if known else outcome.queue_seconds is None
