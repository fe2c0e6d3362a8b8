"""Removal of collected attempts."""

from __future__ import annotations

import dataclasses

import pytest

from luigi_sshjob import RemoteTarget
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.spec import ReturnedOutput

from support import processes


def test_removing_takes_a_collected_attempt_only(bench):
    job = bench.submit(bench.until_released()).job
    with pytest.raises(RemoteCommandFailed, match="not ended"):
        bench.client.remove(job)
    bench.release()
    bench.monitor.wait(job, lambda _: None)
    bench.client.collect(job)
    bench.client.remove(job)
    # the log and the record go together
    assert bench.host.run("ls", "-A", job.directory) == "collected\n"
    # other watchers still receive the outcome, and the number is not used again
    assert bench.client.status(job).outcome.succeeded
    assert bench.submit("true").job.attempt == 2


def test_a_published_record_and_log_outlive_their_attempt(bench, host):
    job = bench.submit("echo kept", publish=True).job
    bench.monitor.wait(job, lambda _: None)
    bench.client.collect(job)
    bench.client.remove(job)
    assert RemoteTarget(f"{bench.base}/jobs/Task/log", host.alias).open().read() == "kept\n"
    assert "succeeded" in RemoteTarget(f"{bench.base}/jobs/Task/exit_record", host.alias).open().read()
    assert not RemoteTarget(f"{job.directory}/command", host.alias).exists()


@pytest.mark.needs_docker
def test_a_record_and_log_are_published_where_no_link_to_another_directory_can_be_made(special_bench):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    sshd = int(bench.host.run("pgrep", "-x", "-o", "sshd", user="root"))
    with bench.host.strace(sshd, "linkat:error=EXDEV"):
        job = bench.submit("echo kept", publish=True).job
        assert bench.monitor.wait(job, lambda _: None).succeeded
    published = f"{bench.base}/jobs/Task"
    for name in ("log", "exit_record"):
        there, here = (bench.host.run("cat", f"{folder}/{name}") for folder in (published[2:], job.directory))
        assert (there, there != "") == (here, True)
    bench.client.collect(job)
    bench.client.remove(job)
    assert RemoteTarget(f"{published}/log", bench.host.alias).open().read() == "kept\n"
    assert bench.host.run("sh", "-c", f"cd {published} && ls -A . 1").split() == [
        *(".:", "1", "exit_record", "log", "scratch"),
        *("1:", "collected"),
    ]


@pytest.mark.parametrize("cleaned", [True, False])
def test_a_time_limit_of_an_attempt_that_was_cleaned_up_does_not_end_the_next(bench, cleaned):
    """Its watchdog lives on where its supervisor was killed, to end what that has left."""
    bench.submit("echo old; exec sleep 361", time_limit=12, kill_grace=1)
    processes.wait_until(lambda: bench.running("sleep 361") and bench.running("sleep 12"), "the command")
    old = bench.client.find("Task")
    bench.host.run("kill", "-9", bench.host.run("sed", "-n", "s/pid: //p", f"{old.directory}/identity").strip())
    if not cleaned:
        processes.wait_until(lambda: bench.client.status(old).state is State.LOST, "the end by the watchdog")
        assert not bench.running("sleep 361")
        return
    bench.host.run("kill", "-9", *(str(pid) for pid, args in bench.host.processes() if "sleep 361" in args))
    processes.wait_until(lambda: bench.client.status(old).state is State.LOST, "the loss")
    bench.client.collect(old)
    bench.listing.discard([old])
    new = bench.submit(bench.until_released()).job
    assert new == old
    bench.wait_for_file(f"{new.directory}/identity")
    processes.wait_until(lambda: not bench.running("sleep 12"), "the old time limit")
    # until then it may kill
    processes.wait_until(
        lambda: sum("supervise.sh" in args for _, args in bench.host.processes()) == 1, "the end of the old watchdog"
    )
    bench.release()
    assert bench.monitor.wait(new, lambda _: None).succeeded


def test_the_number_of_an_attempt_that_has_left_a_process_is_not_given_to_another(bench):
    """Else that one's cancellation would end it, too."""
    bench.run("setsid sleep 363 >/dev/null 2>&1 & :")
    left = [pid for pid, args in bench.host.processes() if "sleep 363" in args]
    first = bench.client.find("Task")
    bench.listing.discard([first])
    assert bench.host.run("ls", "-A", first.directory) == "collected\n"
    second = bench.submit("sleep 364").job
    bench.wait_until_running("sleep 364")
    bench.monitor.cancel(second, grace=1)
    assert (second.attempt, bench.running("sleep 363")) == (2, True)
    bench.host.run("kill", *map(str, left))
    processes.wait_until(lambda: not bench.running("sleep 363"), "its end")
    bench.listing.discard([first])
    assert bench.host.run("ls", "-A", f"{bench.folder}/jobs/Task") == "2\nscratch\n"


def test_what_a_job_has_kept_for_its_next_attempt_is_removed_with_the_last_attempt(bench):
    jobs = []
    for _ in range(2):
        jobs.append(bench.submit('touch "$SSHJOB_SCRATCH/state"; exit 1').job)
        bench.monitor.wait(jobs[-1], lambda _: None)
        bench.client.collect(jobs[-1])
    bench.listing.discard([jobs[0]])
    assert (
        bench.host.run("ls", "-A", f"{bench.folder}/jobs/Task", f"{bench.folder}/jobs/Task/scratch").count("state") == 1
    )
    bench.listing.discard([jobs[1]])
    assert bench.host.run("ls", "-A", f"{bench.folder}/jobs").split() == []


@pytest.mark.parametrize("verb", ["remove", "discard"])
def test_a_read_only_directory_of_a_job_is_removed_with_it(bench, verb):
    command = 'mkdir -p "$SSHJOB_OUTPUT/sub" && cd "$SSHJOB_OUTPUT/sub" && true >file && chmod 555 .'
    job = bench.submit(command, returned=[ReturnedOutput("SSHJOB_OUTPUT", "tree")]).job
    assert bench.monitor.wait(job, lambda _: None).succeeded
    bench.client.collect(job)
    if verb == "remove":
        bench.client.remove(job)
        assert bench.host.run("ls", "-A", job.directory) == "collected\n"
    else:
        bench.listing.discard([job])
        assert bench.host.run("ls", "-A", f"{bench.folder}/jobs").split() == []
        assert bench.host.run("find", bench.folder, "-name", "tree") == ""


@pytest.mark.needs_docker
def test_a_cleanup_that_is_cut_off_is_done_again(bench, shim):
    job = bench.submit("echo x").job
    bench.monitor.wait(job, lambda _: None)
    bench.client.collect(job)
    shim.arm(3, "before")
    bench.client._connection.close_shell()
    bench.client._connection.request("echo_back", "up")
    bench.client.remove(job)
    assert shim.reached()
    assert bench.host.run("ls", "-A", job.directory) == "collected\n"


def test_cleanup_removes_nothing_outside_of_a_job_directory(bench):
    job = bench.submit("true").job
    bench.monitor.wait(job, lambda _: None)
    bench.client.collect(job)
    bench.host.run("sh", "-c", f"mkdir keep && cp -r {job.directory}/. keep && ln -s ~/keep {job.directory[:-1]}7")
    for directory in (f"{bench.host.home}/keep", f"{job.directory[:-1]}7", job.directory + "/.."):
        with pytest.raises(RemoteCommandFailed, match="not a job directory"):
            bench.client.remove(dataclasses.replace(job, directory=directory))
    assert "exit_record" in bench.host.run("ls", "keep")
    bench.host.run("rm", "-r", "keep")
