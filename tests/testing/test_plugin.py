"""The pytest plugin, in the tests of a small project as a user has it."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import processes
from support.doc_examples import ROOT, blocks

PIPELINE = """
import luigi
from luigi_sshjob import RemoteJobTask


class Count(RemoteJobTask):
    host = luigi.Parameter(default="gpu1")
    text = luigi.Parameter(default="books/moby")

    def command(self):
        return f'wc -w <{self.text} >"$SSHJOB_OUTPUT"'

    def output(self):
        return self.remote_target(f"{self.text}.count")


class Sum(RemoteJobTask):
    host = luigi.Parameter(default="gpu1")
    launcher = "slurm"
    sbatch_options = {"partition": "short"}

    def requires(self):
        return Count()

    def command(self):
        return f'cat {self.input().path}'


class Endless(RemoteJobTask):
    host = "gpu1"
    environment = {"MARK": "MARK_OF_THIS_TEST"}

    def command(self):
        return "echo $$ >pid; exec sleep 3600"
"""

TESTS = """
import os
import subprocess
import sys

import luigi
import luigi.configuration
import pytest
from luigi_sshjob import RemoteContext, RemoteTarget, config
from pipeline import Count, Endless, Sum

both = pytest.mark.parametrize("sshjob_host", ["openssh", "local"], indirect=True)


def note(text):
    with open("notes", "a") as notes:
        notes.write(f"{text}\\n")


@both
def test_the_command_runs(sshjob_host):
    note(sshjob_host.home)
    (sshjob_host.home / "books").mkdir()
    (sshjob_host.home / "books" / "moby").write_text("call me Ishmael")
    assert luigi.build([Count(host=sshjob_host.host)], local_scheduler=True)
    assert Count(host=sshjob_host.host).output().open().read().strip() == "3"


@both
def test_any_host_is_the_throwaway_one_and_a_running_job_is_killed(sshjob_host):
    run = Endless().prepare_run()
    run.submit()
    pid = sshjob_host.home / "pid"
    while not (pid.exists() and pid.read_text().strip()):
        pass
    os.kill(int(pid.read_text()), 0)
    note(pid.read_text().strip())


def test_a_program_that_the_test_starts_uses_the_host(sshjob_host):
    (sshjob_host.home / "books").mkdir()
    (sshjob_host.home / "books" / "moby").write_text("call me Ishmael")
    luigi = [sys.executable, "-m", "luigi", "--module", "pipeline", "Count", "--local-scheduler"]
    subprocess.run(luigi, check=True, env={**os.environ, "PYTHONPATH": ".:" + os.environ.get("PYTHONPATH", "")})
    assert (sshjob_host.home / "books" / "moby.count").read_text().strip() == "3"


def settings():
    return {name: dict(luigi.configuration.get_config().items(name)) for name in ("sshjob", "sshjob.gpu1")}


@pytest.fixture
def unchanged():
    before = settings(), dict(os.environ)
    yield
    # pytest has its own variable
    os.environ["PYTEST_CURRENT_TEST"] = before[1]["PYTEST_CURRENT_TEST"]
    assert (settings(), dict(os.environ)) == before


@both
def test_the_settings_are_those_of_the_host_and_then_as_before(unchanged, sshjob_host):
    assert config.get_settings("gpu1").transport == sshjob_host.transport
    assert config.get_settings("gpu1").time_limit == 77
    RemoteContext("gpu1").check_output(["true"])


def test_the_recorder(unchanged, sshjob_recorder):
    sshjob_recorder.write(Count, "3\\n")
    assert sshjob_recorder.run(Sum()).scheduling_succeeded
    assert [(job.task.task_family, job.host, job.launcher) for job in sshjob_recorder.jobs] == [
        ("Count", "gpu1", "nohup"), ("Sum", "gpu1", "slurm"),
    ]
    assert RemoteTarget("books/moby.count", "gpu1").open().read() == "3\\n"
    assert Sum().complete()


def test_the_pipeline_is_not_complete_in_another_test(sshjob_recorder):
    assert not Sum().complete()
"""


def run_pytest(folder: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "pytest_luigi_sshjob", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTEST_ADDOPTS": "",
            # those of this environment need a second
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "HOME": str(folder / "home"),
            **environment,
        },
    )
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    """A pipeline with tests, and a user with settings and keys."""
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "config").write_text("Host gpu1\n  HostName gpu1.invalid\n")
    (tmp_path / "luigi.cfg").write_text(
        "[sshjob]\nbase_dir=/scratch/me\nssh_config=~/.ssh/other\n[sshjob.gpu1]\ntransport=paramiko\ntime_limit=77\n"
    )
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "test_pipeline.py").write_text(TESTS)
    return tmp_path


@pytest.mark.core
def test_the_fixtures_work_and_leave_nothing(project):
    output = run_pytest(project)
    assert " 9 passed" in output, output
    ssh_home, local_home, *pids = (project / "notes").read_text().split()
    assert not Path(ssh_home).parent.exists()
    assert not Path(local_home).parent.exists()
    assert len(pids) == 2
    assert not any(processes.alive(int(pid)) for pid in pids)
    left = [each.args for each in processes.running() if each.names(ssh_home) or each.names(local_home)]
    assert left == []
    assert [str(path.relative_to(project / "home")) for path in (project / "home").rglob("*")] == [
        ".ssh",
        ".ssh/config",
    ]


def test_the_examples_of_the_page_work(tmp_path):
    for block in blocks("python", "testing.rst"):
        with (tmp_path / block.caption).open("a") as file:
            file.write(block.text)
    output = run_pytest(tmp_path)
    assert " 7 passed" in output, output
    with_unittest = [sys.executable, "-m", "unittest", "test_with_unittest"]
    done = subprocess.run(with_unittest, cwd=tmp_path, capture_output=True, text=True)
    assert "Ran 2 tests" in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_without_sshd_a_test_is_skipped_with_the_reason_and_the_option_chooses_the_local_transport(project):
    (project / "conftest.py").write_text(
        "import luigi_sshjob.testing.sshd\nluigi_sshjob.testing.sshd.DIRECTORIES = ''\n"
    )
    (project / "test_pipeline.py").write_text("def test_something(sshjob_host):\n    print(sshjob_host.transport)\n")
    output = run_pytest(project, PATH="/nonexistent")
    assert "1 skipped" in output
    assert "there is no sshd on this machine (Debian: package openssh-server)" in output
    assert "1 passed" in run_pytest(project, "--sshjob-transport", "local")


def test_a_run_without_the_fixtures_does_not_import_luigi(project):
    (project / "test_pipeline.py").write_text(
        "import sys\ndef test_something():\n    assert 'pytest_luigi_sshjob' in sys.modules\n"
        "    assert not {'luigi', 'luigi_sshjob'} & set(sys.modules)\n"
    )
    output = run_pytest(project)
    assert "1 passed" in output, output


def test_pytest_finds_the_plugin_by_its_entry_point():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    # the name of the module, so that -p with that name is the same plugin
    assert setup["options.entry_points"]["pytest11"].split() == ["pytest_luigi_sshjob", "=", "pytest_luigi_sshjob"]
    assert setup["options"]["py_modules"] == "pytest_luigi_sshjob"
