"""Full, broken and slow disks of the host."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from luigi_sshjob.errors import JobError, RemoteCommandFailed
from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.retry import Retry

from support import processes

SMALL = "/small"


@pytest.fixture
def small(special_bench):
    """A host whose base directory is on a disk of 2 MB."""
    bench = special_bench(tmpfs={SMALL: "size=2m,uid=1000,mode=700"}, cap_add=["SYS_ADMIN"])
    bench.base = f"{SMALL}/jobs"
    return bench


class Disk:
    """An ext4 file system in a local file that can be made to behave like a broken disk."""

    def __init__(self, folder):
        self.path = folder / "disk"
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(16 << 20)
        self.path.mkdir()
        for argv in (["mkfs.ext4", "-q", "-F", "-m", "0", image], ["mount", "-o", "loop", image, self.path]):
            subprocess.run(argv, check=True, capture_output=True)
        os.chown(self.path, 1000, 1000)

    def abort(self) -> None:
        """Make it read-only, also for open files, as ext4 does after an error of the disk."""
        subprocess.run(["mount", "-o", "remount,abort", self.path], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.path], check=True)


@pytest.fixture
def broken_disk(tmp_path):
    try:
        disk = Disk(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield disk
    disk.unmount()


def fill(bench) -> None:
    bench.host.run("sh", "-c", f"cat /dev/zero >{SMALL}/filling", check=False)


@pytest.mark.needs_docker
def test_a_full_disk_at_submit_is_an_error_that_says_so_and_leaves_nothing(small):
    # to its end, which makes room
    small.run("true")
    fill(small)
    small.key = "Second"
    with pytest.raises(RemoteCommandFailed, match=r"No space left on device[\s\S]*Next: .*nothing was submitted"):
        small.submit("true " + "x" * 100_000)
    small.host.run("rm", f"{SMALL}/filling")
    assert small.host.run("ls", "-A", f"{small.base}/jobs/Second").split() in ([], ["scratch"], ["1", "scratch"])
    assert small.run("echo room")[1] == b"room\n"


@pytest.mark.needs_docker
def test_a_disk_that_fills_up_while_the_job_runs_still_gets_its_record(small):
    outcome, _ = small.run(f"cat /dev/zero >{SMALL}/filling || exit 9")
    assert (outcome.state, outcome.exit_code) == ("failed", 9)


@pytest.mark.needs_docker
def test_a_limit_that_is_reached_on_a_full_disk_is_the_reason(small):
    command = f"echo begun; cat /dev/zero >{SMALL}/filling; sleep 314"
    outcome, _ = small.run(command, limits=Limits(idle=2), kill_grace=1)
    assert (outcome.state, "(idle_limit)" in outcome.reason) == ("timed_out", True)


@pytest.mark.needs_docker
def test_a_log_that_fills_the_disk_is_shortened_and_keeps_its_last_lines(small):
    command = "yes 'a line' | head -c 3000000; echo end of lines; sleep 12"
    outcome, _ = small.run(command, limits=Limits(log=100_000, log_action="truncate"), time_limit=60)
    assert outcome.succeeded
    kept = small.host.run("cat", f"{small.base}/jobs/Task/1/log").splitlines()
    assert kept[0].endswith("their last lines follow")
    assert "a line" in kept


@pytest.mark.needs_docker
def test_a_disk_that_goes_read_only_is_reported_while_the_supervisor_waits_for_it(broken_disk, special_bench):
    bench = special_bench(volumes={str(broken_disk.path): {"bind": SMALL}})
    bench.base = f"{SMALL}/jobs"
    job = bench.submit(bench.until_released()).job
    bench.wait_until_running("/command")
    broken_disk.abort()
    bench.release()
    # the messages of an aborted ext4; which one depends on what the kernel still has in memory
    reasons = "(Read-only file system|Bad message|Structure needs cleaning)"
    broken = f"(can be written|cannot create|cannot move).*: {reasons}"
    impatient = JobMonitor(bench.client, Retry(2), poll_interval=0.2, start_timeout=10)
    with pytest.raises(JobError, match=f"it has been unknown for .*the command has ended, .*{broken}"):
        impatient.wait(job, lambda _: None)
    bench.key = "Second"
    with pytest.raises(
        RemoteCommandFailed, match=rf"({broken}|cannot install .*: {reasons})[\s\S]*nothing was submitted"
    ):
        bench.submit("true")


@pytest.mark.needs_docker
def test_a_used_up_quota_makes_a_record_as_soon_as_there_is_room_and_no_success_before(special_bench):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    job = bench.submit(bench.until_released("exit 5")).job
    bench.wait_until_running("supervise.sh")
    with bench.host.strace(bench.supervisor(), "write:error=EDQUOT"):
        bench.release()
        bench.wait_until_running("sleep 0.1")
        processes.wait_until(lambda: not bench.running("/command"), "the end of the command")
        time.sleep(2)
        assert bench.client.status(job).state is State.RUNNING
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.exit_code) == ("failed", 5)


@pytest.mark.needs_docker
def test_a_slow_directory_makes_a_slow_job_and_nothing_else(special_bench, ledger):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    sshd = int(bench.host.run("pgrep", "-x", "-o", "sshd", user="root"))
    with bench.host.strace(sshd, "%file:delay_enter=20000"):
        outcome, seen = bench.run(f"echo run >>{ledger}; cat {ledger}")
    assert (outcome.state, seen) == ("succeeded", b"run\n")


@pytest.mark.alone
@pytest.mark.needs_docker
def test_a_supervisor_that_never_starts_is_reported_with_the_reason(small):
    job = small.submit("true").job
    small.monitor.wait(job, lambda _: None)
    small.host.run("sh", "-c", f"cd {job.directory} && rm -r started identity* exit_record exit_code")
    fill(small)
    impatient = JobMonitor(small.client, Retry(60), poll_interval=0.2, start_timeout=0.3, launches=15)
    with pytest.raises(JobError, match=r"claimed for \d+ s: .*No space left on device[\s\S]*Next: "):
        impatient.wait(job, lambda _: None)
