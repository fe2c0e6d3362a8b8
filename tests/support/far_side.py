"""The scripts of the host, run by one shell without SSH."""

from __future__ import annotations

import shlex

from luigi_sshjob.jobs.inputs import entry_words
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.remote import quoting, scripts

from support import processes

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}


class FarSide:
    """Runs verbs of the server, and the supervisor, with one shell."""

    def __init__(self, host, argv: list[str], folder: str):
        self.host = host
        self.argv = argv
        self.base = folder

    @property
    def library(self) -> str:
        return f"{self.base}/lib/{scripts.supervisor_hash()}"

    def call(self, *calls: tuple[str, ...]) -> str:
        lines = [" ".join(map(quoting.word, call)) for call in calls]
        # the test starts the supervisor, in the shell under test
        script = f"SJ_TOKEN=token\n{scripts.server()}launch_nohup() {{ :; }}\nlaunch_many() {{ :; }}\n" + "".join(
            f"serve {number} {line}\n" for number, line in enumerate(lines)
        )
        response = self.host.run(*self.argv, "-s", input=script)
        assert response.count("\ntoken end ") == len(calls), response
        return response

    def submit(self, command: str, before: tuple[str, ...] = ("true",), number=1, key="Task", **options) -> str:
        request = JobSpec(key=key, command=command, **options)
        files = [word for item in scripts.supervisor().items() for word in item]
        response = self.call(
            tuple(map(quoting.Word, before)),
            (quoting.Word("install_supervisor"), self.base, scripts.supervisor_hash(), *files),
            (
                *(quoting.Word("job_submit"), self.base, key, "nohup", scripts.supervisor_hash()),
                *(str(number - 1), ""),
                *(request.digests, request.spec_text(), request.command, request.environment_text()),
                request.setup.lines or "\n" if request.setup else "",
                *entry_words(request.inputs, request.project),
            ),
        )
        assert f"token part claimed {number} \n{self.base}/jobs/{key}/{number}\n" in response
        return f"{self.base}/jobs/{key}/{number}"

    def supervise(self, directory: str) -> Outcome:
        self.host.run(*self.argv, f"{self.library}/supervise.sh", directory, "0022")
        return self.outcome(directory)

    def start(self, directory: str, *environment: str) -> None:
        """Start the supervisor in the background."""
        start = shlex.join(["env", *environment, *self.argv, f"{self.library}/supervise.sh", directory, "0022"])
        self.host.run("sh", "-c", f"setsid {start} </dev/null >/dev/null 2>&1 &")

    def running(self, text: str) -> list[int]:
        return [pid for pid, args in self.host.processes() if text in args]

    def outcome(self, directory: str) -> Outcome:
        """Wait until no supervisor runs, and return the outcome."""
        processes.wait_until(lambda: not self.running("supervise.sh"), "the end of the supervisor", 40)
        response = self.call((quoting.Word("job_status"), directory, "0"))
        assert "token part state 0 ended\n" in response
        return Outcome.parse(response.partition("token part state 0 ended\n")[2])

    def without(self, program: str) -> tuple[str, ...]:
        """Return a call after which the program fails once, as if it were killed for lack of memory."""
        self.host.run("touch", f"{self.base}/once")
        once = f"if rm {self.base}/once 2>/dev/null; then return 137; fi"
        return quoting.Word("eval"), f'{program}() {{ {once}; command {program} "$@"; }}'

    def has_timer(self) -> bool:
        return bool(self.host.run("sh", "-c", "test -e /usr/bin/time && echo yes || true"))

    def lose_timer(self) -> None:
        """Remove time(1) from the view of the supervisor."""
        self.host.run("sh", "-c", f"echo >{self.library}/timer")
