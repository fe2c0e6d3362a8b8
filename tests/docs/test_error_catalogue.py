"""Each error that a user can meet: a sentence that can be searched, where, what to do; docs/errors.rst has them."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteJobTask, RemoteTarget, config, errors
from luigi_sshjob.cli.commands import ls
from luigi_sshjob.cli.commands.gc import is_old
from luigi_sshjob.cli.parser import parser
from luigi_sshjob.destination import Destination
from luigi_sshjob.doctor.runner import account_of
from luigi_sshjob.error_context import error_context, translate_os_errors
from luigi_sshjob.errors import ConfigurationError, JobFailed, JobLost, LocalResourceError, SSHJobError
from luigi_sshjob.jobs.listing import JobSummary
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome, State
from luigi_sshjob.remote import scripts
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.shell.remote_shell import Response
from luigi_sshjob.ssh.transports.error_mapping import login_error
from luigi_sshjob.ssh.transports.login import LoginCoordinator
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter
from luigi_sshjob.worker.worker import RemoteJobWorker

from support import error_catalogue, processes
from support.hosts import Host
from support.settings import configure

# -- the table is whole


def test_each_error_of_the_code_has_a_row_and_each_row_an_error():
    sites, foreign = error_catalogue.made()
    assert not foreign, f"these are no errors of ours, though users may meet them: {foreign}"
    unclear = [site.where for site in sites if len(site.sentence.split()) < 3]
    assert not unclear, f"these sentences begin with what changes, so nobody finds them: {unclear}"
    listed = {(row.sentence, row.kind) for row in error_catalogue.rows() if row.kind}
    listed -= {(sentence, kind) for sentence, kind in listed if kind in ("JobFailed", "JobLost")}
    said = {(site.sentence, site.kind): site.where for site in sites}
    missing = "\n".join(
        f"   * - ``{sentence}``\n     - when it comes\n     - the next step of {where}\n     - ``{kind}``\n"
        "       (test_y)"
        for (sentence, kind), where in said.items()
        if (sentence, kind) not in listed
    )
    assert not missing, f"add to docs/errors.rst, with the test that produces each:\n{missing}"
    assert not listed - set(said), f"rows of docs/errors.rst that the code does not say: {listed - set(said)}"


def test_what_a_host_refuses_has_a_next_step_and_a_row():
    """The sentences of `refuse` in remote/; single words are for us."""
    known = {row.sentence for row in error_catalogue.rows()}
    for path, sentence in error_catalogue.refused():
        assert sentence in known, f"{path} refuses with {sentence!r}: add it to ssh/shell/errors.py and docs/errors.rst"


def test_the_reasons_of_outcomes_have_rows():
    listed = [row for row in error_catalogue.rows() if not row.kind]
    sources = error_catalogue.reasons()
    for path, text in sources:
        assert any(row.sentence in text for row in listed), f"{path} gives a reason without a row: {text}"
    for row in listed:
        assert any(row.sentence in text for _, text in sources), f"no script says so any more: {row.sentence}"


def test_each_bad_end_has_a_row():
    known = [row.sentence for row in error_catalogue.rows() if row.kind in ("JobFailed", "JobLost")]
    for state in ("failed", "killed", "timed_out", "cancelled", "lost"):
        said = f"it {Outcome(state, exit_code=3, signal='KILL')}"
        assert any(said.startswith(sentence) for sentence in known), said


def test_each_row_names_a_test_that_is_there():
    for row in error_catalogue.rows():
        assert row.comes, row.sentence
        assert row.next_step, row.sentence
        if row.kind:
            assert row.test in error_catalogue.names_of_tests(), f"{row.sentence}: there is no test {row.test}"


# -- each is produced


@dataclass
class Here:
    """What a producer may use."""

    host: Host
    monkeypatch: pytest.MonkeyPatch
    tmp_path: Path
    folder: str = ""


@pytest.fixture
def here(host, luigi_cfg, monkeypatch, tmp_path) -> Here:
    return Here(host, monkeypatch, tmp_path)


def odd(**attributes: Any) -> RemoteJobTask:
    """A task that is not quite right."""
    return type("Odd", (RemoteJobTask,), {"host": "box", "command": lambda self: "true", **attributes})()


def declared(**attributes: Any) -> Callable[[Here], object]:
    return lambda _: odd(**attributes).run()


def slurm(**options: Any) -> Callable[[Here], object]:
    return declared(launcher="slurm", **options)


def setting(**values: object) -> Callable[[Here], object]:
    def read(_: Here) -> object:
        configure(**values)
        return config.settings()

    return read


def section(name: str, **values: object) -> Callable[[Here], object]:
    def read(_: Here) -> object:
        luigi.configuration.get_config().add_section(name)
        for key, value in values.items():
            luigi.configuration.get_config().set(name, key, str(value))
        return config.settings()

    return read


def typed(*words: str) -> Callable[[Here], object]:
    def read(_: Here) -> object:
        with CmdlineParser.global_instance(["RemoteJobTask", *words]):
            return config.settings()

    return read


def option(**options: Any) -> Callable[[Here], object]:
    return lambda _: RemoteContext("box", **options).check_output(["true"])


def command(words: Any) -> Callable[[Here], object]:
    return lambda _: RemoteContext("box").check_output(words)


def file(method: str, *arguments: Any) -> Callable[[Here], object]:
    return lambda _: getattr(RemoteFileSystem("box"), method)(*arguments)


def tunnel(*arguments: Any) -> Callable[[Here], object]:
    return lambda _: RemoteContext("box").tunnel(*arguments).__enter__()


def with_settings(producer: Callable[[Here], object], **values: object) -> Callable[[Here], object]:
    def produce(here: Here) -> object:
        configure(**values)
        return producer(here)

    return produce


def without_a_program(here: Here) -> None:
    here.monkeypatch.setenv("PATH", "")
    command(["true"])(here)


def without_sshpass(here: Here) -> None:
    here.monkeypatch.delenv("SSHPASS", raising=False)
    option(sshpass=True)(here)


def without_paramiko(here: Here) -> None:
    here.monkeypatch.setitem(sys.modules, "luigi_sshjob.ssh.transports.paramiko.transport", None)
    option(transport="paramiko")(here)


def without_room(here: Here) -> None:
    here.monkeypatch.setattr(tempfile, "tempdir", str(here.tmp_path / "missing"))
    command(["true"])(here)


def with_all_sessions_in_use(here: Here) -> None:
    gate = SessionLimiter(here.tmp_path, "key", 1)
    slot = gate.acquire(deadline=0, host="box")
    try:
        gate.acquire(deadline=0, host="box")
    finally:
        slot.release()


def while_another_logs_in(here: Here) -> None:
    configure(connect_timeout=1, connect_attempts=1, request_timeout=0.1)
    lock = FileLock(here.tmp_path / "key.lock")
    assert lock.try_acquire()
    try:
        LoginCoordinator(here.tmp_path, "key", Destination("box"), config.settings()).make(lambda: False, lambda: None)
    finally:
        lock.release()


def without_a_name_service(_: Here) -> None:
    # no name service that does not answer can be had here: ssh's words, as it says them
    raise login_error("ssh: Could not resolve hostname box: Temporary failure in name resolution", Destination("box"))


def target(path: str) -> RemoteTarget:
    return RemoteTarget(path, "box")


def without_another_login(here: Here) -> None:
    (here.tmp_path / "ssh_config").write_text("ControlPath ~/nowhere-%C\n")
    configure(existing_master="require", ssh_config=here.tmp_path / "ssh_config")
    with RemoteContext("box").connection.transport.apart():
        pass


OF_NO_AGE = JobSummary(JobRef("box", "Task", 1, "/jobs/Task/1"), JobStatus(State.LOST), collected="me")

# no host can be had whose /bin/sh is none
ODD_SHELL: Any = SimpleNamespace(
    call=lambda text, deadline: Response(127, b"sh: doctor_facts: not found"), session=SimpleNamespace(host="box")
)

LOCALLY: list[tuple[str, Callable[[Here], object]]] = [
    ("a setting has a value that cannot be", setting(poll_interval="nan")),
    ("there is no such setting", setting(kill_graze=1)),
    ("a setting stands in its section twice, with - and with _", setting(**{"kill-grace": 1, "kill_grace": 2})),
    ("Luigi's configuration refers to what is not there", setting(poll_interval="%(nothing)s")),
    ("a setting cannot stand in the section of a host", section("sshjob.box", remote_jobs=1)),
    ("the section of a host has no name of one", section("sshjob.a b", kill_grace=1)),
    ("a section of the configuration is nobody's", section("sshjob:box", kill_grace=1)),
    ("an option has a value that cannot be", typed("--sshjob-kill-grace", "soon")),
    ("tracking_url cannot become a web address", declared(tracking_url="gpu01/{host}")),
    ("no host was used lately from here", lambda _: ls.run(parser().parse_args(["ls"]))),
    ("the host cannot tell how old it is: it has no stat(1)", lambda _: is_old("box", OF_NO_AGE, 0)),
    ("existing_master is require, so there is no login but yours", without_another_login),
    ("the host's /bin/sh does not understand what it is asked", lambda _: account_of(ODD_SHELL, "~", 1)),
    ("remote_jobs is no number of jobs", lambda _: RemoteJobWorker("many")),
    ("the runtime directory cannot be made", with_settings(command("true"), runtime_dir="/dev/null/x")),
    ("the runtime directory cannot be made", with_settings(command("true"), runtime_dir="~nobody-at-all/x")),
    ("this is no name of a host", lambda _: RemoteContext("-oProxyCommand=x")),
    ("this is no name of a host", lambda _: RemoteContext("x\udcff")),
    ("there is no such port", lambda _: RemoteContext("box:0")),
    ("there is no such ssh option", option(bogus=1)),
    ("there is no such ssh option", declared(ssh_options={5: 1})),
    ("an ssh option cannot have this value", option(username=["x"])),
    ("an ssh option is not a whole number", option(port=float("inf"))),
    ("connect_timeout is negative", option(connect_timeout=-1)),
    ("password is not a function", option(password="secret")),
    ("there is no such transport", option(transport="telnet")),
    ("the transport paramiko needs what is not installed on this machine", without_paramiko),
    ("ssh cannot be given a function for its password", option(password=str)),
    ("sshpass is set, but there is no SSHPASS in the environment", without_sshpass),
    ("there is no key file", option(key_file="/nokey")),
    ("the ssh configuration cannot be used", with_settings(command("true"), ssh_config="/nonexistent")),
    (
        "the ssh configuration cannot be used",
        with_settings(command("true"), ssh_config="/nonexistent", transport="paramiko"),
    ),
    ("there is no such program on this machine", without_a_program),
    ("this machine does not allow it", without_room),
    ("the name service does not answer", without_a_name_service),
    ("no connection to the host", lambda _: RemoteContext("127.0.0.1:1").check_output(["true"])),
    ("all sessions on the shared connection stayed in use", with_all_sessions_in_use),
    ("another process has been logging in for too long", while_another_logs_in),
    ("the command is no text", command([5])),
    ("the command contains a NUL byte", command("a\0b")),
    ("the command is too long for one command line", command("x" * 131_072)),
    ("a tunnel cannot have this port", tunnel(70_000)),
    ("a tunnel cannot have this port", tunnel("http")),
    ("a tunnel cannot lead to a host of this name", tunnel(0, 22, "a b")),
    ("the task has no host", declared(host=None)),
    ("a task must override command()", declared(command=RemoteJobTask.command)),
    ("the command is no text", declared(command=lambda self: "")),
    ("the command contains a NUL byte", declared(command=lambda self: "a\0b")),
    (
        "the command's #! line is not at its very beginning, or ends in a carriage return",
        declared(command=lambda self: "\n#!/bin/sh\n"),
    ),
    ("ssh_options is no dict of options: it is a", declared(ssh_options=5)),
    ("base_dir is no path", declared(base_dir="")),
    ("base_dir is no path", declared(base_dir=5)),
    ("there is no such launcher", declared(launcher=["nohup"])),
    ("environment is no dict: it is a", declared(environment="A=1")),
    ("this is no name of an environment variable", declared(environment={"1A": "x"})),
    ("this environment variable cannot be set for a job", declared(environment={"UID": "x"})),
    ("the value of an environment variable is no str", declared(environment={"A": 1})),
    ("the value of an environment variable contains a NUL byte", declared(environment={"A": "\0"})),
    ("success_exit_codes is no tuple", declared(success_exit_codes=None)),
    ("success_exit_codes are no exit codes", declared(success_exit_codes=(256,))),
    ("a time of the task is no number", declared(time_limit="soon")),
    ("a time of the task is no number", slurm(kill_grace=float("nan"))),
    ("time_limit and kill_grace must be finite and not negative", declared(time_limit=-1)),
    ("the task's poll_interval is not above 0", declared(poll_interval=0)),
    ("a policy of the task is none", declared(cleanup="sometimes")),
    ("an output is not on the job's host as the task reaches it", declared(output=lambda self: luigi.LocalTarget("x"))),
    ("two outputs would share a variable", declared(output=lambda self: {"a-b": target("x"), "a b": target("y")})),
    ("sbatch_options is no dict", slurm(sbatch_options=5)),
    ("batch is no number of jobs", slurm(batch="x")),
    ("this is no long option of sbatch", slurm(sbatch_options={"--mem": 1})),
    ("this sbatch option cannot be set for a job", slurm(sbatch_options={"array": 1})),
    ("an sbatch option cannot have a value of this kind", slurm(sbatch_options={"mem": object()})),
    ("the value of an sbatch option is not one line of text", slurm(sbatch_options={"comment": "a\nb"})),
    ("the path is empty", file("exists", "")),
    ("the path is no str", file("mtime", b"x")),
    ("a NUL byte cannot be passed on", file("reader", "a\0b")),
    ("this is no path of this machine", file("put", "a\0b", "x")),
    ("the mode of a remote file is neither r nor w", lambda _: RemoteTarget("x", "box").open("a")),
]

# They come before anybody knows which host is meant.
WITHOUT_HOST = (
    "a setting has",
    "a setting stands",
    "there is no such setting",
    "an option has",
    "Luigi's configuration",
    "a section of the configuration",
    "the section of a host",
    "no host was used",
    "remote_jobs",
    "this is no name of a host",
    "the task has no host",
)


@pytest.mark.parametrize(("sentence", "produce"), LOCALLY, ids=[sentence for sentence, _ in LOCALLY])
def test_what_is_wrong_here_is_said_before_anything_is_sent(sentence, produce, here):
    configure(connect_attempts=1)
    with pytest.raises(SSHJobError) as caught:
        produce(here)
    check(caught.value, sentence)
    if produce.__qualname__.startswith("declared") and not sentence.startswith("the task has no host"):
        assert caught.value.job == "Odd__99914b932b"


def check(error: SSHJobError, sentence: str) -> None:
    """It says all that is to be said."""
    assert error.problem.startswith(sentence), error.problem
    kinds = {row.kind for row in error_catalogue.rows() if row.sentence == sentence}
    assert type(error).__name__ in kinds
    assert error.next_step
    assert error.host or sentence.startswith(WITHOUT_HOST)
    where = str(error).partition(sentence)[0]
    assert (error.host or "") in where
    assert (error.job or "") in where
    assert error.doing in where
    assert str(error).endswith(f"\nNext: {error.next_step}")


def shorten(path: Path) -> Callable[[int, int | None], None]:
    """A progress that makes the file shorter under way."""

    def progress(reached: int, _: int | None) -> None:
        path.write_bytes(b"")

    return progress


def becoming_shorter(here: Here, files: RemoteFileSystem) -> None:
    source = here.tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    files.put(source, f"{here.folder}/copy", progress=shorten(source))


WITH_A_HOST: list[tuple[str, str, Callable[[Here, RemoteFileSystem], object]]] = [
    (
        "the command ended with exit status",
        "running 'exit 3'",
        lambda here, files: files.remote_context.check_output(["exit 3"]),
    ),
    ("the host could not do it", "removing", lambda here, files: files.remove(f"{here.folder}/none")),
    ("the file cannot be written", "writing /proc/x", lambda here, files: files.writer("/proc/x")),
    ("the file cannot be read", "reading", lambda here, files: files.reader(here.folder)),
    ("there is no such file on the host", "reading", lambda here, files: files.reader(f"{here.folder}/none")),
    ("there is no such file on the host", "looking at", lambda here, files: files.mtime(f"{here.folder}/none")),
    ("this is a directory, which has no size", "", lambda here, files: files.size(here.folder)),
    ("it is a directory", "removing", lambda here, files: files.remove(here.folder, recursive=False)),
    (
        "there is something already",
        "making the directory",
        lambda here, files: files.mkdir(here.folder, raise_if_exists=True),
    ),
    (
        "there is no directory to put it in",
        "making the directory",
        lambda here, files: files.mkdir(f"{here.folder}/a/b", parents=False),
    ),
    (
        "a file stands where the directory should be",
        "making the directory",
        lambda here, files: files.mkdir("/etc/passwd"),
    ),
    (
        "there is no such file on this machine",
        "putting",
        lambda here, files: files.put(here.tmp_path / "none", f"{here.folder}/x"),
    ),
    (
        "a file of this machine cannot be read or written",
        "getting /etc/passwd to /dev/null/x",
        lambda here, files: files.get("/etc/passwd", "/dev/null/x"),
    ),
    ("a file of this machine became shorter while it was copied", "putting", becoming_shorter),
    (
        "a checksum is one of a file, and this is a directory",
        "putting",
        lambda here, files: files.put(here.tmp_path, f"{here.folder}/x", checksum=True),
    ),
]


def test_what_a_host_or_a_file_is_in_the_way_of_is_said_with_what_was_being_done(here, files, folder):
    here.folder = folder
    for sentence, doing, produce in WITH_A_HOST:
        with pytest.raises(SSHJobError) as caught:
            produce(here, files)
        check(caught.value, sentence)
        assert caught.value.host == here.host.alias, sentence
        assert caught.value.doing.startswith(doing), sentence
    assert here.host.run("ls", "-A", folder) == ""


def test_programs_that_a_host_lacks_are_named(here, files, folder):
    lacking = " ".join(f"{folder}/bin/{name}" for name in ("stat", "sha256sum", "shasum", "openssl", "sha256"))
    here.host.run("sh", "-c", f"mkdir {folder}/bin && echo 'exit 1' | tee {lacking} >/dev/null && chmod 755 {lacking}")
    here.host.run("sh", "-c", f"cp .bashrc {folder}/bashrc && echo 'PATH={folder}/bin:$PATH' >>.bashrc")
    here.host.run("sh", "-c", f"head -n 1 .bashrc >{folder}/first; sed -i '1i PATH={folder}/bin:$PATH' .bashrc")
    try:
        with pytest.raises(SSHJobError) as caught:
            files.mtime("/etc/passwd")
        check(caught.value, "the host has no stat(1) that tells the time of a file")
        (here.tmp_path / "source").write_text("x")
        with pytest.raises(SSHJobError) as caught:
            files.put(here.tmp_path / "source", f"{folder}/copy", checksum=True)
        check(caught.value, "the host has no sha256sum, shasum or openssl that could read the file")
    finally:
        here.host.run("cp", f"{folder}/bashrc", ".bashrc")


@pytest.mark.needs_docker
def test_a_job_directory_that_is_not_ours_to_write_is_named(here, bench):
    lib = f"{bench.folder}/lib/{scripts.supervisor_hash()}"
    here.host.run("sh", "-c", f"mkdir -m 700 -p {bench.folder}/lib")
    home = here.host.home
    here.host.run("sh", "-c", f"mkdir {home}/{lib} && touch {home}/{lib}/supervise.sh", user="root")
    said = []
    try:
        bench.submit("true")
    except SSHJobError as error:
        said.append(error)
    here.host.run("rm", "-r", f"{home}/{lib}", user="root")
    here.host.run("sh", "-c", f"mkdir -p {bench.folder}/jobs/Task && chmod 500 {bench.folder}/jobs/Task")
    try:
        bench.submit("true")
    except SSHJobError as error:
        said.append(error)
    here.host.run("chmod", "700", f"{bench.folder}/jobs/Task")
    scripts_refused, place = said
    check(scripts_refused, "the scripts of luigi_sshjob cannot be put in their place")
    check(place, "the job directory cannot be put in its place")
    assert (place.job, place.doing) == ("Task", "submitting it")
    assert place.next_step.endswith("nothing was submitted")


@pytest.mark.needs_docker
def test_a_job_that_cannot_be_ended_or_marked_is_named(here, bench):
    job = bench.submit("sleep 541").job
    processes.wait_until(lambda: bench.running("sleep 541"), "the command")
    here.host.run("sed", "-i.bak", "s/^machine: .*/machine: elsewhere/", f"{job.directory}/identity")
    with pytest.raises(SSHJobError) as caught:
        bench.monitor.cancel(job, 0)
    check(caught.value, "it cannot be ended from here")
    here.host.run("mv", f"{job.directory}/identity.bak", f"{job.directory}/identity")
    with pytest.raises(SSHJobError) as caught:
        bench.control.remove(job)
    check(caught.value, "the job has not ended or was not collected")
    assert (caught.value.job, caught.value.doing) == (job.id, "removing it")
    here.host.run("kill", *(str(pid) for pid, args in here.host.processes() if "sleep 541" in args))
    assert not bench.monitor.wait(job, lambda _: None).succeeded
    here.host.run("chmod", "500", job.directory)
    with pytest.raises(SSHJobError) as caught:
        bench.control.collect(job)
    here.host.run("chmod", "700", job.directory)
    check(caught.value, "the mark of a collected outcome cannot be written in")


def test_whoever_asked_for_what_may_not_be_repeated_hears_that_the_leader_ended(here, files):
    ask = f"RemoteFileSystem('{here.host.alias}').exists('/')"
    lead = f"import time; from luigi_sshjob import RemoteFileSystem; {ask}; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", lead], stdin=subprocess.DEVNULL) as leader:

        def end() -> None:
            processes.wait_until(lambda: any("sleep 551" in args for _, args in here.host.processes()), "the request")
            leader.kill()

        runtime = files.remote_context.connection.transport.directory
        processes.wait_until(lambda: bool(list(runtime.glob("*.lead"))), "the leader")
        thread = threading.Thread(target=end)
        thread.start()
        with pytest.raises(SSHJobError) as caught:
            files.remote_context.connection.request("sleep", 551, idempotent=False)
        thread.join()
    check(caught.value, "the process that held the connection ended before it had the answer")
    here.host.run("sh", "-c", "kill $(pgrep -fx 'sleep 551')", check=False)


# -- ends of jobs


class Ends(RemoteJobTask):
    host = luigi.Parameter()
    how = luigi.Parameter()
    base_dir = luigi.Parameter()

    @property
    def time_limit(self):
        return 1 if self.how == "sleep 531" else None

    def command(self):
        return self.how


def test_each_bad_end_says_how_and_where(here, folder):
    """All at once: their ends are waited for together."""
    hows = {
        "it failed with exit code": "exit 3",
        "it was killed by signal": "kill -9 $$",
        "it ran longer than its time limit and was ended": "sleep 531",
        "it was cancelled": "sleep 532",
        "it was lost": "sleep 533",
    }
    said: dict[str, Any] = {}

    def run(sentence: str) -> None:
        try:
            tasks[sentence].run()
        except BaseException as error:
            said[sentence] = error

    tasks = {sentence: Ends(here.host.alias, how, f"{folder}/jobs") for sentence, how in hows.items()}
    threads = [threading.Thread(target=run, args=(sentence,)) for sentence in hows]
    for thread in threads:
        thread.start()

    def running(text: str) -> list[int]:
        return [pid for pid, args in here.host.processes() if text in args]

    processes.wait_until(lambda: bool(running("sleep 532") and running("sleep 533")), "the jobs")
    tasks["it was cancelled"].job.cancel()
    directory = tasks["it was lost"].job.directory
    here.host.run("sh", "-c", f"kill -9 {' '.join(map(str, [*running(directory), *running('sleep 533')]))}")
    for thread in threads:
        thread.join(60)
    for sentence in hows:
        check(said[sentence], sentence)
        assert said[sentence].job == tasks[sentence].job.id
        assert f"`luigi-sshjob logs --base-dir {folder}/jobs " in said[sentence].next_step
    assert isinstance(said["it was lost"], JobLost)


# -- the machinery of errors


def test_an_error_keeps_all_it_says_on_its_way_between_processes():
    error: SSHJobError
    for error in (
        JobFailed("it failed", host="box", job="Task/1", doing="x", next_step="look", outcome=Outcome("failed")),
        errors.FileMissing("there is none", path="/a", host="box", next_step="look"),
        errors.LocalFileError("it cannot be", number=28, host="box"),
        errors.PathExists("there is one", host="box"),
        errors.RemoteCommandFailed("it failed", returncode=3, cmd="x", output=b"y", host="box"),
        errors.CommandMissing("there is none"),
    ):
        for same in (pickle.loads(pickle.dumps(error)), error.again(job=error.job, doing=error.doing)):
            assert (type(same), str(same), vars(same)) == (type(error), str(error), vars(error))
            assert (getattr(same, "errno", 0), getattr(same, "filename", 0)) == (
                getattr(error, "errno", 0),
                getattr(error, "filename", 0),
            )
        assert (error.again().job, error.again().doing) == (None, "")


def test_what_is_known_better_inside_is_not_said_again_outside():
    with (
        pytest.raises(ConfigurationError) as caught,
        error_context("outside", host="other", job="Task/1"),
        error_context("inside\n", host="box"),
    ):
        raise ConfigurationError("it is wrong", next_step="mend it")
    assert str(caught.value) == "host box, job Task/1, while 'inside\\n': it is wrong\nNext: mend it"
    said = r"host box, while looking: .*: No such file .*missing\)\nNext: "
    with pytest.raises(LocalResourceError, match=said), translate_os_errors("looking", host="box"):
        Path("/missing").read_bytes()


@contextlib.contextmanager
def few_descriptors(left: int) -> Iterator[None]:
    """While the block runs this process can open so many files and no more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # what earlier tests have left would give its descriptors back in the block
    gc.collect()
    used = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(used) + left, before[1]))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(left):
            os.close(held.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in held:
            os.close(fd)


@pytest.mark.parametrize("left", [1, 4, 5, 6, 7])
def test_a_process_that_may_open_no_more_files_is_told_so_and_waits_for_nothing(here, files, left):
    since = time.monotonic()
    with few_descriptors(left), pytest.raises(LocalResourceError) as caught:
        files.exists("/")
    assert time.monotonic() - since < 10
    check(caught.value, "this machine does not allow it")
    assert "ulimit -n" in caught.value.next_step
    close_shells()
    assert files.exists("/")


def test_an_account_without_a_name_can_submit(here, bench, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    nobody = SimpleNamespace(getpwuid=lambda _: (_ for _ in ()).throw(KeyError("uid not found")))
    monkeypatch.setitem(sys.modules, "pwd", nobody)
    assert bench.run("true")[0].succeeded


def test_what_a_users_own_method_raises_is_left_as_it_is():
    def command(self: Any) -> str:
        return str({}["none"] or int("x"))

    with pytest.raises(KeyError, match="none"):
        odd(command=command).run()
