"""Tasks with a pool of hosts, for the `luigi` command, which imports this module for them."""

from __future__ import annotations

import os
import signal

import luigi
import luigi.task_register

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.tasks import choosing, placements, pool_requests


class Pooled(RemoteJobTask):
    """Writes its attempt to a ledger on its host, and ends when that has a file `go`."""

    host = luigi.ListParameter()
    folder = luigi.Parameter()
    number = luigi.IntParameter(default=0)
    slots = luigi.DictParameter(default={}, significant=False)
    retries = luigi.DictParameter(default={}, significant=False)

    def command(self):
        return f"""
            mkdir -p {self.folder} && cd {self.folder} || exit
            echo "$SSHJOB_ID" >>ledger
            ! [ -e fail ] || exit 7
            while [ -d {self.folder} ] && ! [ -e go ] && ! [ -e die ]; do sleep 0.1; done
            [ ! -e die ] || {{ rm die; kill -9 "$(sed -n 's/^pid: //p' "$SSHJOB_DIR/identity")"; exit; }}
        """


class Named(Pooled):
    """With the same id whatever its pool is."""

    host = luigi.ListParameter(significant=False)
    folder = luigi.Parameter(significant=False)


class Made(Pooled):
    """With an output of its own."""

    def command(self):
        return f'mkdir -p {self.folder} && cd {self.folder} && echo "$SSHJOB_ID" >>ledger; hostname >"$SSHJOB_OUTPUT"'

    def output(self):
        return self.remote_target(f"{self.folder}/made-{self.number}")


class Brief(Pooled):
    """Takes up to two seconds."""

    def command(self):
        seconds = self.number % 8 / 4
        return f'mkdir -p {self.folder} && echo "$SSHJOB_ID" >>{self.folder}/ledger && sleep {seconds}'


class Briefly(luigi.WrapperTask):
    """Many of those."""

    host = luigi.ListParameter()
    folder = luigi.Parameter()
    numbers = luigi.ListParameter()

    def requires(self):
        return [Brief(self.host, self.folder, number) for number in self.numbers]


class Using(luigi.Task):
    """Reads the output of that."""

    host = luigi.ListParameter()
    folder = luigi.Parameter()
    path = luigi.Parameter()

    def requires(self):
        return Made(self.host, self.folder)

    def output(self):
        return luigi.LocalTarget(self.path)

    def run(self):
        with self.input().open() as file, self.output().open("w") as copy:
            copy.write(file.read())


def forget_bindings() -> None:
    """As if this process had just begun."""
    luigi.task_register.Register.clear_instance_cache()
    pool_requests._hosts.clear()


def killed(build, task: RemoteJobTask, step: str) -> None:
    """Run the task in another process, which is killed at that step."""
    pid = os.fork()
    if pid == 0:
        # what is killed is the whole group
        os.setsid()
        os.environ["SSHJOB_TEST_STOP"] = step
        try:
            build(task)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def silent(look, name: str):
    def silent(connection, *words, **options):
        if connection.host == name:
            raise HostUnreachable("it does not respond", host=name)
        return look(connection, *words, **options)

    return silent


def _stop_at(step: str) -> None:
    """Has the process killed before or after a step of the protocol, if the environment says so."""
    if os.environ.get("SSHJOB_TEST_STOP") == step:
        os.kill(0, 9)


def _stopping(name: str, call):
    def stopping(*arguments, **options):
        _stop_at(f"before {name}")
        result = call(*arguments, **options)
        _stop_at(f"after {name}")
        return result

    return stopping


choosing.look_at = _stopping("look", choosing.look_at)
placements.write = _stopping("placement", placements.write)
choosing.agree = _stopping("placements", choosing.agree)
JobClient.submit = _stopping("claim", JobClient.submit)
JobClient.collect = _stopping("collect", JobClient.collect)
