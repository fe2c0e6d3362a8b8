"""The scripts of the remote side, run by one shell without SSH."""

from __future__ import annotations

import shlex

from luigi_sshjob.jobs.model import Outcome
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.remote import quoting, scripts

from support import processes

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}


class FarSide:
    """The agent's verbs and the supervisor, run by one shell without any ssh."""

    def __init__(self, host, argv: list[str], folder: str):
        self.host = host
        self.argv = argv
        self.base = folder

    @property
    def library(self) -> str:
        return f"{self.base}/lib/{scripts.supervisor_hash()}"

    def call(self, *calls: tuple[str, ...]) -> str:
        lines = [" ".join(map(quoting.word, call)) for call in calls]
        # nothing is launched by itself: the test runs the supervisor in the shell it is about
        script = f"SJ_TOKEN=token\n{scripts.server()}launch_nohup() {{ :; }}\n" + "".join(
            f"serve {number} {line}\n" for number, line in enumerate(lines)
        )
        answer = self.host.run(*self.argv, "-s", input=script)
        assert answer.count("\ntoken end ") == len(calls), answer
        return answer

    def submit(self, command: str, before: tuple[str, ...] = ("true",), **options) -> str:
        request = JobSpec(key="Task", command=command, **options)
        files = [word for item in scripts.supervisor().items() for word in item]
        answer = self.call(
            tuple(map(quoting.Word, before)),
            (quoting.Word("install_supervisor"), self.base, scripts.supervisor_hash(), *files),
            (
                *(quoting.Word("job_submit"), self.base, "Task", "nohup", scripts.supervisor_hash(), "0"),
                *(request.digests, request.spec_text(), request.command, request.environment_text()),
            ),
        )
        assert f"token part claimed 1 \n{self.base}/jobs/Task/1\n" in answer
        return f"{self.base}/jobs/Task/1"

    def supervise(self, directory: str) -> Outcome:
        self.host.run(*self.argv, f"{self.library}/supervise.sh", directory, "0022")
        return self.outcome(directory)

    def start(self, directory: str) -> None:
        """The supervisor, without waiting for it."""
        start = shlex.join([*self.argv, f"{self.library}/supervise.sh", directory, "0022"])
        self.host.run("sh", "-c", f"setsid {start} </dev/null >/dev/null 2>&1 &")

    def running(self, text: str) -> list[int]:
        return [pid for pid, args in self.host.processes() if text in args]

    def outcome(self, directory: str) -> Outcome:
        """How it ended, as soon as no supervisor runs any more."""
        processes.wait_until(lambda: not self.running("supervise.sh"), "the end of the supervisor", 40)
        answer = self.call((quoting.Word("job_status"), directory, "0"))
        assert "token part state 0 ended\n" in answer
        return Outcome.parse(answer.partition("token part state 0 ended\n")[2])

    def without(self, program: str) -> tuple[str, ...]:
        """A call after which the program fails once, as one that is killed for want of memory does."""
        self.host.run("touch", f"{self.base}/once")
        once = f"if rm {self.base}/once 2>/dev/null; then return 137; fi"
        return quoting.Word("eval"), f'{program}() {{ {once}; command {program} "$@"; }}'

    def has_timer(self) -> bool:
        return bool(self.host.run("sh", "-c", "test -e /usr/bin/time && echo yes || true"))

    def lose_timer(self) -> None:
        """As on a host that has no time(1)."""
        self.host.run("sh", "-c", f"echo >{self.library}/timer")
