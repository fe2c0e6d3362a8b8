"""The setup of a job, under each shell: what the command finds, and how it ends if the command is not reached."""

from __future__ import annotations

import pytest

from luigi_sshjob.jobs.setup import Setup

from support import processes

NOT_REACHED = "the setup did not reach the command: its exit code is {}"


def log(far_side, directory: str) -> str:
    return far_side.host.run("cat", f"{directory}/log")


def run(far_side, command: str, lines: str, **options):
    directory = far_side.submit(command, setup=Setup(lines, **options.pop("setup", {})), **options)
    return far_side.supervise(directory), log(far_side, directory)


class Direct:
    """Runs run_setup.sh with the shell under test, without a supervisor, which would take bash."""

    def __init__(self, far_side):
        self.far_side, self.folder = far_side, far_side.base
        far_side.submit("true")

    def run(self, command: str, lines: str = "", modules: str = "", login: bool = False, **environment: str):
        """Return what was printed, and whether the command was noted as reached."""
        host, folder = self.far_side.host, self.folder
        for name, text in {"command": command, "lines": lines, "mark": "pending", "printed": ""}.items():
            host.run("dd", f"of={folder}/{name}", input=text)
        # which reads them on its own, but not with --posix
        shell = ["bash", "-l"] if login and "bash" in self.far_side.argv else self.far_side.argv
        files = [f"{folder}/lines", f"{folder}/mark", "login" if login else "plain"]
        variables = [f"{name}={value}" for name, value in environment.items()]
        argv = ["env", *variables, *shell, f"{self.far_side.library}/run_setup.sh", *files, modules, folder]
        argv += ["/bin/sh", "-e", f"{folder}/command"]
        host.run("sh", "-c", f'"$@" </dev/null >{folder}/printed 2>&1', "sh", *argv, check=False)
        reached = host.run("sh", "-c", f"test -s {folder}/mark || echo yes; test ! -s {folder}/mark || echo no")
        return host.run("cat", f"{folder}/printed"), reached == "yes\n"


@pytest.fixture
def direct(far_side):
    return Direct(far_side)


def test_a_command_starts_where_the_lines_have_left_it_in_each_shell(direct):
    lines = f"""
    export FRUIT="$BASE pears"
    mkdir -p {direct.folder}/below
    cd {direct.folder}/below
    umask 027
    echo $#
    set -- some words
    set -efu -C
    IFS=/
    hidden=yes
    """
    command = 'echo "$FRUIT, $# ${hidden-none} $(umask) $PWD $0"; false; echo never'
    printed, reached = direct.run(command, lines, BASE="apples &")
    assert printed == f"0\napples & pears, 0 none 0027 {direct.folder}/below {direct.folder}/command\n"
    assert reached


@pytest.mark.parametrize("lines", ["false", "exit 0", "exec true", ". /no/such/file", "if true; then"])
def test_a_setup_that_ends_early_is_noted_as_pending_in_each_shell(direct, lines):
    printed, reached = direct.run("echo never", f"echo begun\n{lines}\necho never")
    assert ("never" in printed, reached) == (False, False)


def test_startup_files_neither_end_the_job_nor_change_how_it_starts(direct):
    for name in (".profile", ".bash_profile"):
        text = "export SITE=lab\necho welcome\nset -fu\nIFS=x\ncd /\nfalse\n"
        direct.far_side.host.run("dd", f"of={direct.folder}/{name}", input=text)
    command, lines = (
        "echo $SITE $PWD",
        'test "$SITE" = lab; words="a b"; for word in $words; do echo $word $PWD mar[k] $unset; done',
    )
    home = direct.folder
    printed, reached = direct.run(command, lines, login=True, HOME=home)
    assert (printed, reached) == (f"welcome\na {home} mark\nb {home} mark\nlab {home}\n", True)
    assert direct.run("echo ${SITE-none}", HOME=home) == ("none\n", True)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("echo begun\necho 'no licence' >&2; false\necho never", 1),
        ("echo begun\n(exit 37) | true\n(exit 37)\necho never", 37),
        ("echo begun\nexit 0", 0),
        ("echo begun\nexit 3", 3),
        ("echo begun\nexec true", 0),
        ("echo begun\nno_such_program", 127),
        ("echo begun\necho $unset_variable; set -u; echo $unset_variable", None),
        ("echo begun\n. /no/such/activate", None),
    ],
)
@pytest.mark.parametrize("timer", ["timed", "untimed"])
def test_a_setup_that_does_not_reach_the_command_is_a_failure_whatever_its_exit_code(far_side, lines, code, timer):
    directory = far_side.submit("touch reached", setup=Setup(lines), working_directory=far_side.base)
    if timer == "untimed":
        far_side.lose_timer()
    outcome = far_side.supervise(directory)
    assert outcome.state == "failed"
    assert outcome.reason == NOT_REACHED.format(outcome.exit_code)
    assert outcome.exit_code == code or (code is None and outcome.exit_code > 0)
    assert log(far_side, directory).startswith("begun\n")
    assert "never" not in log(far_side, directory)
    assert "reached" not in far_side.host.run("ls", far_side.base)


def test_a_syntax_error_in_the_setup_is_a_failure(far_side):
    outcome, text = run(far_side, "echo never", "if true; then")
    assert (outcome.state, outcome.reason) == ("failed", NOT_REACHED.format(outcome.exit_code))
    assert "never" not in text
    assert text


def test_an_exit_code_of_the_command_itself_is_not_taken_for_one_of_the_setup(far_side):
    outcome, text = run(far_side, "echo reached; exit 3", "export A=1")
    assert (outcome.state, outcome.exit_code, outcome.reason, text) == ("failed", 3, "", "reached\n")
    far_side.host.run("rm", "-r", f"{far_side.base}/jobs")
    outcome, text = run(far_side, "#!/no/such/program\n", "export A=1")
    assert (outcome.exit_code, outcome.reason) == (127, "")


def test_a_success_exit_code_of_the_setup_is_no_success(far_side):
    outcome, _ = run(far_side, "true", "exit 3", success_exit_codes=(3,))
    assert (outcome.state, outcome.reason) == ("failed", NOT_REACHED.format(3))


def test_a_setup_that_a_signal_ends_is_killed(far_side):
    outcome, _ = run(far_side, "true", "kill -9 $$")
    assert (outcome.state, outcome.signal, outcome.reason) == ("killed", "KILL", NOT_REACHED.format(137))


def test_a_time_limit_ends_the_setup(far_side):
    outcome, text = run(far_side, "echo never", "echo begun; sleep 421 & sleep 422", time_limit=1, kill_grace=1)
    assert (outcome.state, outcome.reason.rpartition("; ")[2]) == ("timed_out", "the setup had not reached the command")
    assert text.startswith("begun\n")
    assert not far_side.running("sleep 42")


def test_a_setup_whose_mark_cannot_be_written_is_not_started(far_side):
    directory = far_side.submit("echo never", setup=Setup("echo never"))
    # refuses to be written also by root
    far_side.host.run("mkdir", "-p", f"{directory}/run/setup")
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code) == ("failed", 126)
    assert outcome.reason == f"the setup was not started: cannot write its mark to {directory}/run: Is a directory"
    assert "never" not in log(far_side, directory)


def test_a_command_is_not_started_if_that_cannot_be_noted(far_side):
    outcome, text = run(far_side, "echo never", 'rm -r "$SSHJOB_DIR/run"; echo begun')
    assert (outcome.state, outcome.reason) == ("failed", NOT_REACHED.format(outcome.exit_code))
    assert text.startswith("begun\n")
    assert "never" not in text


@pytest.mark.parametrize("lines", ["true", "exit 0"])
def test_whether_the_command_was_reached_is_known_also_if_its_files_were_deleted(far_side, lines):
    remove = 'rm -r "$SSHJOB_DIR/run"'
    outcome, _ = run(far_side, remove, lines if lines == "true" else f"{remove}; {lines}")
    reason = "" if lines == "true" else NOT_REACHED.format(0)
    assert (outcome.succeeded, outcome.reason) == (lines == "true", reason)


def test_an_attempt_without_its_file_of_lines_does_not_run_the_command(far_side):
    directory = far_side.submit("echo never", setup=Setup("true"))
    far_side.host.run("rm", f"{directory}/setup")
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.reason) == ("failed", NOT_REACHED.format(outcome.exit_code))
    assert "never" not in log(far_side, directory)


def test_a_job_without_a_setup_has_neither_its_files_nor_another_process(far_side):
    directory = far_side.submit("sleep 423")
    far_side.start(directory)
    processes.wait_until(lambda: far_side.running("sleep 423"), "the command")
    assert not far_side.running("run_setup.sh")
    assert "setup" not in far_side.host.run("ls", directory, f"{directory}/run")
    assert "setup" not in far_side.host.run("cat", f"{directory}/spec")
    far_side.host.run("kill", *map(str, far_side.running("sleep 423")))
    far_side.outcome(directory)


@pytest.fixture
def module_files(direct):
    """A directory of modules: one that loads, one that refuses, and another name of the first."""
    folder = f"{direct.folder}/modules"
    files = {"good/1": "setenv FRUIT apple\nprepend-path PATH /opt/fruit\n", "bad/1": "puts stderr oops\nexit 1\n"}
    for name, text in {**files, ".modulerc": "module-alias nice good/1\n"}.items():
        write = 'mkdir -p "${1%/*}" && cat >"$1"'
        direct.far_side.host.run("sh", "-c", write, "sh", f"{folder}/{name}", input=f"#%Module1.0\n{text}")
    return folder


@pytest.mark.needs_docker
@pytest.mark.needs("modules")
@pytest.mark.parametrize("statuses", [True, False], ids=["statuses", "words only"])
def test_modules_are_loaded_in_order_or_fail_in_each_shell(direct, module_files, statuses):
    """Before version 4 the module command of environment modules had no exit status."""
    wrapped = "" if statuses else 'module() { _module_raw "$@" || true; }\n'
    direct.far_side.host.run("dd", f"of={direct.folder}/.profile", input=f". /etc/profile\n{wrapped}")
    places = {"MODULEPATH": module_files, "HOME": direct.folder}

    def load(names, lines=""):
        return direct.run('echo "$FRUIT ${PATH%%:*}"', lines, names, login=True, **places)

    assert load("good") == ("apple /opt/fruit\n", True)
    # another name of a loaded module is no failure, if there is a way to know
    names = "good nice good/1" if statuses else "good good/1"
    assert load(names, 'FRUIT="$FRUIT pie"') == ("apple pie /opt/fruit\n", True)
    for wrong in ("bad", "none", "good none", "bad/1"):
        printed, reached = load(wrong, "echo never")
        assert ("never" in printed, reached) == (False, False)
        assert printed.endswith(f"luigi_sshjob: module load {wrong.split()[-1]} failed, or loaded nothing\n")
        assert printed.count("\n") > 1, printed
