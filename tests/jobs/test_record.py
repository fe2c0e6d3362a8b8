"""The exit record is written whatever happens to the disk and to the job directory, see exit_record.sh."""

from __future__ import annotations

import pytest

from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.spec import Output

from support import processes

SMALL = "/small"


@pytest.fixture
def small(special_bench):
    """A host whose base directory is on a disk of 2 MB and 200 inodes."""
    bench = special_bench(tmpfs={SMALL: "size=2m,nr_inodes=200,uid=1000,mode=700"})
    bench.base = f"{SMALL}/jobs"
    return bench


@pytest.mark.needs_docker
def test_a_job_that_takes_the_last_inode_gets_its_record(small):
    outcome, _ = small.run(f"cd {SMALL}; i=0; while true >file$i; do i=$((i + 1)); done; exit 4")
    assert (outcome.state, outcome.exit_code) == ("failed", 4)
    assert small.host.run("sh", "-c", f"cd {small.base}/jobs/Task/1 && cat exit_code").split() == ["4"]


@pytest.mark.needs_docker
def test_another_writer_cannot_take_the_space_of_the_record(small):
    small.submit(small.until_released("exit 9"))
    small.wait_until_running("/command")
    writer = f"while ! [ -e {small.go} ]; do cat /dev/zero >>{SMALL}/filling; done; cat /dev/zero >>{SMALL}/filling"
    small.host.run("sh", "-c", f"setsid sh -c '{writer}; sleep 401' >/dev/null 2>&1 &")
    processes.wait_until(lambda: not free_bytes(small), "a full disk")
    small.release()
    outcome = small.monitor.wait(small.client.find("Task"), lambda _: None)
    assert (outcome.state, outcome.exit_code) == ("failed", 9)


def free_bytes(bench) -> int:
    return int(bench.host.run("stat", "-f", "-c", "%a", SMALL))


@pytest.mark.needs_docker
def test_no_command_runs_without_space_for_its_record(small, ledger):
    command = f"echo run >>{ledger}"
    job = small.submit(command).job
    assert small.monitor.wait(job, lambda _: None).succeeded
    # as if no supervisor had started yet
    small.host.run("sh", "-c", f"cd {job.directory} && rm -r started identity* exit_record exit_code run")
    # a page is left, for the identity
    small.host.run("sh", "-c", f"cat /dev/zero >{SMALL}/filling; truncate -s -4096 {SMALL}/filling")
    small.client.perform(job, Action(Act.LAUNCH))
    processes.wait_until(lambda: small.client.status(job).reason != "", "the reason")
    status = small.client.status(job)
    assert status.state is State.CLAIMED
    assert "no exit record could be written" in status.reason
    assert "No space left on device" in status.reason
    assert small.host.run("cat", ledger) == "run\n"
    small.host.run("rm", f"{SMALL}/filling")
    small.client.perform(job, Action(Act.LAUNCH))
    assert small.monitor.wait(job, lambda _: None).succeeded
    assert small.host.run("cat", ledger) == "run\nrun\n"


@pytest.mark.needs_docker
def test_a_record_is_written_when_there_is_space_again_after_minutes(special_bench):
    """Not at once: the supervisor has begun to retry slowly, and does not give up."""
    bench = special_bench(cap_add=["SYS_PTRACE"])
    job = bench.submit(bench.until_released("exit 5")).job
    bench.wait_until_running("supervise.sh")
    with bench.host.strace(bench.supervisor(), "write:error=EDQUOT"):
        bench.release()
        processes.wait_until(lambda: bench.running("sleep 30"), "a slow retry", 240)
        assert bench.client.status(job).state is State.RUNNING
    bench.host.run("pkill", "-x", "sleep")
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.exit_code) == ("failed", 5)


def test_a_deleted_log_and_spec_do_not_turn_a_success_into_a_loss(bench):
    made = f"{bench.folder}/made"
    command = f'echo one; {bench.until_released("echo two")}; echo x >"$SSHJOB_OUTPUT"'
    job = bench.submit(command, outputs=(Output("SSHJOB_OUTPUT", f"~/{made}"),), publish=True).job
    bench.wait_until_running("/command")
    processes.wait_until(lambda: bench.client.status(job, 0).log == b"one\n", "the first line")
    bench.host.run("rm", *(f"{job.directory}/{name}" for name in ("log", "spec")))
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded
    assert bench.host.run("cat", f"{job.directory}/log", f"{job.directory}/../log", made) == "one\ntwo\n" * 2 + "x\n"


@pytest.mark.needs_docker
def test_a_log_that_is_deleted_while_the_record_is_put_in_place_does_not_delay_it(bench):
    """As by the removal of all files when the task is complete, which is a moment before."""
    job = bench.submit(f"echo one; {bench.until_released()}", publish=True).job
    bench.wait_until_running("/command")
    # nothing can be linked there
    bench.host.run("chmod", "500", f"{job.directory}/..")
    bench.release()
    written = ("grep", "-c", "^outcome: succeeded", f"{job.directory}/run/exit_record")
    processes.wait_until(lambda: bench.host.run(*written, check=False) == "1\n", "the record")
    bench.host.run("rm", f"{job.directory}/log")
    bench.host.run("chmod", "700", f"{job.directory}/..")
    processes.wait_until(lambda: bench.client.status(job).state is State.ENDED, "the end")
    assert bench.monitor.wait(job, lambda _: None).log_bytes == 4
    assert bench.host.run("cat", f"{job.directory}/log", f"{job.directory}/../log") == "one\n" * 2


def test_a_directory_in_the_place_of_the_record_is_moved_aside(bench):
    job = bench.submit(bench.until_released("exit 6")).job
    bench.wait_until_running("/command")
    bench.host.run("mkdir", f"{job.directory}/exit_record", f"{job.directory}/exit_code")
    assert bench.client.status(job).state is State.RUNNING
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).exit_code == 6


@pytest.mark.needs_docker
def test_a_job_directory_without_permissions_is_unknown_until_the_record_is_written(bench):
    command = bench.until_released("exit 7")
    job = bench.submit(command).job
    bench.wait_until_running("/command")
    bench.host.run("chmod", "000", job.directory)
    status = bench.client.status(job)
    assert (status.state, status.reason) == (
        State.UNKNOWN,
        f"no permission to search the directory {job.directory}",
    )
    with pytest.raises(RemoteCommandFailed, match="no permission to search the directory"):
        bench.submit(command)
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).exit_code == 7


@pytest.mark.needs_docker
def test_a_deleted_log_that_does_not_fit_any_more_delays_no_record(small):
    job = small.submit(f"head -c 1200000 /dev/zero; {small.until_released()}", publish=True).job
    small.wait_until_running("/command")
    processes.wait_until(lambda: free_bytes(small) < 250, "the log")
    small.host.run("rm", f"{job.directory}/log")
    small.release()
    assert small.monitor.wait(job, lambda _: None).succeeded
    assert "this log was deleted" in small.host.run("cat", f"{job.directory}/../log")
