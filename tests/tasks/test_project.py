"""The project of a task: each attempt starts in its own copy of the files, as they were when it was submitted."""

from __future__ import annotations

import json
import logging
import os

import luigi
import pytest

import luigi_sshjob
from luigi_sshjob import RemoteJobTask
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.model import job_key

from support.settings import both_transports


class Running(RemoteJobTask):
    """Runs a command in a copy of a project."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    name = luigi.Parameter(default="out")
    project = script = None

    @property
    def base_dir(self):
        return f"{self.folder}/base"

    def command(self):
        return self.script

    def output(self):
        return self.remote_target(f"{self.folder}/{self.name}")


@pytest.fixture
def code(tmp_path):
    """A local directory with a program, a link to it, and hostile names."""
    root = tmp_path / "code"
    (root / "package").mkdir(parents=True)
    (root / "package" / "a 'b\n$(x)").write_text("in a package\n")
    (root / os.fsdecode(b"not utf-8 \xff")).write_text("latin\n")
    (root / "program").write_text("#!/bin/sh\necho ran\n")
    (root / "program").chmod(0o755)
    (root / "link").symlink_to("program")
    return root


@pytest.fixture
def running(host, folder, code):
    def make(script, name="out", project=None, **attributes):
        task = Running(host=host.alias, folder=folder, name=name)
        vars(task).update(attributes, script=script, project=project or code)
        return task

    return make


def result(task) -> str:
    with task.output().open() as file:
        return file.read()


def copies(host, folder) -> list[str]:
    return host.run("sh", "-c", f"ls -A {folder}/base/cache 2>/dev/null || true").split()


@pytest.mark.core
@both_transports
def test_the_command_starts_in_a_copy_of_the_project(running, host, folder, build):
    task = running("""
        { ./program; ./link; cat package/*; cat not*; test -h link && echo linked
        [ "$PWD" -ef "$SSHJOB_PROJECT" ] && [ "$SSHJOB_PROJECT" -ef "$SSHJOB_DIR/project" ] && echo here
        } >"$SSHJOB_OUTPUT"
    """)
    assert build(task)
    assert result(task) == "ran\nran\nin a package\nlatin\nlinked\nhere\n"
    assert host.run("stat", "-c", "%a", f"{task.job.directory}/project/program") == "700\n"
    assert len(copies(host, folder)) == 1


def test_a_task_with_a_working_directory_finds_the_project_by_its_variable(running, folder, build):
    script = 'pwd >"$SSHJOB_OUTPUT"; "$SSHJOB_PROJECT/program" >>"$SSHJOB_OUTPUT"'
    task = running(script, working_directory=folder)
    assert build(task)
    assert result(task) == f"{folder}\nran\n"


def test_a_command_with_an_interpreter_starts_in_the_project(running, build):
    task = running('#!/usr/bin/env sh\n./program >"$SSHJOB_OUTPUT"')
    assert build(task)
    assert result(task) == "ran\n"


def test_patterns_and_a_dot_are_relative_to_the_directory_of_luigi(running, code, build, monkeypatch):
    monkeypatch.chdir(code)
    task = running('ls >"$SSHJOB_OUTPUT"', project=["p*"])
    assert build(task)
    assert result(task) == "package\nprogram\n"
    again = running('ls link >"$SSHJOB_OUTPUT"', "again", project=".")
    assert build(again)
    assert result(again) == "link\n"


def test_a_changed_file_reaches_the_next_job_and_a_running_one_keeps_its_own(running, code, host, folder):
    script = f'while ! [ -e {folder}/go ]; do sleep 0.1; done; ./program >"$SSHJOB_OUTPUT"'
    first = running(script, "first")
    run = first.prepare_run()
    run.submit()
    (code / "program").write_text("#!/bin/sh\necho changed\n")
    attached = first.prepare_run()
    attached.submit()
    host.run("touch", f"{folder}/go")
    second = running(script, "second")
    second.run()
    assert attached.finish(attached.monitor.wait(attached.job, attached.observe))
    assert (result(first), result(second)) == ("ran\n", "changed\n")


def test_what_a_job_writes_into_its_copy_no_other_job_sees_and_gc_removes(running, host, folder, capsys):
    writes = "set -e; rm link; echo changed >program; mkdir sub; touch sub/x; chmod -R a-w ."
    first = running(f'{writes}; cat program >"$SSHJOB_OUTPUT"', "first")
    second = running('{ ./link; test -e sub || echo clean; } >"$SSHJOB_OUTPUT"', "second")
    first.run()
    second.run()
    assert (result(first), result(second)) == ("changed\n", "ran\nclean\n")
    assert main(["gc", "--older-than", "0s", "--base-dir", f"{folder}/base", host.alias]) == 0
    assert "1 unused inputs removed from the cache" in capsys.readouterr().err
    assert copies(host, folder) == []
    assert host.run("sh", "-c", f"cd {folder}/base; ls -A jobs; find lib -path '*.stage*' -type f") == ""


def test_with_cleanup_a_copy_with_read_only_directories_is_removed(running, host):
    task = running('mkdir sub; touch sub/x; chmod a-w sub; echo done >"$SSHJOB_OUTPUT"', cleanup="always")
    task.run()
    assert host.run("ls", "-A", task.job.directory).split() == ["collected"]


def test_the_project_of_many_tasks_is_sent_once(running, host, folder, caplog):
    caplog.set_level(logging.INFO, "luigi-interface")
    tasks = [running('./program >"$SSHJOB_OUTPUT"', str(number)) for number in range(20)]
    assert luigi_sshjob.build(tasks, local_scheduler=True, remote_jobs=20)
    assert {result(task) for task in tasks} == {"ran\n"}
    assert caplog.text.count("sending the project") == 1
    (entry,) = copies(host, folder)
    # the claim of a job costs one link, however many files there are
    assert host.run("stat", "-c", "%h", f"{folder}/base/cache/{entry}/content") == "21\n"


def test_show_names_the_copy_and_where_the_command_runs(running, host, folder, capsys):
    task = running('echo >"$SSHJOB_OUTPUT"')
    task.run()
    show = ["show", "--base-dir", f"{folder}/base", host.alias, task.job.id]
    assert main([*show, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["project"] == shown["working_directory"] == f"{task.job.directory}/project"
    assert shown["inputs"] == []
    assert main(show) == 0
    assert "Project" in capsys.readouterr().out


def test_an_invalid_project_is_an_error_that_names_host_and_job(running, host, folder, tmp_path):
    task = running("true", project=tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="while finding the files of its project: project is not a") as caught:
        task.run()
    assert (caught.value.host, caught.value.job) == (host.alias, job_key(task.task_id))
    assert copies(host, folder) == []
