"""Outputs that come back: complete, verified, all or none, and fetched again without running the job again."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.errors import ConfigurationError, JobError, JobFailed, LocalFileError, RemoteCommandFailed
from luigi_sshjob.targets.commands import FileCommands
from luigi_sshjob.targets.copy import Copy
from luigi_sshjob.tasks import returned

from support.memory_disk import memory_disk
from support.settings import both_transports, both_transports_at, configure

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = 1_000_000  # bytes
PLACES = [700, 8000, 100_000, 500_000, SIZE - 1, SIZE + 500]


class Making(RemoteJobTask):
    """Makes local outputs on the host, and writes a line to a ledger each time it runs."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    here = luigi.Parameter()
    script = f'head -c {SIZE} /dev/urandom >"$SSHJOB_OUTPUT"'
    made = None

    @property
    def base_dir(self):
        return f"{self.folder}/base"

    def command(self):
        return f"echo run >>{self.folder}/ledger\n{self.script}"

    def output(self):
        return self.made(self) if self.made else luigi.LocalTarget(f"{self.here}/out/data.bin")


class Both(Making):
    """Has an output on the host and two local ones."""

    script = """
        echo here >"$SSHJOB_OUTPUT_FIRST"
        mkdir "$SSHJOB_OUTPUT_SECOND" && echo in a directory >"$SSHJOB_OUTPUT_SECOND/a 'b"
        echo there >"$SSHJOB_OUTPUT_THERE"
    """

    def output(self):
        return {
            "first": luigi.LocalTarget(f"{self.here}/first.txt"),
            "second": luigi.LocalTarget(f"{self.here}/second"),
            "there": self.remote_target(f"{self.folder}/there"),
        }


@pytest.fixture
def here(tmp_path):
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def making(host, folder, here):
    def make(kind=Making, **attributes):
        task = kind(host=host.alias, folder=folder, here=str(here))
        vars(task).update(attributes)
        return task

    return make


@pytest.fixture
def small_folder(tmp_path):
    """A file system of 1 MiB on this machine."""
    with memory_disk(tmp_path / "small", "size=1m") as path:
        yield path


def ledger(host, folder) -> int:
    """How often the command has run."""
    return host.run("sh", "-c", f"cat {folder}/ledger 2>/dev/null || true").count("run")


def files_in(path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


@pytest.mark.core
@both_transports
def test_local_and_remote_outputs_of_one_task_are_in_place(host, folder, making, here, build):
    task = making(Both)
    assert build(task)
    assert files_in(here) == ["first.txt", "second", "second/a 'b"]
    assert (here / "first.txt").read_text() == "here\n"
    assert (here / "second" / "a 'b").read_text() == "in a directory\n"
    assert host.run("cat", f"{folder}/there") == "there\n"
    assert task.complete()


def test_a_fetched_file_is_what_the_command_has_written(host, making, here):
    making().run()
    assert files_in(here) == ["out", "out/data.bin"]
    digest = hashlib.sha256((here / "out" / "data.bin").read_bytes()).hexdigest()
    assert host.run("sha256sum", f"{making().job.directory}/outputs/0/data.bin").split()[0] == digest


@both_transports_at("place", PLACES)
def test_a_fetch_that_is_cut_after_any_byte_is_resumed(host, folder, proxy, making, here, place):
    task = making()
    run = task.prepare_run()
    outcome = run.monitor.wait(run.submit(), run.observe)
    proxy.cut_after(received=place)
    assert run.finish(outcome)
    assert (here / "out" / "data.bin").stat().st_size == SIZE
    assert ledger(host, folder) == 1


@pytest.mark.parametrize("step", ["before the first", "after the first", "before any rename", "between renames"])
def test_a_worker_killed_during_the_fetch_leaves_nothing_and_the_next_run_fetches(
    host, folder, making, here, monkeypatch, step
):
    task = making(Both)
    steps = iter(["before the first", "after the first", "before any rename", "between renames"])

    def die(at: str) -> None:
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if not pid:
        get, replace = Copy.get, os.replace

        def killed_get(copy):
            die(next(steps))
            get(copy)

        def killed_replace(*arguments):
            if arguments[1] in (f"{here}/first.txt", f"{here}/second"):
                die("before any rename" if arguments[1].endswith("txt") else "between renames")
            replace(*arguments)

        monkeypatch.setattr(Copy, "get", killed_get)
        monkeypatch.setattr(returned.os, "replace", killed_replace)
        task.run()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not task.complete()
    assert [name for name in files_in(here) if not name.startswith(".sshjob-tmp")] == (
        ["first.txt"] if step == "between renames" else []
    )
    task.run()
    assert task.complete()
    assert ledger(host, folder) == 1


def test_a_full_local_disk_is_an_error_and_the_next_run_fetches_again(host, folder, making, small_folder):
    task = making(made=lambda _: luigi.LocalTarget(f"{small_folder}/data.bin"))
    (small_folder / "filling").write_bytes(bytes(500_000))
    with pytest.raises(LocalFileError, match=r"No space left on device[\s\S]*Next: free disk space on this machine"):
        task.run()
    assert os.listdir(small_folder) == ["filling"]
    (small_folder / "filling").unlink()
    task.run()
    assert ledger(host, folder) == 1


def test_an_output_that_the_command_did_not_make_fails_the_job(host, making, here):
    task = making(script="true")
    with pytest.raises(JobFailed, match=r"did not create the output .*/outputs/0/data.bin"):
        task.run()
    assert files_in(here) == []


@pytest.mark.parametrize("paths", [("one", "one"), ("one/two", "one"), ("one", "one/../one/two/three")])
def test_local_outputs_at_one_path_or_in_each_other_are_an_error(making, here, paths):
    made = [luigi.LocalTarget(f"{here}/{path}") for path in paths]
    with pytest.raises(
        ConfigurationError, match=r"two local outputs are at one path, or one is in the other: .*\nNext: "
    ):
        making(made=lambda _: made).run()


def test_a_slash_at_the_end_of_a_local_output_is_ignored(making, here):
    making(made=lambda _: luigi.LocalTarget(f"{here}/file/")).run()
    assert files_in(here) == ["file"]


def test_a_fetched_file_that_differs_from_the_hosts_is_an_error(host, folder, making, here, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(FileCommands, "digest", lambda *_: "sha256 0")
        with pytest.raises(RemoteCommandFailed, match="checksum mismatch after the copy"):
            making().run()
    assert files_in(here) == ["out"]
    making().run()
    assert ledger(host, folder) == 1


def test_a_failed_command_leaves_no_output(making, here):
    task = making(script='echo half >"$SSHJOB_OUTPUT"; exit 3')
    with pytest.raises(JobFailed):
        task.run()
    assert files_in(here) == []


def test_outputs_of_an_earlier_run_stay_if_the_new_job_fails(host, folder, making, here):
    making(Both).run()
    host.run("rm", f"{folder}/there")
    with pytest.raises(JobFailed):
        making(Both, script="exit 1").run()
    assert files_in(here) == ["first.txt", "second", "second/a 'b"]


@pytest.mark.parametrize("kind", ["an output", "the record"])
def test_no_output_of_an_earlier_run_is_taken_for_a_part_of_the_new_one(host, folder, making, here, kind):
    class WithRecord(Both):
        script = "echo here >$SSHJOB_OUTPUT_FIRST"

        def output(self):
            return {**RemoteJobTask.output(self), "first": luigi.LocalTarget(f"{self.here}/first.txt")}

    task = making(Both if kind == "an output" else WithRecord)
    task.run()
    if kind == "the record":
        task.output()["exit_record"].remove()
    else:
        host.run("rm", f"{folder}/there")
    run = task.prepare_run()
    outcome = run.monitor.wait(run.submit(), run.observe)
    assert all(target.exists() for target in task.output().values())
    assert not task.complete()
    assert run.finish(outcome)
    assert task.complete()
    assert ledger(host, folder) == 2


def test_outputs_deleted_on_the_host_before_they_were_fetched_are_made_again(host, folder, making, here):
    first = making().prepare_run()
    first.monitor.wait(first.submit(), first.observe)
    host.run("rm", "-r", f"{first.job.directory}/outputs")
    making().run()
    assert (here / "out" / "data.bin").exists()
    assert ledger(host, folder) == 2


def test_outputs_that_vanish_after_the_end_are_an_error_of_the_run_that_has_seen_it(host, making):
    run = making().prepare_run()
    outcome = run.monitor.wait(run.submit(), run.observe)
    host.run("rm", "-r", f"{run.job.directory}/outputs")
    with pytest.raises(JobError, match=r"its outputs do not exist on the host: .*/outputs/0/data.bin"):
        run.finish(outcome)


def test_two_runs_that_attach_to_one_job_both_end_well_even_if_one_removes_it(host, folder, making):
    configure(cleanup="on_success")
    runs = [making().prepare_run() for _ in range(2)]
    jobs = [run.submit() for run in runs]
    assert jobs[0] == jobs[1]
    assert all(run.finish(run.monitor.wait(run.job, run.observe)) for run in reversed(runs))
    assert ledger(host, folder) == 1


def test_a_task_with_a_run_of_its_own_makes_its_local_output_itself(host, making, here):
    class Own(Making):
        script = 'echo "${SSHJOB_OUTPUT-none}"'

        def run(self):
            super().run()
            with self.output().open("w") as out:
                out.write("by run()\n")

    task = making(Own)
    task.run()
    assert task.job.tail() == ["none"]
    assert (here / "out" / "data.bin").read_text() == "by run()\n"


@pytest.mark.needs("logins")
@pytest.mark.parametrize("command", [["luigi"], ["luigi-sshjob", "run"]])
def test_the_mixed_example_uses_two_hosts_and_leaves_a_local_report(host, tmp_path, text_folder, command):
    arguments = ["--module", "mixed", "Report", "--first", host.alias, "--second", "localhost", "--local-scheduler"]
    search_path = os.pathsep.join(filter(None, [str(EXAMPLES), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search_path, "HOME": str(tmp_path)}
    program = str(Path(sys.executable).with_name(command[0]))
    for _ in range(2):
        done = subprocess.run(
            [program, *command[1:], *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "mixed" / "report.txt").exists(), done.stderr
        assert (tmp_path / "mixed" / "report.txt").read_text() == "Words of both texts:\n    5  the\n    2  is\n"
    host.run("rm", "-rf", "luigi_sshjob_mixed")
