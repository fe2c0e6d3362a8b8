"""The process that keeps the time limit, in each shell."""

from __future__ import annotations

from support import processes


def test_the_process_that_keeps_a_time_limit_ends_with_a_job_that_is_faster_than_its_start(far_side):
    """Its signal may arrive before it has a trap; here it is ignored until then."""
    directory = far_side.submit("true", time_limit=3597)
    script = f"{far_side.library}/supervise.sh"
    far_side.host.run("sed", "-i", "s/^keep_deadline() {/&\\ntrap '' TERM\\nsleep 1/", script)
    assert "trap '' TERM\nsleep 1\n" in far_side.host.run("cat", script)
    far_side.host.run(*far_side.argv, script, directory, "0022")
    processes.wait_until(lambda: not far_side.running("supervise.sh"), "the end of the process", 10)
    assert not far_side.running("sleep 3597")
    assert far_side.outcome(directory).succeeded
