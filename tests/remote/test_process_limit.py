"""Jobs while their account may start no process, under each common /bin/sh."""

from __future__ import annotations

import pytest

from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.jobs.spec import Output
from luigi_sshjob.remote import quoting

from support import processes
from support.far_side import FarSide


class ProcessLimit:
    """A process limit for the supervisor and its watchdog only."""

    def __init__(self, far_side: FarSide):
        self.far_side, self.host = far_side, far_side.host
        if not self.host.run("sh", "-c", "command -v prlimit || true"):
            pytest.skip("the host has no prlimit")
        if self.host.run("id", "-u").strip() == "0":
            pytest.skip("root has no process limit")
        self.before = self.host.run("prlimit", "--nproc", "--output=SOFT", "--noheadings", "--raw").strip()

    def __enter__(self) -> None:
        self.pids = self.far_side.running("supervise.sh")
        assert self.pids
        self.set("0")

    def __exit__(self, *_) -> None:
        self.set(self.before)

    def set(self, limit: str) -> None:
        each = "; ".join(f"prlimit --pid {pid} --nproc={limit}: || [ ! -e /proc/{pid} ] || exit" for pid in self.pids)
        self.host.run("sh", "-c", each)


@pytest.mark.parametrize("end", ["end", "time limit", "idle limit"])
def test_a_full_process_table_delays_the_end_of_a_job_and_loses_nothing(far_side, end):
    host, made = far_side.host, f"{far_side.base}/made"
    command = f"mkdir {made}; cd {far_side.base}; : >$SSHJOB_OUTPUT; while ! [ -e go ]; do sleep 0.1; done; sleep 431"
    options = {"outputs": (Output("SSHJOB_OUTPUT", f"{made}/output"),), "kill_grace": 1}
    command = command.replace("; sleep 431", "" if end == "end" else "; sleep 431")
    limit = ProcessLimit(far_side)
    if end == "idle limit" and far_side.argv[0] in ("bash", "mksh"):
        pytest.skip("this shell retries on its own, then gives up")
    options |= {"time limit": {"time_limit": 3}, "idle limit": {"limits": Limits(idle=3)}}.get(end, {})
    directory = far_side.submit(command, **options)
    far_side.start(directory)
    processes.wait_until(lambda: far_side.running("/command") and far_side.running("sleep"), "the command")
    with limit:
        if end == "end":
            host.run("touch", f"{far_side.base}/go")
            processes.wait_until(lambda: not far_side.running("/command"), "the end of the command")
        else:
            over = f"test -e {directory}/run/deadline && echo yes || true"
            processes.wait_until(lambda: host.run("sh", "-c", over), "the time limit")
        assert not host.run("sh", "-c", f"ls {directory}/exit_record 2>/dev/null || true")
    outcome = far_side.outcome(directory)
    assert outcome.state == ("succeeded" if end == "end" else "timed_out")
    assert host.run("ls", "-A", made) == ("output\n" if end == "end" else "")
    assert not far_side.running("/command")


def test_a_job_that_fills_the_process_table_can_be_cancelled(far_side):
    """Processes cannot be listed then, but the group of the command can be signalled."""
    if far_side.argv[0] in ("bash", "mksh"):
        pytest.skip("this shell retries on its own, then gives up")
    command = "trap '' TERM; while :; do sleep 441; done"
    limit = ProcessLimit(far_side)
    directory = far_side.submit(command, kill_grace=1)
    far_side.start(directory)
    processes.wait_until(lambda: far_side.running("sleep 441"), "the command")
    with limit:
        far_side.call((quoting.Word("job_cancel"), directory, "1", "a test"))
        processes.wait_until(lambda: not far_side.running("/command"), "the end of the command")
    assert far_side.outcome(directory).state == "cancelled"
    assert not far_side.running("sleep 441")
