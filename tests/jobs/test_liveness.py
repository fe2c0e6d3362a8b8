"""Whether an attempt lives, see remote/server/liveness.sh: never called dead, or launched again, without a proof."""

from __future__ import annotations

import re

import pytest

from luigi_sshjob.errors import JobError, RemoteCommandFailed
from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.remote import quoting
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.jobs import Bench
from support.settings import configure

SHARED = "/shared"
# to mount over files of /proc
MOUNTS = {"cap_add": ["SYS_ADMIN"], "security_opt": ["apparmor=unconfined"]}


@pytest.fixture
def shared(special_bench, pytestconfig, tmp_path):
    """Returns a function that starts a machine of the name `gpu`, whose base directory all of them share."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    ssh_config = tmp_path / "ssh_config"

    def start(**options) -> Bench:
        bench = special_bench(hostname="gpu", volumes={str(folder): {"bind": SHARED}}, **options)
        bench.base, bench.go = f"{SHARED}/jobs", f"{SHARED}/go"
        with ssh_config.open("a") as file:
            file.write(bench.host.ssh_config.read_text())
        configure(ssh_config=ssh_config)
        return bench

    return start


def fake(bench, path: str, text: str) -> None:
    """Let the host read another text from a file of /proc."""
    name = f"/root/fake-{path.rpartition('/')[2]}"
    bench.host.run("sh", "-c", f"cat >{name} && mount --bind {name} {path}", user="root", input=text)


def watch_for_a_moment(bench, job) -> set[str]:
    """Returns the files that the session of the watch needs as long as it lasts."""

    def stop(status) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        bench.monitor.wait(job, stop)
    return set(bench.host.run("find", f"{bench.base}/lib", "-name", ".look.*").split())


def kill_supervisor(bench) -> None:
    bench.host.run("kill", "-9", str(bench.supervisor()))
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the supervisor")


# rule 1: the same machine


@pytest.mark.needs_docker
def test_a_renamed_host_is_still_the_same_machine(special_bench):
    bench = special_bench(**MOUNTS)
    job = bench.submit(bench.until_released()).job
    bench.wait_until_running("/command")
    bench.host.run("hostname", "other", user="root")
    close_shells()
    assert bench.client.status(job).state is State.RUNNING
    kill_supervisor(bench)
    assert bench.client.status(job).state is State.UNSUPERVISED
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).state == "lost"


@pytest.mark.needs_docker
def test_a_proc_remounted_with_hidepid_does_not_hide_that_a_job_runs(special_bench):
    bench = special_bench(**MOUNTS)
    job = bench.submit(bench.until_released()).job
    bench.wait_until_running("/command")
    for option in ("2", "0"):
        bench.host.run("mount", "-o", f"remount,hidepid={option}", "/proc", user="root")
        close_shells()
        assert bench.client.status(job).state is State.RUNNING
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded


@pytest.mark.needs_docker
def test_a_machine_that_has_restarted_is_known_by_its_hardware(special_bench):
    bench = special_bench(**MOUNTS)
    job = bench.submit(bench.until_released()).job
    bench.wait_until_running("/command")
    bench.host.restart()
    # a container keeps the kernel, its uptime and the boot id
    fake(bench, "/proc/sys/kernel/random/boot_id", "33333333-3333-3333-3333-333333333333\n")
    fake(bench, "/proc/uptime", "10.00 10.00\n")
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.reason) == ("lost", "the host was restarted while the job was running")


@pytest.mark.needs_docker
def test_a_boot_of_another_machine_is_no_restart(special_bench):
    """As of a clone, which has the same machine id and host name."""
    bench = special_bench(**MOUNTS)
    job = bench.submit(bench.until_released()).job
    bench.wait_until_running("/command")
    fake(bench, "/proc/sys/kernel/random/boot_id", "33333333-3333-3333-3333-333333333333\n")
    close_shells()
    # not a restart: that machine did not boot later
    assert bench.client.status(job).state is State.ELSEWHERE
    fake(bench, "/proc/uptime", "10.00 10.00\n")
    bench.host.run("sed", "-i", r"s/^hardware: \(\S*\) \S* /hardware: \1 another /", f"{job.directory}/identity")
    close_shells()
    assert bench.client.status(job).state is State.ELSEWHERE
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded


@pytest.mark.needs_docker
def test_containers_of_one_kernel_are_two_even_if_their_first_process_is_hidden(bench):
    job = bench.submit(bench.until_released()).job
    bench.wait_until_running("/command")
    hidden, another = r"s/^\(boot: .*\)\..*/\1.-/", r"s/^\(hardware: \S*\) \S* /\1 another /"
    for edit, state in ((hidden, State.RUNNING), (another, State.ELSEWHERE)):
        bench.host.run("sed", "-i", edit, f"{job.directory}/identity")
        assert bench.client.status(job).state is state
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded


@pytest.mark.needs_docker
def test_no_retry_follows_one_that_ran_on_another_machine_where_nobody_can_look(shared):
    """It may have left processes there."""
    first, second = shared(), shared()
    job = first.submit("(sleep 462; sleep 462) & sleep 0.2; kill -9 $$").job
    second.monitor.wait(job, lambda _: None)
    assert "on another machine" in second.client.collect_for_retry(job, 1)
    assert first.client.collect_for_retry(job, 1) == ""
    assert not first.running("sleep 462")


@pytest.mark.needs_docker
def test_two_machines_of_one_name_that_share_a_directory_are_two(shared):
    first, second = shared(), shared()
    job = first.submit(first.until_released()).job
    first.wait_until_running("/command")
    looks = watch_for_a_moment(first, job)
    status = second.client.status(job)
    assert status.state is State.ELSEWHERE
    assert "another machine, or in another container, of the name gpu" in status.reason
    assert second.submit(second.until_released()).attached
    # what the session of the other machine uses is left to it
    assert looks
    assert looks <= set(second.host.run("find", f"{second.base}/lib", "-name", ".look.*").split())
    with pytest.raises(JobError, match=r"cannot be cancelled from this host.*of the name gpu") as refused:
        second.monitor.cancel(job, 0)
    assert "forget --lost" in refused.value.next_step
    first.release()
    assert second.monitor.wait(job, lambda _: None).succeeded


@pytest.mark.needs_docker
def test_a_container_recreated_on_its_volume_is_another_machine(shared):
    first = shared()
    job = first.submit(first.until_released()).job
    first.wait_until_running("/command")
    first.host.stop()
    second = shared()
    impatient = JobMonitor(second.client, Retry(2), poll_interval=0.2, start_timeout=10)
    with pytest.raises(JobError, match=r"it has been elsewhere for [\s\S]*forget --lost"):
        impatient.wait(job, lambda _: None)
    second.client.give_up(job, second.client.status(job))
    outcome = second.client.status(job).outcome
    assert outcome.state == "lost"
    assert re.search(r"given up by .*; it was elsewhere: it was started on another machine", outcome.reason)
    second.client.collect(job)
    second.release()
    assert second.run(second.until_released())[0].succeeded


# rule 2: dead

HIDING = {
    "another environment": "exec env -i /bin/sh -c '{wait}'",
    "another session": "setsid sh -c '{wait}' & wait",
    "no disguise": "sh -c '{wait}'; true",
}


def hide(bench, how: str) -> str:
    return HIDING[how].format(wait=bench.until_released())


@pytest.mark.parametrize("how", [*HIDING, "a base directory behind a link"])
def test_a_job_is_not_dead_while_its_command_runs_however_it_hides(bench, how):
    command = hide(bench, how if how in HIDING else "no disguise")
    if how not in HIDING:
        bench.host.run("sh", "-c", f"mkdir {bench.folder} && ln -s {bench.folder} {bench.folder}-link")
        bench.base = f"{bench.base}-link/below"
    job = bench.submit(command).job
    bench.wait_until_running(bench.go)
    if how not in HIDING:
        # the identity names the command
        bench.host.run("sh", "-c", f"sed -i '/^command/d' {job.directory}/identity*")
    bench.host.run("kill", "-9", str(bench.supervisor()))
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the supervisor")
    try:
        assert bench.client.status(job).state is State.UNSUPERVISED
        assert bench.submit(command).attached
        outcome = bench.monitor.cancel(job, 5)
        assert outcome.state == "lost"
        assert not bench.running(bench.go)
    finally:
        bench.host.run("rm", "-f", f"{bench.folder}-link")


def test_a_command_is_found_by_its_session_when_no_process_with_the_mark_is_left(bench):
    job = bench.submit(hide(bench, "another environment")).job
    bench.wait_until_running(bench.go)
    # time(1) has the mark, too
    own = [pid for pid, args in bench.host.processes() if f"{bench.folder}/" in args]
    bench.host.run("kill", "-9", *map(str, own))
    processes.wait_until(lambda: not bench.running(f"{bench.folder}/"), "the end of the supervisor")
    assert bench.client.status(job).state is State.UNSUPERVISED
    assert bench.monitor.cancel(job, 5).state == "lost"
    assert not bench.running(bench.go)


# rule 3: never launched over the living


@pytest.mark.parametrize(
    "deleted",
    [
        "started",
        "identity*",
        "started identity*",
        "spec",
        "digests",
        "spec started identity* digests",
        "started identity* run",
        "run",
        "log",
    ],
)
@pytest.mark.parametrize("how", ["no disguise", "another environment"])
def test_no_deleted_file_makes_a_running_job_run_twice(bench, ledger, deleted, how):
    command = f"echo run >>{ledger}; {hide(bench, how)}"
    job = bench.submit(command).job
    bench.wait_until_running(bench.go)
    bench.host.run("sh", "-c", f"cd {job.directory} && rm -r {deleted}")
    try:
        assert bench.submit(command).attached
    except RemoteCommandFailed as error:
        assert "an earlier attempt is still running" in error.problem  # noqa: PT017 - either is right
        assert deleted == "spec started identity* digests"
    bench.client.perform(job, Action(Act.LAUNCH))
    close_shells()
    bench.client.perform(job, Action(Act.LAUNCH))
    processes.wait_until(lambda: bench.client.status(job).state is State.RUNNING, "a truthful state")
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded
    assert bench.host.run("cat", ledger) == "run\n"


@pytest.mark.parametrize("deleted", ["started exit_record", "started identity*"])
def test_a_supervisor_that_starts_late_runs_nothing_whatever_was_deleted(bench, ledger, deleted):
    job = bench.submit(f"echo run >>{ledger}").job
    assert bench.monitor.wait(job, lambda _: None).succeeded
    late = "/bin/sh ../../../lib/*/supervise.sh $PWD 022 || true"
    bench.host.run("sh", "-c", f"cd {job.directory} && rm {deleted} && {late}")
    assert bench.host.run("cat", ledger) == "run\n"


def test_no_next_attempt_starts_while_an_earlier_one_lives(bench):
    first = bench.submit(bench.until_released()).job
    bench.wait_until_running("/command")
    kill_supervisor(bench)
    # as if it had been taken for lost
    bench.client.collect(first)
    for _ in range(2):
        with pytest.raises(RemoteCommandFailed, match=f"an earlier attempt is still running: {first.directory}"):
            bench.submit("true")
    bench.monitor.cancel(first, 5)
    assert bench.run("true")[0].succeeded


def test_a_job_whose_directory_was_deleted_can_still_be_ended(bench):
    job = bench.submit(hide(bench, "another environment")).job
    bench.wait_until_running(bench.go)
    bench.host.run("rm", "-rf", f"{bench.folder}/jobs/Task")
    assert bench.client.find("Task", 1) == job
    assert bench.monitor.cancel(job, 5).state == "cancelled"
    assert not bench.running(bench.go)


def test_a_dead_job_whose_files_were_deleted_is_not_launched_again(bench, ledger):
    """It may run on another machine."""
    command = f"echo run >>{ledger}; {hide(bench, 'no disguise')}"
    job = bench.submit(command).job
    bench.wait_until_running(bench.go)
    bench.host.run("sh", "-c", f"cd {job.directory} && rm started identity*")
    everything = [pid for pid, args in bench.host.processes() if bench.folder in args or bench.go in args]
    bench.host.run("kill", "-9", *map(str, everything))
    close_shells()
    assert bench.submit(command).attached
    bench.client.perform(job, Action(Act.LAUNCH))
    processes.wait_until(lambda: bench.client.status(job).state is State.ELSEWHERE, "the end of the last process")
    assert bench.host.run("cat", ledger) == "run\n"
    bench.client.give_up(job, bench.client.status(job))


def test_the_watchdog_of_a_dead_supervisor_is_not_taken_for_it(bench):
    job = bench.submit("sleep 611", time_limit=300).job
    bench.wait_until_running("sleep 611")
    bench.host.run("sh", "-c", f"rm {job.directory}/identity*; kill -9 {bench.supervisor()}")
    processes.wait_until(lambda: bench.client.status(job).state is State.UNSUPERVISED, "the end of the supervisor")
    assert bench.monitor.cancel(job, 0).state == "cancelled"
    assert not bench.running("sleep 611")
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the watchdog")


def test_the_number_of_a_given_up_attempt_is_not_given_to_another(bench):
    first = bench.submit(bench.until_released("exit 3")).job
    bench.wait_until_running("/command")
    bench.host.run("sed", "-i", "s/^boot: .*/boot: another.1/", f"{first.directory}/identity")
    bench.client.give_up(first, bench.client.status(first))
    bench.client.collect(first)
    bench.listing.discard([first])
    second = bench.submit(bench.until_released("exit 4")).job
    assert second.attempt == 2
    bench.release()
    assert bench.monitor.wait(second, lambda _: None).exit_code == 4
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the first one")
    assert bench.client.status(second).outcome.exit_code == 4


def test_a_cancel_ends_a_job_that_seems_not_to_have_started(bench):
    job = bench.submit(hide(bench, "no disguise")).job
    bench.wait_until_running(bench.go)
    bench.host.run("sh", "-c", f"cd {job.directory} && rm -r started identity* run")
    outcome = bench.monitor.cancel(job, 5)
    assert "before it was started" not in outcome.reason
    assert not bench.running(bench.go)


OWN = {"boot": "b1.5000", "booted": "100", "hardware": "id box ,mac"}
MACHINES = {
    "the same": ({}, "same"),
    "renamed, and with another network card": ({"hardware": "id box ,other"}, "same"),
    "the start of process 1 is hidden": ({"boot": "b1.-"}, "same"),
    "another version of this package": ({"boot": "b1.5000", "booted": "", "hardware": ""}, "same"),
    "hidden, another container": ({"boot": "b1.-", "hardware": "id crate ,mac"}, "other"),
    "hidden, another machine id": ({"boot": "b1.-", "hardware": "no box ,mac"}, "other"),
    "a container before its restart": ({"boot": "b1.900"}, "restarted"),
    "a container that was started later": ({"boot": "b1.90000"}, "other"),
    "another container of the kernel": ({"boot": "b1.900", "hardware": "id crate ,mac"}, "other"),
    "an older boot": ({"boot": "b0.5000", "booted": "50"}, "restarted"),
    "another boot at the same time": ({"boot": "b0.5000", "booted": "99"}, "other"),
    "a later boot": ({"boot": "b0.5000", "booted": "200"}, "other"),
    "an older boot of other hardware": ({"boot": "b0.5000", "booted": "50", "hardware": "id box ,other"}, "other"),
    "an older boot of a machine id alone": ({"boot": "b0.5000", "booted": "50", "own": "id - -"}, "other"),
    "a process namespace before this one": ({"boot": "b1.900", "own": "id - ,mac"}, "other"),
    "an older boot without containers": ({"boot": "b0.5000", "booted": "50", "own": "id - ,mac"}, "restarted"),
    "an older boot of another version": ({"boot": "b0.5000", "booted": "", "hardware": ""}, "other"),
}


@pytest.mark.parametrize("case", MACHINES)
def test_two_machines_are_told_apart_by_boot_and_hardware_alone(far_side, case):
    values, relation = MACHINES[case]
    own = values.get("own", OWN["hardware"])
    recorded = {**OWN, "hardware": own, **values}
    setting = f"boot={OWN['boot']} boot_time={OWN['booted']} hardware='{own}' machine=here job_machine=there"
    setting += "".join(f" job_{name}='{value}'" for name, value in recorded.items() if name != "own")
    response = far_side.call((quoting.Word("eval"), f'{setting}; compare_machines; emit "=$relation"'))
    assert f"={relation}\n" in response
