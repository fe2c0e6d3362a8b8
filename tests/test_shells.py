"""The far side under each /bin/sh that hosts have, and behind each login shell that accounts have."""

from __future__ import annotations

import shlex

import processes
import pytest

from luigi_sshjob import shell
from luigi_sshjob.job import Outcome
from luigi_sshjob.request import JobRequest, Output

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}


class FarSide:
    """The agent's verbs and the supervisor, run by one shell without any ssh."""

    def __init__(self, host, argv: list[str], folder: str):
        self.host = host
        self.argv = argv
        self.base = folder

    @property
    def library(self) -> str:
        return f"{self.base}/lib/{shell.supervisor_hash()}"

    def call(self, *calls: tuple[str, ...]) -> str:
        lines = [" ".join(map(shell.word, call)) for call in calls]
        # nothing is launched by itself: the test runs the supervisor in the shell it is about
        script = f"SJ_TOKEN=token\n{shell.agent()}launch_none() {{ :; }}\n" + "".join(
            f"serve {number} {line}\n" for number, line in enumerate(lines)
        )
        answer = self.host.run(*self.argv, "-s", input=script)
        assert answer.count("\ntoken end ") == len(calls), answer
        return answer

    def submit(self, command: str, **options) -> str:
        request = JobRequest(key="Task", command=command, **options)
        files = [word for item in shell.supervisor().items() for word in item]
        answer = self.call(
            (shell.Word("install_supervisor"), self.base, shell.supervisor_hash(), *files),
            (
                *(shell.Word("job_submit"), self.base, "Task", "none", shell.supervisor_hash(), "0"),
                *(request.digests, request.spec_text(), request.command, request.environment_text()),
            ),
        )
        assert f"token part claimed 1 \n{self.base}/jobs/Task/1\n" in answer
        return f"{self.base}/jobs/Task/1"

    def supervise(self, directory: str) -> Outcome:
        self.host.run(*self.argv, f"{self.library}/supervise.sh", directory, "0022")
        answer = self.call((shell.Word("job_poll"), directory, "0"))
        assert "token part state 0 ended\n" in answer
        return Outcome.parse(answer.partition("token part state 0 ended\n")[2])

    def has_timer(self) -> bool:
        return bool(self.host.run("sh", "-c", "test -e /usr/bin/time && echo yes || true"))

    def lose_timer(self) -> None:
        """As on a host that has no time(1)."""
        self.host.run("sh", "-c", f"echo >{self.library}/timer")


@pytest.fixture(params=SHELLS)
def far_side(request, host):
    argv = SHELLS[request.param]
    if not host.run("sh", "-c", f"command -v {argv[0]} || true"):
        pytest.skip(f"there is no {argv[0]} on this host")
    folder = host.run("mktemp", "-d").strip()
    if request.param == "busybox":
        # its own grep, wc, setsid, … too: they differ more than the shells do
        host.run("sh", "-c", f"mkdir {folder}/bin && busybox --install -s {folder}/bin")
        argv = ["env", f"PATH={folder}/bin", f"{folder}/bin/sh"]
    yield FarSide(host, argv, folder)
    host.run("rm", "-rf", folder)


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


def test_what_a_shell_cannot_tell_apart_is_not_claimed(far_side):
    directory = far_side.submit("exit 143")
    far_side.lose_timer()
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code, outcome.signal) == ("failed", 143, "")
    assert outcome.reason in ("", "exit code 143 may stand for signal TERM: the shell of this host does not say")


def test_outputs_environment_and_names_are_as_given(far_side):
    name = 'a\'; echo "$(x)"\n日本'
    directory = far_side.submit(
        'printf %s "$VALUE" >"$SSHJOB_OUTPUT"',
        environment={"VALUE": name},
        outputs=(Output("SSHJOB_OUTPUT", f"{far_side.base}/{name}"),),
    )
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{far_side.base}/{name}") == name
    assert far_side.host.run("cat", f"{directory}/environment") == ""


def test_a_time_limit_ends_every_process(far_side):
    command = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 411' & env -i setsid sleep 413 & sleep 412"
    outcome = far_side.supervise(far_side.submit(command, time_limit=1, kill_grace=1))
    assert outcome.state == "timed_out"
    assert not any("sleep 41" in args for _, args in far_side.host.processes())


def test_the_state_of_a_running_and_of_a_lost_job_is_told(far_side):
    directory = far_side.submit("sleep 421")
    host = far_side.host
    start = shlex.join([*far_side.argv, f"{far_side.library}/supervise.sh", directory, "0022"])
    host.run("sh", "-c", f"setsid {start} </dev/null >/dev/null 2>&1 &")
    processes.wait_until(lambda: any("sleep 421" in args for _, args in host.processes()), "the command")
    poll = (shell.Word("job_poll"), directory, "0")
    assert "state 0 running" in far_side.call(poll)
    supervisor = [pid for pid, args in host.processes() if "supervise.sh" in args]
    host.run("kill", "-9", *map(str, supervisor))
    assert "state 0 unsupervised" in far_side.call(poll)
    # on a loopback host, killing by cancel alone is what takes the command away
    assert "unsupervised" in far_side.call((shell.Word("job_cancel"), directory, "1", "a test"))
    assert "state 0 lost" in far_side.call(poll)
    assert not any("sleep 421" in args for _, args in host.processes())


def test_an_error_does_not_end_the_agent(far_side):
    """In POSIX sh a failing redirection of a special builtin ends the shell: then there would be no answer."""
    host = far_side.host
    host.run("touch", f"{far_side.base}/file")
    answer = far_side.call(
        *((shell.Word("job_submit"), f"{far_side.base}/file/x", "k", "none", "h", "0", "d", "s", "c", "e"),),
        *((shell.Word("job_poll"), f"{far_side.base}/file", "0", f"{far_side.base}/none/1", "7"),),
        *((shell.Word("job_collect"), f"{far_side.base}/none", "me"),),
        *((shell.Word("install_supervisor"), f"{far_side.base}/file", "h", "n", "t"),),
        *((shell.Word("fs_commit"), f"{far_side.base}/none", f"{far_side.base}/x", "3"),),
        *((shell.Word("job_cancel"), f"{far_side.base}/none", "1", "me"),),
        *((shell.Word("no_such_verb"),),),
        *((shell.Word("echo_back"), "still here"),),
    )
    assert "still here" in answer
