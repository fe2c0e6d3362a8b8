"""The setup of tasks on a real host: lines, modules and a login shell before the command, and their failures."""

from __future__ import annotations

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.errors import ConfigurationError, JobFailed, JobMismatch
from luigi_sshjob.jobs.setup import Setup

from support.settings import configure

# as conda's: functions that are defined by one file, and a prefix whose script sets PATH
CONDA = """
conda() {
  [ "$1" = activate ] && [ -d "$CONDA_ROOT/envs/$2" ] || { echo "EnvironmentNameNotFound: $2" >&2; return 1; }
  . "$CONDA_ROOT/envs/$2/bin/activate"
}
"""
ACTIVATE = """
export VIRTUAL_ENV="${CONDA_ROOT}/envs/analysis"
_OLD_PATH="$PATH"
PATH="$VIRTUAL_ENV/bin:$PATH"
export PATH
deactivate() { PATH="$_OLD_PATH"; }
"""


class Prepared(RemoteJobTask):
    """A task whose parameters are its setup."""

    host = luigi.Parameter()
    setup = luigi.OptionalParameter(default=None)
    modules = luigi.OptionalParameter(default=None)
    login_shell = luigi.BoolParameter(default=None)
    text = luigi.Parameter(default="true")
    base_dir = luigi.Parameter()

    def command(self):
        return self.text


@pytest.fixture
def made(host, folder):
    """Returns a function that makes a task whose jobs are in a directory with a hostile name."""
    return lambda **options: Prepared(host=host.alias, base_dir=f'{folder}/it\'s "$(x)" 日本', **options)


def log_of(host, task) -> str:
    return host.run("cat", task.output()["log"].path)


def failure(task) -> JobFailed:
    with pytest.raises(JobFailed) as caught:
        task.run()
    return caught.value


@pytest.mark.core
def test_the_lines_of_the_host_come_before_the_command_of_each_task(host, made):
    configure(setup="export FRUIT=apples\ncd /usr\numask 027")
    task = made(text="echo $FRUIT $PWD $(umask)")
    task.run()
    assert log_of(host, task) == "apples /usr 0027\n"
    # a task has its own, or none
    for setup, expected in (("export FRUIT=pears", "pears\n"), ("", "none\n")):
        task = made(setup=setup, text="echo ${FRUIT-none}")
        task.run()
        assert log_of(host, task) == expected


@pytest.mark.core
@pytest.mark.parametrize("command", ["#!/bin/sh -e\n", "#!/usr/bin/env analyse\n"], ids=["sh", "env"])
def test_an_activated_prefix_is_that_of_the_command_whatever_its_interpreter(host, made, folder, command):
    files = {
        "conda.sh": CONDA,
        "envs/analysis/bin/activate": ACTIVATE,
        "envs/analysis/bin/analyse": '#!/bin/sh\necho "analysed in $VIRTUAL_ENV"\n',
    }
    for name, text in files.items():
        write = 'mkdir -p "${1%/*}" && cat >"$1" && chmod +x "$1"'
        host.run("sh", "-c", write, "sh", f"{folder}/{name}", input=text)
    lines = f"CONDA_ROOT={folder}\n. {folder}/conda.sh\nconda activate "
    task = made(setup=f"{lines}analysis", text=f"{command}analyse\n")
    task.run()
    assert log_of(host, task) == f"analysed in {folder}/envs/analysis\n"
    error = failure(made(setup=f"{lines}other\necho never"))
    assert "EnvironmentNameNotFound: other" in error.problem
    assert "never" not in error.problem


@pytest.mark.needs("python")
def test_a_python_command_sees_what_the_setup_exports(host, made):
    text = "#!/usr/bin/env python3\nimport os\nprint(os.environ['FRUIT'], os.getcwd(), os.environ.get('HIDDEN'))\n"
    task = made(setup="export FRUIT=apples\nHIDDEN=1\ncd /usr", text=text)
    task.run()
    assert log_of(host, task) == "apples /usr None\n"


@pytest.mark.needs("bash")
def test_a_setup_may_use_bash(host, made):
    lines = "names=(apples pears)\nif [[ ${names[1]} == p* ]]; then export FRUIT=${names[1]}; fi\nsource /dev/null"
    task = made(setup=lines, text="echo $FRUIT")
    task.run()
    assert log_of(host, task) == "pears\n"
    error = failure(made(setup="true\ntest 1 = 2"))
    assert "luigi_sshjob: the setup failed at " in error.problem
    assert "/setup:2" in error.problem


@pytest.mark.core
def test_a_setup_that_fails_is_an_error_with_its_last_output(made):
    error = failure(made(setup="echo loading\necho 'no licence' >&2\nexit 3"))
    assert error.outcome.exit_code == 3
    assert error.problem.splitlines()[:4] == [
        "it failed with exit code 3: the setup did not reach the command: its exit code is 3",
        "The last lines of its log:",
        "  | loading",
        "  | no licence",
    ]
    task = made(setup="exit 0")
    assert "failed with exit code 0: the setup did not reach the command" in failure(task).problem
    assert not task.complete()


@pytest.mark.core
def test_a_login_shell_reads_the_startup_files_first(bench, folder):
    for name in (".profile", ".bash_profile"):
        bench.host.run("dd", f"of={folder}/{name}", input="echo welcome\nexport SITE=lab\ncd /\nfalse\n")
    options = {"environment": {"HOME": folder}, "working_directory": folder}
    setup = Setup('export SITE="the $SITE in $PWD"', login_shell=True)
    outcome, log = bench.run('#!/bin/sh -e\necho "$SITE"', setup=setup, **options)
    assert (outcome.state, log.decode().endswith(f"welcome\nthe lab in {folder}\n")) == ("succeeded", True)
    outcome, log = bench.run('echo "${SITE-none}"', setup=Setup("true"), **options)
    assert (outcome.state, log) == ("succeeded", b"none\n")


@pytest.mark.core
def test_a_setup_is_ended_by_its_time_limit_and_can_be_cancelled(bench):
    outcome, log = bench.run("echo never", setup=Setup("echo begun; sleep 431"), time_limit=1, kill_grace=1)
    assert (outcome.state, log) == ("timed_out", b"begun\n")
    assert outcome.reason.endswith("the setup had not reached the command")
    job = bench.submit("echo never", setup=Setup("sleep 432")).job
    bench.wait_until_running("sleep 432")
    outcome = bench.monitor.cancel(job, grace=1)
    assert (outcome.state, "never" in bench.client.status(job, 0).log.decode()) == ("cancelled", False)
    assert not bench.running("sleep 43")


def test_secrets_are_set_before_the_setup_and_are_in_no_process_listing(bench):
    lines = f'export TWICE="$SECRET $SECRET"; {bench.until_released()}'
    job = bench.submit('echo "$TWICE"', setup=Setup(lines, login_shell=True), environment={"SECRET": "nobody-0816"}).job
    bench.wait_until_running("run_setup.sh")
    assert not bench.running("nobody-0816")
    files = bench.host.run("sh", "-c", f"cd {job.directory} && cat environment spec setup")
    assert "nobody-0816" not in files
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded
    assert bench.client.status(job, 0).log.decode().endswith("nobody-0816 nobody-0816\n")


def test_a_running_job_with_another_setup_is_a_mismatch_and_with_the_same_is_attached_to(bench):
    first = bench.submit(bench.until_released(), setup=Setup("true"))
    again = bench.submit(bench.until_released(), setup=Setup("true"))
    assert (again.attached, again.job) == (True, first.job)
    for setup in (Setup("true "), Setup(), Setup("true", login_shell=True), Setup("true", ("gcc",))):
        with pytest.raises(JobMismatch, match="another environment, setup, working directory or outputs"):
            bench.submit(bench.until_released(), setup=setup)
    bench.release()
    assert bench.monitor.wait(first.job, lambda _: None).succeeded


@pytest.mark.needs_docker
@pytest.mark.needs("modules")
def test_modules_are_loaded_before_the_lines_and_a_missing_one_is_a_failure(host, made, folder):
    module = "#%Module1.0\nsetenv FRUIT apple\n"
    host.run("sh", "-c", f"mkdir -p {folder}/modules/fruit && cat >{folder}/modules/fruit/1", input=module)
    configure(modules="fruit/1")

    class Loading(Prepared):
        environment = {"MODULEPATH": f"{folder}/modules"}

    def make(**options):
        return Loading(host=host.alias, base_dir=f"{folder}/jobs", **options)

    task = make(setup='export FRUIT="$FRUIT pie"', text="#!/bin/sh -e\necho $FRUIT")
    task.run()
    assert log_of(host, task) == "apple pie\n"
    error = failure(make(modules="fruit, vegetable", text="echo never"))
    assert "the setup did not reach the command" in error.problem
    assert "'vegetable'" in error.problem
    assert "never" not in error.problem


@pytest.mark.needs_docker
def test_modules_on_a_host_without_them_are_a_failure_with_the_reason(special_bench):
    bench = special_bench()
    bench.host.run("sh", "-c", "rm -rf /etc/profile.d/* /usr/share/modules", user="root")
    outcome, log = bench.run("echo never", setup=Setup(modules=("gcc/13",)))
    assert (outcome.state, outcome.exit_code) == ("failed", 127)
    assert log == b"luigi_sshjob: cannot load modules: this host has no command 'module'\n"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"setup": 3}, "setup must be a str, not int"),
        ({"setup": ["module load x"]}, "setup must be a str, not list"),
        ({"setup": "a\0b"}, "NUL byte or a carriage return"),
        ({"setup": "token=hunter2\r\n"}, "^(?s:(?!.*hunter2).*a carriage return)"),
        ({"modules": "-f"}, "modules must be names of environment modules: '-f'"),
        ({"modules": ["gcc 13"]}, "modules must be names"),
        ({"modules": "$(x)"}, "modules must be names"),
        ({"modules": 3}, "modules must be names"),
        ({"modules": [None]}, "modules must be names"),
        ({"login_shell": "maybe"}, "login_shell is 'maybe'"),
    ],
)
def test_an_invalid_setup_is_an_error_before_anything_is_sent(luigi_cfg, attributes, message):
    class Invalid(RemoteJobTask):
        host = "box"

        def command(self):
            return "true"

    for name, value in attributes.items():
        setattr(Invalid, name, value)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Invalid().prepare_run()
    assert (caught.value.host, bool(caught.value.next_step)) == ("box", True)


@pytest.mark.parametrize("modules", ["gcc/13 a", " gcc/13,a\n", "gcc/13, a", ["gcc/13", "a"], ("gcc/13", "a")])
def test_modules_are_a_text_or_a_list(modules):
    assert Setup.checked("", modules, login_shell=False).modules == ("gcc/13", "a")
    assert not Setup.checked(" \n", "", login_shell=False)
