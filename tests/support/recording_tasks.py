"""Tasks that record what Luigi does with them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import luigi

from luigi_sshjob import RemoteJobTask


def note(task: luigi.Task, what: str) -> None:
    """Append a line about the task; from any process."""
    with Path(task.notes).open("a") as notes:
        notes.write(f"{task.number} {what}\n")


def noted(path: Path) -> dict[int, list[str]]:
    """Return the lines by task number."""
    found: dict[int, list[str]] = {}
    for line in path.read_text().splitlines():
        number, _, what = line.partition(" ")
        found.setdefault(int(number), []).append(what)
    return found


class Noted(RemoteJobTask):
    """A job that writes a line to a ledger on the host when it starts and one when it ends."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    notes = luigi.Parameter(significant=False)
    number = luigi.IntParameter()
    script = luigi.Parameter(default="true")

    def command(self):
        return f"cd {self.folder}; echo + {self.number} >>ledger; {self.script}; s=$?; echo - >>ledger; exit $s"

    def on_success(self):
        note(self, "on_success")

    def on_failure(self, exception):
        note(self, f"on_failure: {type(exception).__name__}")
        return super().on_failure(exception)


class Limited(Noted):
    # enough for the job to start
    worker_timeout = 5


class Retried(Noted):
    retry_count = 2
    tracking_url = "http://example.invalid/{key}/{attempt}"


class Licensed(Noted):
    resources = {"licence": 1}


class Generous(Noted):
    """Releases one of its two resources when it starts."""

    resources = {"licence": 2}

    def command(self):
        self.decrease_running_resources({"licence": 1})
        return super().command()


class Tracked(Noted):
    def command(self):
        self.set_tracking_url(f"http://example.invalid/{self.number}")
        return super().command()


class Incomplete(Noted):
    def complete(self):
        return False


class Batched(RemoteJobTask):
    """Batched by number: the highest runs for all."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    number = luigi.IntParameter(batch_method=max)

    def command(self):
        return f"""
            cd {self.folder} && echo {self.number} >>ledger
            i=0; while [ $i -lt {self.number} ]; do touch made-$i; i=$((i + 1)); done
            touch "$SSHJOB_OUTPUT"
        """

    def output(self):
        return self.remote_target(f"{self.folder}/made-{self.number}")


class Lingering(Noted):
    """Its START handler takes three seconds."""


@Lingering.event_handler(luigi.Event.START)
def _linger(task):
    note(task, "lingers")
    time.sleep(3)


class Secretive(Noted):
    """Has a password function, which cannot be passed to another process."""

    on_worker_exit = "cancel"

    @property
    def ssh_options(self):
        return {"transport": "paramiko", "password": lambda question: "unused"}


class Clumsy:
    """A task context whose exit fails."""

    def __init__(self, process):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        raise OSError("it broke")


class Dying(Noted):
    """Its process exits without notice."""

    def run(self):
        os._exit(7)


class Dynamic(Noted):
    """Has dynamic dependencies."""

    def run(self):
        first = yield Noted(self.host, self.folder, self.notes, self.number + 1)
        yield [Noted(self.host, self.folder, self.notes, self.number + n) for n in (2, 3)]
        note(self, f"process {os.getpid()}, {first['exit_record'].exists()}")
        super().run()


class Local(luigi.Task):
    """A local task that runs for some seconds."""

    notes = luigi.Parameter(significant=False)
    number = luigi.IntParameter()
    seconds = luigi.FloatParameter(default=1.0)
    waits_for = luigi.OptionalPathParameter(default=None, exists=False)

    def run(self):
        note(self, "+")
        while self.waits_for and not self.waits_for.exists():
            time.sleep(0.1)
        time.sleep(self.seconds)
        note(self, "-")

    def complete(self):
        return Path(self.notes).exists() and "-" in noted(Path(self.notes)).get(self.number, [])


class Second(Noted):
    """Requires the task before it, on the same host."""

    def requires(self):
        return Noted(self.host, self.folder, self.notes, self.number - 1, "sleep 3")


class Pairs(luigi.WrapperTask):
    hosts = luigi.ListParameter()
    folder = luigi.Parameter()
    notes = luigi.Parameter()
    count = luigi.IntParameter()

    def requires(self):
        numbers = range(1, 2 * self.count, 2)
        return [Second(host, self.folder, self.notes, number) for host in self.hosts for number in numbers]


class Mixed(luigi.WrapperTask):
    """Two local tasks and six jobs."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    notes = luigi.Parameter()

    def requires(self):
        yield from [Local(self.notes, number) for number in (100, 101)]
        # each ends only after four have started
        script = 'while [ -e ledger ] && [ "$(grep -c + ledger)" -lt 4 ]; do sleep 0.1; done; sleep 1'
        yield from [Noted(self.host, self.folder, self.notes, number, script) for number in range(6)]


class OnHosts(luigi.WrapperTask):
    """One job per number and host, each host with its own directory."""

    hosts = luigi.DictParameter()
    folder = luigi.Parameter()
    notes = luigi.Parameter()
    numbers = luigi.ListParameter()

    def requires(self):
        for place, (host, script) in enumerate(self.hosts.items()):
            for number in self.numbers:
                yield Noted(host, f"{self.folder}/{place}", self.notes, number + 100 * place, script)


_EVENTS = ("START", "SUCCESS", "FAILURE", "PROCESSING_TIME", "TIMEOUT", "PROCESS_FAILURE")


def _note_event(name: str):
    def handler(task, *details):
        note(task, name)

    return handler


for _name in _EVENTS:
    Noted.event_handler(getattr(luigi.Event, _name))(_note_event(_name))
