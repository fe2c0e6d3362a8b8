"""The process that keeps the limits of a job, in each shell."""

from __future__ import annotations

import time

import pytest

from luigi_sshjob.jobs.launchers.base import LaunchSpec
from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.remote import quoting

from support import processes

# it handles the signal, while the shells around it do not
SAVES = """sh -c 'trap "echo saved; exit 0" USR1; echo ready; while :; do sleep 0.1; done'"""


def test_the_process_that_keeps_a_time_limit_ends_with_a_job_that_is_faster_than_its_start(far_side):
    """Its signal may arrive before it has a trap; here it is ignored until then."""
    directory = far_side.submit("true", time_limit=3597)
    script = f"{far_side.library}/supervise.sh"
    far_side.host.run("sed", "-i", "s/^keep_limits() {/&\\ntrap '' TERM\\nsleep 1/", script)
    assert "trap '' TERM\nsleep 1\n" in far_side.host.run("cat", script)
    far_side.host.run(*far_side.argv, script, directory, "0022")
    processes.wait_until(lambda: not far_side.running("supervise.sh"), "the end of the process", 10)
    assert not far_side.running("sleep 3597")
    assert far_side.outcome(directory).succeeded


def test_a_job_that_neither_writes_nor_makes_progress_is_ended(far_side):
    outcome = far_side.supervise(far_side.submit("echo begun; sleep 311", limits=Limits(idle=2), kill_grace=1))
    assert (outcome.state, outcome.signal) == ("timed_out", "TERM")
    assert outcome.reason.startswith("neither its log nor its progress changed for 2 s (idle_limit)")
    assert not far_side.running("sleep 311")


def test_time_in_which_a_job_and_its_supervisor_are_stopped_is_not_idle(far_side):
    directory = far_side.submit("while :; do echo busy; sleep 1; done", limits=Limits(idle=4), kill_grace=1)
    far_side.start(directory)
    processes.wait_until(lambda: "busy" in far_side.host.run("cat", f"{directory}/log"), "the command")
    stopped = [str(pid) for pid in (*far_side.running("supervise.sh"), *far_side.running("/command"))]
    far_side.host.run("kill", "-STOP", *stopped)
    time.sleep(7)
    far_side.host.run("kill", "-CONT", *stopped)
    time.sleep(2)
    assert far_side.running("/command")
    far_side.call((quoting.Word("job_cancel"), directory, "1", "a test"))
    assert far_side.outcome(directory).state == "cancelled"


@pytest.mark.parametrize("written", ["echo busy", 'echo 50 >"$SSHJOB_PROGRESS"'], ids=["log", "progress"])
def test_a_job_that_writes_from_time_to_time_is_not_idle(far_side, written):
    command = f"for turn in 1 2 3 4 5 6; do sleep 1; {written}; done"
    assert far_side.supervise(far_side.submit(command, limits=Limits(idle=4))).succeeded


def test_a_clock_that_is_set_back_makes_no_job_idle(far_side):
    """Then what was written later looks older."""
    command = 'for turn in 1 2 3 4 5 6; do sleep 1; touch -t 203001010000 "$SSHJOB_DIR/run/active"; echo busy; done'
    assert far_side.supervise(far_side.submit(command, limits=Limits(idle=3))).succeeded


def test_a_job_whose_log_was_deleted_is_not_taken_for_idle(far_side):
    command = 'rm "$SSHJOB_LOG"; for turn in 1 2 3 4 5; do sleep 1; echo busy; done'
    assert far_side.supervise(far_side.submit(command, limits=Limits(idle=3))).succeeded


def test_a_log_that_grows_too_large_ends_its_job(far_side):
    command = "while :; do echo 'a line of a loop that does not end'; done"
    directory = far_side.submit(command, limits=Limits(log=20_000), kill_grace=1)
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.reason.partition(";")[0]) == ("failed", "its log was larger than 20 kB (log_limit)")


def test_a_log_may_be_shortened_while_its_job_goes_on(far_side):
    # in one piece, as what is written during the shortening may be lost
    command = """cd "$SSHJOB_SCRATCH"; i=0
while [ $i -lt 3000 ]; do i=$((i + 1)); echo "line $i of a long log"; done >lines
dd if=lines bs=1000000 2>/dev/null
until [ -n "$(sed -n '1{/removed here/p;}' "$SSHJOB_LOG")" ]; do sleep 0.1; done; sleep 1; echo last"""
    directory = far_side.submit(command, limits=Limits(log=30_000, log_action="truncate"))
    outcome = far_side.supervise(directory)
    assert outcome.succeeded
    lines = far_side.host.run("cat", f"{directory}/log").splitlines()
    assert lines[0].startswith("luigi_sshjob: about ")
    assert "of log were removed here, as log_limit is 30 kB" in lines[0]
    assert lines[-2:] == ["line 3000 of a long log", "last"]
    assert sum(map(len, lines)) < 16_000
    assert all(line.startswith("line ") for line in lines[1:-1])


def test_only_those_that_handle_the_warning_get_it(far_side):
    command = f"{SAVES}\necho went on"
    limits = Limits(warning_signal="USR1", warning=297)
    directory = far_side.submit(command, time_limit=300, limits=limits)
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code) == ("succeeded", 0)
    assert far_side.host.run("cat", f"{directory}/log") == "ready\nsaved\nwent on\n"


def test_a_job_that_ignores_the_warning_reaches_its_limit(far_side):
    limits = Limits(warning_signal="USR1", warning=2)
    outcome = far_side.supervise(far_side.submit("exec sleep 312", time_limit=3, limits=limits, kill_grace=1))
    assert (outcome.state, outcome.signal) == ("timed_out", "TERM")
    assert outcome.reason.startswith("it ran longer than 3 s (time_limit)")


def test_a_shutdown_of_the_host_comes_with_the_warning(far_side):
    directory = far_side.submit(SAVES, time_limit=300, limits=Limits(warning_signal="USR1", warning=60))
    start_and_terminate(far_side, directory)
    outcome = far_side.outcome(directory)
    assert far_side.host.run("cat", f"{directory}/log") == "ready\nsaved\n"
    assert outcome.succeeded


def test_a_person_who_cancels_during_the_warning_does_not_wait_for_it(far_side):
    limits = Limits(warning_signal="USR1", warning=60)
    directory = far_side.submit(f"trap 'exit 1' TERM; {SAVES.replace('exit 0', ':')}", limits=limits, kill_grace=50)
    start_and_terminate(far_side, directory)
    processes.wait_until(lambda: "saved" in far_side.host.run("cat", f"{directory}/log"), "the warning")
    far_side.call((quoting.Word("job_cancel"), directory, "50", "a test"))
    assert far_side.outcome(directory).state == "cancelled"


def test_a_job_that_saves_its_state_when_its_scheduler_ends_it_is_left_to_that(far_side):
    """It may be started again, and then continues."""
    launch = LaunchSpec(lines=("x",), requeue=True, term_waits=True)
    limits = Limits(warning_signal="USR1", warning=5)
    directory = far_side.submit(SAVES.replace("exit 0", "exit 1"), limits=limits, launch=launch)
    far_side.host.run("sh", "-c", f"echo htcondor >{directory}/launch")
    start_and_terminate(far_side, directory, "SSHJOB_SCHEDULER_ID=7")
    processes.wait_until(lambda: not far_side.running("supervise.sh"), "the end of the supervisor")
    assert far_side.host.run("cat", f"{directory}/log") == "ready\nsaved\n"
    files = far_side.host.run("ls", directory).split()
    assert ("unsettled_record" in files, "exit_record" in files) == (True, False)


def start_and_terminate(far_side, directory, *environment):
    far_side.start(directory, *environment)
    processes.wait_until(lambda: "ready" in far_side.host.run("cat", f"{directory}/log"), "the command")
    signal_supervisor(far_side, directory, "TERM")


def signal_supervisor(far_side, directory, signal):
    identity = dict(line.split(": ") for line in far_side.host.run("cat", f"{directory}/identity").splitlines())
    far_side.host.run("kill", f"-{signal}", identity["pid"])


def test_a_limit_holds_without_a_supervisor(far_side):
    directory = far_side.submit("echo begun; sleep 313", limits=Limits(idle=3), kill_grace=1)
    far_side.start(directory)
    processes.wait_until(lambda: far_side.running("sleep 313"), "the command")
    signal_supervisor(far_side, directory, "KILL")
    processes.wait_until(lambda: not far_side.running("supervise.sh"), "the end of the job", 20)
    assert not far_side.running("sleep 313")


def test_what_a_command_keeps_is_there_for_the_next_attempt_and_gone_after_a_success(far_side):
    """A directory without permissions is removed, too."""
    command = 'ls "$SSHJOB_SCRATCH"; cd "$SSHJOB_SCRATCH"; [ -d done ] && exit 0; mkdir -m 0 done; exit 1'
    first = far_side.submit(command)
    assert far_side.supervise(first).exit_code == 1
    far_side.call(("job_collect", first, "test"))
    kept = far_side.host.run("ls", f"{far_side.base}/jobs/Task/scratch")
    assert kept == "done\n"
    second = far_side.submit(command, number=2)
    assert far_side.supervise(second).succeeded
    assert far_side.host.run("cat", f"{second}/log") == "done\n"
    assert "scratch" not in far_side.host.run("ls", f"{far_side.base}/jobs/Task").split()
    assert "scratch" not in far_side.host.run("ls", f"{second}/run").split()


@pytest.mark.parametrize(
    "put",
    ["rmdir scratch; ln -s nowhere scratch", "rmdir scratch; echo x >scratch", "mkdir scratch/a; chmod 0 scratch"],
)
def test_whatever_a_command_leaves_in_the_place_of_what_it_keeps_is_gone_after_a_success(far_side, put):
    first = far_side.submit(f"cd $SSHJOB_DIR/..; {put}; exit 1")
    assert far_side.supervise(first).exit_code == 1
    far_side.call(("job_collect", first, "test"))
    second = far_side.submit("true", number=2)
    assert far_side.supervise(second).succeeded
    left = far_side.host.run("find", f"{far_side.base}/jobs/Task", "-path", "*/Task/scratch*", "!", "-type", "d")
    assert (left, far_side.host.run("sh", "-c", f"ls -A {far_side.base}/jobs/Task/scratch 2>/dev/null || true")) == (
        "",
        "",
    )
    far_side.call(("job_collect", second, "test"))
    assert far_side.supervise(far_side.submit('cd "$SSHJOB_SCRATCH"', number=3)).succeeded


def test_an_attempt_that_was_given_up_takes_nothing_from_the_next_one(far_side):
    first = far_side.submit('echo 1 >"$SSHJOB_SCRATCH/state"; mkdir "$SSHJOB_DIR/../2"')
    assert far_side.supervise(first).succeeded
    assert far_side.host.run("cat", f"{far_side.base}/jobs/Task/scratch/state") == "1\n"
