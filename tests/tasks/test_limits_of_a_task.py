"""Limits and priorities of tasks: their attributes and settings, and what a user sees of them."""

from __future__ import annotations

import json

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.cli.main import main

from support.settings import configure


class Limited(RemoteJobTask):
    """A task whose limits are those of its host, but for the CPU."""

    host = luigi.Parameter()
    base_dir = luigi.Parameter()
    cpu_limit = 0.5

    def command(self):
        return "ulimit -v"


@pytest.mark.needs_docker
def test_a_user_sees_what_limited_a_job_and_what_the_host_could_not_apply(host, folder, capsys, caplog):
    configure(memory_limit="512M")
    task = Limited(host=host.alias, base_dir=folder)
    task.run()
    assert host.run("cat", task.output()["log"].path) == f"{512 << 10}\n"
    assert f"/1: {host.alias} could not apply cpu_limit" in caplog.text
    job = (host.alias, task.job.id, "--base-dir", folder)
    assert main(["show", *job]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Memory limit 512 MiB CPU limit 0.5 cores Limited by ulimit -v Not applied cpu_limit" in shown
    assert "luigi_sshjob: this host cannot apply: cpu_limit" in shown
    assert main(["show", *job, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["memory_limit"], found["cpu_limit"], found["nice"], found["ionice"]) == (512 << 20, 0.5, 0, "")
    outcome = found["outcome"]
    assert (outcome["limited_by"], outcome["not_applied"]) == ("ulimit -v", ["cpu_limit"])
    assert outcome["out_of_memory"] == ""
