"""Tasks that write down what Luigi does with them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import luigi

from luigi_sshjob import RemoteJobTask


def note(task: luigi.Task, what: str) -> None:
    """A line about the task, whichever process says it."""
    with Path(task.notes).open("a") as notes:
        notes.write(f"{task.number} {what}\n")


def noted(path: Path) -> dict[int, list[str]]:
    """The lines, by task."""
    found: dict[int, list[str]] = {}
    for line in path.read_text().splitlines():
        number, _, what = line.partition(" ")
        found.setdefault(int(number), []).append(what)
    return found


class Noted(RemoteJobTask):
    """A job, with a line in a ledger on the host when it begins and one when it ends."""

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
    # enough for it to have begun
    worker_timeout = 5


class Retried(Noted):
    retry_count = 2
    tracking_url = "http://example.invalid/{key}/{attempt}"


class Licensed(Noted):
    resources = {"licence": 1}


class Generous(Noted):
    """Needs a resource twice in the beginning only."""

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
    """Of those that differ in their number alone the highest is run for all."""

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
    """Somebody takes his time over its beginning."""


@Lingering.event_handler(luigi.Event.START)
def _linger(task):
    note(task, "lingers")
    time.sleep(3)


class Secretive(Noted):
    """With a password function that no other process can be given."""

    on_worker_exit = "cancel"

    @property
    def ssh_options(self):
        return {"transport": "paramiko", "password": lambda question: "none is needed"}


class Clumsy:
    """A context for the time of a task, which breaks where it ends."""

    def __init__(self, process):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        raise OSError("it broke")


class Dying(Noted):
    """Its process ends without a word."""

    def run(self):
        os._exit(7)


class Dynamic(Noted):
    """Finds out while it runs what it depends on."""

    def run(self):
        first = yield Noted(self.host, self.folder, self.notes, self.number + 1)
        yield [Noted(self.host, self.folder, self.notes, self.number + n) for n in (2, 3)]
        note(self, f"process {os.getpid()}, {first['exit_record'].exists()}")
        super().run()


class Local(luigi.Task):
    """A task of this machine that takes its time."""

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
    """Needs the one before it on the same host."""

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
        # four of them can only end together
        script = 'until [ "$(grep -c + ledger)" -ge 4 ]; do sleep 0.1; done; sleep 1'
        yield from [Noted(self.host, self.folder, self.notes, number, script) for number in range(6)]


class OnHosts(luigi.WrapperTask):
    """One job of each number on each host, in a folder of its own there."""

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
