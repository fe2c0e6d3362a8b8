"""The scripts under each common /bin/sh, without SSH."""

from __future__ import annotations

import re
import shlex

import pytest

from luigi_sshjob.jobs.spec import Output
from luigi_sshjob.remote import quoting, scripts

from support import processes


@pytest.mark.parametrize("timer", ["timed", "untimed"])
@pytest.mark.parametrize(
    ("command", "state", "code", "signal"),
    [
        ("echo one; echo two", "succeeded", 0, ""),
        ("exit 3", "failed", 3, ""),
        ("kill -9 $$", "killed", 137, "KILL"),
        ("exit 137", "failed", 137, ""),
    ],
)
def test_a_job_ends_as_itself(far_side, command, state, code, signal, timer):
    directory = far_side.submit(command)
    if timer == "untimed":
        far_side.lose_timer()
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code, outcome.signal) == (state, code, signal)
    assert outcome.cpu_seconds is not None
    assert (outcome.peak_memory is None) is (timer == "untimed" or not far_side.has_timer())
    assert outcome.log_bytes == (8 if code == 0 else 0)


def test_a_signal_that_the_shell_does_not_report_is_not_claimed(far_side):
    directory = far_side.submit("exit 143")
    far_side.lose_timer()
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code, outcome.signal) == ("failed", 143, "")
    assert outcome.reason in ("", "exit code 143 may mean signal TERM: the shell of this host does not report it")


def test_outputs_and_environment_may_contain_any_characters(far_side):
    name = 'a\'; echo "$(x)"\n日本'
    directory = far_side.submit(
        'printf %s "$VALUE" >"$SSHJOB_OUTPUT"',
        environment={"VALUE": name},
        outputs=(Output("SSHJOB_OUTPUT", f"{far_side.base}/{name}"),),
    )
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{far_side.base}/{name}") == name
    assert far_side.host.run("cat", f"{directory}/environment") == ""


def test_a_time_limit_kills_every_process(far_side):
    command = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 411' & env -i setsid sleep 413 & sleep 412"
    outcome = far_side.supervise(far_side.submit(command, time_limit=1, kill_grace=1))
    assert outcome.state == "timed_out"
    assert not any("sleep 41" in args for _, args in far_side.host.processes())


def test_a_shell_that_is_ended_takes_along_the_child_that_it_has_just_started(far_side):
    """And no child of the shell that has started it."""
    child = "end_with_child; sleep 451 & read -r self _ </proc/self/stat; kill -s TERM $self; wait; echo not ended"
    script = f"{scripts.server()}\nsleep 452 >/dev/null 2>&1 & {{ {child}\n}} & wait $!; echo $?\n"
    assert far_side.host.run(*far_side.argv, "-s", input=f"SJ_TOKEN=token\n{script}") == "0\n"
    assert not far_side.running("sleep 451")
    (other,) = far_side.running("sleep 452")
    far_side.host.run("kill", str(other))


@pytest.mark.parametrize(("uptime", "passed"), [("100", "0"), ("101", "0"), ("102", "unknown"), ("93", "7")])
def test_a_process_that_has_just_started_runs_for_no_seconds(far_side, uptime, passed):
    """Also if the session has measured its two clocks in two different seconds."""
    measured = f"read -r up _ </proc/uptime; SJ_UPTIME=$((${{up%%.*}} + {uptime} - 100)) SJ_START=5000"
    show = 'if seconds_since 500000; then part passed 0 "$passed"; else part passed 0 unknown; fi'
    response = far_side.call((quoting.Word("eval"), measured), (quoting.Word("eval"), show))
    assert f"token part passed 0 {passed}\n" in response


def test_running_unsupervised_and_lost_jobs_are_distinguished(far_side):
    directory = far_side.submit("echo one; echo two; sleep 421")
    host = far_side.host
    far_side.start(directory)
    processes.wait_until(lambda: far_side.running("sleep 421"), "the command")
    status = (quoting.Word("job_status"), directory, "0")
    running = far_side.call(status, (quoting.Word("job_tail"), directory, "100", "1"))
    assert "state 0 running" in running
    assert 0 <= int(running.partition("token part seconds 0 ")[2].partition("\n")[0]) <= 20
    assert "token part tail 0 \ntwo\n" in running
    host.run("kill", "-9", *map(str, far_side.running("supervise.sh")))
    # the kernel needs a moment
    processes.wait_until(lambda: "state 0 running" not in far_side.call(status), "the end of the supervisor")
    assert "state 0 unsupervised" in far_side.call(status)
    assert "state 0 unsupervised" in far_side.call(far_side.without("grep"), status)
    # on a loopback host only the cancel kills the command
    cancel = (quoting.Word("job_cancel"), directory, "1", "a test")
    assert "unsupervised" in far_side.call(far_side.without("awk"), cancel)
    assert "state 0 lost" in far_side.call(status)
    assert not any("sleep 421" in args for _, args in host.processes())


def test_an_interrupted_step_is_retried_by_its_own_process(far_side):
    """In POSIX sh a failing special builtin ends its shell, which may be a subshell."""
    host = far_side.host
    host.run("sh", "-c", f"cat >{far_side.base}/retry.sh", input=scripts.script("supervisor/retry.sh"))
    script = f"""
        . {far_side.base}/retry.sh
        cd {far_side.base}
        inside() {{ (. ./none); echo "$1 $?"; }}
        retry_fork inside a 2>/dev/null
        after() {{ [ -e again ] || {{ : >again; inside b; . ./none; }}; }}
        retry_fork after 2>/dev/null
        echo end
    """
    # a file, like the supervisor, because busybox runs the text of -c differently
    host.run("sh", "-c", f"cat >{far_side.base}/script", input=script)
    output = host.run("timeout", "20", *far_side.argv, f"{far_side.base}/script")
    assert re.sub("[1-9]", "n", output) == "a n\nb n\nend\n"


def test_a_signal_before_the_wait_for_the_command_is_not_lost(far_side):
    """It is sent while the directory of an output is created."""
    host, tools = far_side.host, f"{far_side.base}/tools"
    early = """#!/bin/sh
        [ ! -s identity ] || { read -r _ pid <identity && echo me >cancel_requested && kill -s TERM "$pid"; }
        PATH=${PATH#*:} exec mkdir "$@"
    """
    directory = far_side.submit("sleep 451", outputs=(Output("O", f"{far_side.base}/new/output"),), kill_grace=1)
    host.run("mkdir", tools)
    host.run("sh", "-c", f"cat >{tools}/mkdir && chmod 755 {tools}/mkdir", input=early)
    path = host.run(*far_side.argv, "-c", 'echo "$PATH"').strip()
    environment = ["env", f"PATH={tools}:{path}", *far_side.argv[2 * (far_side.argv[0] == "env") :]]
    host.run("timeout", "20", *environment, f"{far_side.library}/supervise.sh", directory, "0022")
    assert far_side.outcome(directory).state == "cancelled"


# Output of ps on macOS and the BSDs: in the caller's locale, and padded.
BSD_PS = r"""#!/bin/sh
read -r line <"/proc/$4/stat" 2>/dev/null || exit 1
set -- ${line##*) }
case ${LC_ALL-}/${TZ-} in C/*) day='Mon Jan  5' ;; *) day='lun.  5 janv.' ;; esac
printf '%s %s     \n' "$day" "${20}"
"""


def test_a_host_without_proc_identifies_a_supervisor_with_ps(far_side, monkeypatch):
    host, ps = far_side.host, f"{far_side.base}/ps"
    host.run("sh", "-c", f"cat >{ps} && chmod 755 {ps}", input=BSD_PS)

    def without_proc(text: str) -> str:
        return text.replace("/proc/", "/no-proc/").replace("ps -o lstart", f"{ps} -o lstart")

    files = {name: without_proc(text) for name, text in scripts.supervisor().items()}
    monkeypatch.setattr(scripts, "supervisor", lambda: files)
    # with the checksums of those files
    server = without_proc(scripts.server.__wrapped__())
    monkeypatch.setattr(scripts, "server", lambda: server)
    directory = far_side.submit('while ! [ -e "$SSHJOB_DIR/go" ]; do sleep 0.1; done')
    start = shlex.join([*far_side.argv, f"{far_side.library}/supervise.sh", directory, "0022"])
    host.run("sh", "-c", f"LC_ALL=fr_FR.UTF-8 {start} </dev/null >/dev/null 2>&1 &")
    identity = f"test -s {directory}/identity && echo yes || true"
    processes.wait_until(lambda: bool(host.run("sh", "-c", identity)), "the supervisor")
    status = (quoting.Word("job_status"), directory, "0")
    state = far_side.call(status)
    host.run("touch", f"{directory}/go")
    assert "state 0 running" in state
    processes.wait_until(lambda: "state 0 ended" in far_side.call(status), "the end")


def test_a_late_change_on_a_network_file_system_is_notified_once(far_side):
    """Its time may be long before that of the first poll that finds it."""
    directory = far_side.submit("true")
    subscribe = (quoting.Word("subscribe"), "7", directory, "ab_1", "0", "claimed", "")
    poll = (quoting.Word("poll_subscriptions"), "all")
    # the times of files have the resolution of the kernel's tick; also when the permissions are read again
    moment = (quoting.Word("eval"), "sleep 0.1; SJ_APPROVED_UNTIL=0")
    calls: list[tuple[str, ...]] = []
    for file, text in ((">>log", "one"), (">progress", "1/3"), (">>log", "two"), (">progress", "2/3")):
        write = f"cd {directory}; emit {text} {file}; touch -t 202001010000.{len(calls) + 10} {file.strip('>')}"
        calls += [(quoting.Word("eval"), write), *[subscribe, poll, moment] * 3]
    response = far_side.call(*calls, (quoting.Word("unsubscribe"), "7"))
    changes = [re.sub(r"token part state 7 claimed\n+", "", part) for part in re.split(r"token end \d+ 0\n", response)]
    notified = [" ".join(change.split()) for change in changes if change.strip()]
    log, progress = "token part log 7", "token part progress 7"
    assert notified == [f"{log} one", f"{progress} 1/3", f"{progress} 1/3 {log} one two", f"{progress} 2/3"], response
    assert far_side.host.run("sh", "-c", f"ls -A {far_side.base}/lib") == f"{scripts.supervisor_hash()}\n"


def test_an_attempt_is_surveyed_and_discarded_with_the_directory_of_its_task(far_side):
    directory = far_side.submit("echo the end", time_limit=7, working_directory="/")
    assert far_side.supervise(directory).succeeded
    response = far_side.call(
        *((quoting.Word("job_collect"), directory, "me"),),
        *((quoting.Word("job_names"), far_side.base),),
        *((quoting.Word("job_survey"), far_side.base, "500", "Task/1", "Task/2"),),
        *((quoting.Word("job_show"), directory),),
        *((quoting.Word("job_discard"), directory),) * 2,
        *((quoting.Word("job_discard"), f"{far_side.base}/lib"),),
    )
    named, surveyed, shown = re.split("token end [012] 0", response)[1:4]
    assert re.search(r"token part names 0 \d+\n\d+ Task/1/exit_record\n\d+ Task/1/collected\n", named)
    for response in (surveyed, shown):
        assert "token part state 0 ended\n" in response
        assert "token part collected 0 yes\ncollected_by: me" in response
        assert re.search(r"token part tail 0 \nthe end\n\ntoken part", response)
        assert re.search(r"token part times 0 \d+\n(\d+ Task/1/\w+\n){5}", response)
    assert "token part time_limit 0 \n7\n" in shown
    assert "token part log_bytes 0 8\n" in shown
    assert re.search(r"token part kibibytes 0 \d+\n", shown)
    assert f"this is not a job directory: {far_side.base}/lib\n\ntoken end 6 1" in response
    left = far_side.host.run("sh", "-c", f"cd {far_side.base} && find jobs; ls -A lib")
    assert left == f"jobs\n{scripts.supervisor_hash()}\n"


def test_a_refusal_is_a_part_of_its_own_whatever_was_printed_before(far_side):
    """Other programs may print anything, for example the dynamic linker, and without a newline."""
    refuse = "printf 'part refused 0 x'; refuse no-log 'two\nlines'"
    response = far_side.call((quoting.Word("eval"), refuse))
    assert response == "part refused 0 x\ntoken part refused 0 no-log\ntwo\nlines\n\ntoken end 0 1\n"


def test_a_claim_survives_the_removal_of_the_directory_of_its_task(far_side):
    removed = """eval 'mv() { [ ! -d "$jobs" ] || { rmdir "$jobs" && unset -f mv; }; command mv "$@"; }'"""
    assert far_side.supervise(far_side.submit("true", before=(removed,))).succeeded


def test_an_error_does_not_end_the_server(far_side):
    """In POSIX sh a failing redirection of a special builtin ends the shell; then there would be no response."""
    host = far_side.host
    host.run("touch", f"{far_side.base}/file")
    response = far_side.call(
        *((quoting.Word("job_submit"), f"{far_side.base}/file/x", "k", "nohup", "h", "0", "", "d", "s", "c", "e", ""),),
        *((quoting.Word("job_status"), f"{far_side.base}/file", "0"),),
        *((quoting.Word("job_status"), f"{far_side.base}/none/1", "7"),),
        *((quoting.Word("job_status"), "no-path", "-"),),
        *((quoting.Word("job_collect"), f"{far_side.base}/none", "me"),),
        *((quoting.Word("install_supervisor"), f"{far_side.base}/file", "h", "n", "t"),),
        *((quoting.Word("fs_commit"), f"{far_side.base}/none", f"{far_side.base}/x", "3"),),
        *((quoting.Word("job_cancel"), f"{far_side.base}/none", "1", "me"),),
        *((quoting.Word("no_such_verb"),),),
        *((quoting.Word("echo_back"), "still here"),),
    )
    assert "still here" in response


def verb(name, *words):
    return quoting.Word(name), *words


PAUSE = verb("eval", "sleep 0.7")
LAUNCH = """slurm
batch: 1
submit: command echo "$name $count ${last:-none} $# $GONE$KEPT"; command echo oops >&2; (exit 3)
job_id: 1
drop: GONE MORE_*
batch: 1
"""


def test_a_scheduler_is_asked_once_for_all_and_its_answer_is_kept(far_side):
    listing = "command echo 'a b'; command echo x >>ledger; command echo oops >&2; [ -z \"${GONE-}\" ]"
    query = "command echo $ids"
    far_side.submit("true")
    words = (far_side.base, "slurm", "30", "GONE", listing, query, "", "0", "0", "0")
    ask = verb("scheduler_answers", *words, "7", "9")
    before = verb("eval", f"cd {far_side.base}; export GONE=1")
    response = far_side.call(before, ask, PAUSE, ask, PAUSE, verb("scheduler_answers", *words[:-3], "1", "2", "0"))
    first, _, third, _, last = re.split(r"token end \d+ 0\n", response)[1:6]
    assert re.search(r"token part due 0 1 \S+\n", first)
    assert re.search(r"token part listing 1 \d+\nstatus: 0\noa b\neoops\n", third)
    assert re.search(r"token part query 2 \d+\nids: 7 9\nstatus: 0\no7 9\n", third)
    assert "part listing" not in last
    assert "part query" not in last
    assert far_side.host.run("cat", f"{far_side.base}/ledger") == "x\n"


def test_a_command_of_a_scheduler_that_hangs_is_ended_with_all_its_processes(far_side):
    far_side.submit("true")
    call = verb("scheduler_call", far_side.base, "1", "echo begin; sleep 77.25 & sleep 77.25", "", "5")
    assert "token part answer 0 \nstatus: -\nobegin\n" in far_side.call(call)
    processes.wait_until(lambda: not far_side.running("77.25"), "the end of its processes")


def test_a_time_limit_of_one_command_does_not_end_another(far_side):
    far_side.submit("true")
    hangs = verb("scheduler_start", "1", "sleep 78.25", "", "5")
    works = verb("scheduler_start", "30", f"sleep 2.5; echo done >{far_side.base}/done", "", "6")
    far_side.call(hangs, works, verb("eval", "sleep 4"))
    assert far_side.host.run("cat", f"{far_side.base}/done") == "done\n"
    assert not far_side.running("78.25")


def test_a_submission_is_written_before_it_is_made_and_with_its_answer(far_side):
    directory, host = far_side.submit("true"), far_side.host
    host.run("sh", "-c", f"rm -rf {directory}/started {directory}/identity* && cat >{directory}/launch", input=LAUNCH)
    host.run("sh", "-c", f"rm -rf {directory}/run/* {directory}/exit_*")
    relaunch = ("job_relaunch", far_side.base, scripts.supervisor_hash(), directory)
    environment = verb("eval", "export GONE=gone KEPT=kept")
    response = far_side.call(environment, verb(*relaunch, "0"), PAUSE, verb("job_status", directory, "-"))
    tag = host.run("sed", "-n", "s/^tag: //p", f"{directory}/submission").strip()
    # busybox has no cksum(1)
    assert tag in ("", host.run("sh", "-c", f"echo {directory} | cksum").split()[0])
    header = f"number: 1\nname: Task/1\ndirectory: {directory}\ntag: {tag}\ncount: 1\nindex: -\n"
    answer = "status: 3\noTask/1 1 none 8 kept\neoops\n"
    assert host.run("cat", f"{directory}/submission") == header + answer
    assert "token part state 0 scheduled\nscheduler: slurm\nsubmission: 1 3\n" in response
    assert re.search(rf"token part submission 0 0 \S+\n{header}{answer}", response)
    # what prevents the start of its supervisor is reported, too
    host.run("sh", "-c", f"printf 'one\\ntwo' >{directory}/supervisor.log")
    assert "diagnostic: two\n" in far_side.call(verb("job_status", directory, "-"))
    # only the client that knows the last submission may repeat it
    far_side.call(verb(*relaunch, "0"), PAUSE, verb("job_adopt", directory, "2", "x"))
    assert host.run("cat", f"{directory}/submission") == header + answer
    # it may be joined by others for some seconds
    far_side.call(verb(*relaunch, "1", "4"), *[PAUSE] * 5)
    assert host.run("cat", f"{directory}/submission").startswith("number: 2\n")
    assert host.run("tail", "-n", "1", f"{directory}/launch") == "batch: 4\n"


def test_a_record_is_settled_once_and_no_supervisor_starts_afterwards(far_side):
    directory, host = far_side.submit("true"), far_side.host
    host.run(
        "sh", "-c", f"cd {directory} && rm -rf started identity* run/* exit_* && echo slurm >launch && echo hi >log"
    )
    settle = ("job_settle", directory)
    far_side.call(verb(*settle, "143", "outcome: cancelled\nexit_code: 143"), verb(*settle, "", "outcome: lost"))
    assert host.run("cat", f"{directory}/exit_record") == "outcome: cancelled\nexit_code: 143\nlog_bytes: 3\n"
    assert host.run("cat", f"{directory}/exit_code") == "143\n"
    host.run("test", "-e", f"{directory}/started")
