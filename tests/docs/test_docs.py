"""The examples and tables of README.rst and docs/ work and agree with the code."""

from __future__ import annotations

import configparser
import importlib
import inspect
import linecache
import re
import shlex
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import luigi
import luigi.configuration
import luigi.interface
import luigi.notifications
import luigi.retcodes
import luigi.scheduler
import luigi.worker
import matrix
import pytest

from luigi_sshjob import JobEvent, RemoteContext, RemoteJobTask, config
from luigi_sshjob.errors import ConnectionFailed
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.launchers.registry import SCHEDULERS, get_launcher
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.remote import scripts
from luigi_sshjob.retry import Retry
from luigi_sshjob.tasks.attributes import TaskAttributes, overridable

from support import processes
from support.doc_examples import PAGES, ROOT, Block, blocks, first_column, text
from support.hosts import free_port
from support.images import MACHINES
from support.luigi_command import ask
from support.settings import configure
from support.terminal import Terminal

# Commands that tests skip, because they install something, have their own tests, or take long.
NOT_TYPED = re.compile(r"python3 -m venv|\. \.venv/|pip |tox |examples/quickstart\.sh|(DOCKER_HOST=\S+ )?tests/run\.sh")

MESSAGES_OF_SSH = ("Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED")

SECTIONS_OF_LUIGI = {
    "core": luigi.interface.core,
    "scheduler": luigi.scheduler.scheduler,
    "worker": luigi.worker.worker,
    "retcode": luigi.retcodes.retcode,
    "email": luigi.notifications.email,
    "smtp": luigi.notifications.smtp,
}


@pytest.fixture
def myhost(host, luigi_cfg, tmp_path, monkeypatch) -> Iterator[str]:
    """The host of this run under the name used in the pages; removes the files of the examples."""
    ssh_config = tmp_path / "ssh_config"
    ssh_config.write_text(host.ssh_config.read_text().replace(f"Host {host.alias}\n", "Host myhost\n"))
    configure(ssh_config=ssh_config)
    monkeypatch.chdir(tmp_path)
    before = host.run("ls", "-A").split()
    yield "myhost"
    left = set(host.run("ls", "-A").split()) - set(before)
    if ".luigi-sshjob" in left:
        control = JobClient(RemoteContext("myhost").connection, "~/.luigi-sshjob", get_launcher("nohup"))
        monitor = JobMonitor(control, Retry(60), poll_interval=0.5, start_timeout=10)
        for job in filter(None, map(control.find, host.run("ls", ".luigi-sshjob/jobs").split())):
            if not control.status(job).state.final:
                monitor.cancel(job, grace=0)
    if left:
        host.run("rm", "-rf", *left)


@pytest.fixture
def terminal(myhost, luigi_cfg, tmp_path) -> Iterator[Terminal]:
    """A terminal with its own luigi.cfg, and a port for luigid: `.port`."""
    port = free_port()
    luigi_cfg.path.write_text(
        f"[core]\nlock_pid_dir={tmp_path}/lock\ndefault_scheduler_port={port}\n[retcode]\ntask_failed=30\n"
        f"[sshjob]\nssh_config={tmp_path}/ssh_config\nruntime_dir={luigi_cfg.runtime_dir}\n"
    )
    luigid = f"--address 127.0.0.1 --port {port} --state-path {tmp_path}/state"
    made = Terminal(tmp_path, tmp_path / "ssh_config", {"luigid": luigid})
    made.port = port
    yield made
    made.close()


def command_parser():
    """Return the parser that docs/cli.rst documents."""
    module, name = re.search(r"commands-of:: (\S+):(\S+)", text("cli.rst")).groups()
    return getattr(importlib.import_module(module), name)()


def subcommands() -> set[str]:
    parser = command_parser()
    return set().union(*(action.choices for action in parser._actions if isinstance(action.choices, dict)))


def story(terminal: Terminal, page: str, folder: Path, hooks: dict[str, Callable[[], object]]) -> dict[str, str]:
    """Follow a page: write its files, type its commands and run its Python code, in order.

    A hook is called before the command that begins with its name. Returns the output by command.
    """
    printed = {}
    for block in blocks(page=page):
        if block.language == "python" and block.caption:
            with (folder / block.caption).open("a") as file:
                file.write(block.text)
        elif block.language == "python":
            (folder / "typed.py").write_text(block.text)
            assert terminal.type("python typed.py")[0] == 0, terminal.text
        for command in block.commands if block.language == "console" else ():
            if NOT_TYPED.match(command):
                continue
            for beginning, hook in hooks.items():
                if command.startswith(beginning):
                    hook()
            status, printed[command] = terminal.type(command)
            assert status == 0, f"{command}: {status}\n{terminal.text}"
    return printed


@pytest.mark.timeout(180)
def test_the_tutorial_works_as_written(terminal, host, tmp_path):
    port = terminal.port

    def appears(text: str) -> Callable[[], object]:
        return lambda: processes.wait_until(lambda: text in terminal.text, text, 60)

    printed = story(
        terminal,
        "tutorial.rst",
        tmp_path,
        {
            "kill -9": appears("[Patience__99914b932b/1] 2"),
            "luigi-sshjob kill": appears("attached to Patience__99914b932b/1"),
            "luigi --module words CountWords --text more": lambda: processes.wait_until(
                lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "luigid", 60
            ),
        },
    )
    first = printed["luigi --module words CountWords --text words.txt --local-scheduler"]
    shown = next(block for block in blocks("none", "tutorial.rst") if "submitted" in block.text)
    key = re.search(r"submitted as (\S+)/1", first)[1]
    assert f"``{key}``" in text("tutorial.rst")
    for line in shown.text.splitlines():
        assert line in first
    assert printed["ssh myhost cat words.txt.count"].strip() == "3"
    assert re.search(r"Patience__99914b932b/1.*running", printed["luigi-sshjob ls myhost"])
    assert printed["luigi-sshjob logs myhost Patience__99914b932b"].startswith("1\n2\n")
    assert "was cancelled" in printed["luigi-sshjob kill myhost Patience__99914b932b"]
    appears("it was cancelled: by")()
    assert not any("seq 600" in args for _, args in host.processes())
    done = ask(port, "task_list", status="DONE", upstream_status="")
    assert [task["params"]["text"] for task in done.values()] == ["more.txt"]


def test_the_example_of_the_readme_runs_and_is_listed(terminal, host, tmp_path):
    host.run("mkdir", "books")
    host.run("sh", "-c", "echo call me Ishmael >books/moby-dick.txt")
    printed = story(terminal, "README.rst", tmp_path, {})
    assert host.run("cat", "books/moby-dick.count").strip() == "3"
    assert re.search(r"CountWords_moby_dick_\w+/1.*succeeded", printed["luigi-sshjob ls myhost"])


@pytest.mark.parametrize(
    "page", sorted({block.page for block in blocks("python")} - {"README.rst", "tutorial.rst", "testing.rst"}), ids=str
)
def test_python_examples_and_their_tasks_run(page, myhost, monkeypatch):
    module = types.ModuleType(f"page_{page.partition('.')[0]}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("getpass.getpass", lambda prompt: pytest.fail("an example prompts for a password"))
    for number, block in enumerate(blocks("python", page)):
        known = set(vars(module))
        # with a source that can be read, as that of a user's file
        name = f"{page}-{number}"
        monkeypatch.setitem(linecache.cache, name, (len(block.text), None, block.text.splitlines(True), name))
        exec(compile(block.text, name, "exec"), vars(module))
        for found in [found for name, found in vars(module).items() if name not in known]:
            if inspect.isclass(found) and issubclass(found, luigi.Task) and found.__module__ == module.__name__:
                try_task(found)


def try_task(declared: type[luigi.Task]) -> None:
    """Run a task that needs no parameters; only prepare those for a cluster."""
    if any(parameter._default is luigi.parameter._no_value for _, parameter in declared.get_params()):
        return
    task = declared()
    if getattr(task, "launcher", None) in SCHEDULERS:
        assert task.prepare_run().spec.launch.lines
        return
    assert luigi.build([task], local_scheduler=True)
    assert task.complete()


@pytest.mark.parametrize("block", blocks("ini"), ids=lambda block: block.page)
def test_configuration_examples_are_valid(block, luigi_cfg):
    written = configparser.ConfigParser()
    written.read_string(block.text)
    for section in written.sections():
        declared = SECTIONS_OF_LUIGI.get(section) or (config.sshjob if section.partition(".")[0] == "sshjob" else None)
        assert declared, f"unknown section: [{section}]"
        assert set(written[section]) <= {name for name, _ in declared.get_params()}
        for name, value in written[section].items():
            luigi.configuration.get_config().set(section, name, value)
        declared()
    config.get_settings()


@pytest.mark.parametrize(
    "block", [block for block in blocks() if block.caption == "~/.ssh/config"], ids=lambda block: block.page
)
def test_ssh_configuration_examples_are_valid(block: Block, tmp_path):
    file = tmp_path / "config"
    file.write_text(block.text)
    for name in re.findall(r"^Host (\S+)$", block.text, re.MULTILINE):
        ssh = subprocess.run(["ssh", "-G", "-F", file, name.replace("*", "x")], capture_output=True, text=True)
        assert ssh.returncode == 0, ssh.stderr


def test_a_bastion_with_a_second_factor_is_used_only_while_its_connection_is_open(host, luigi_cfg, tmp_path):
    """The recipe of hpc.rst: the pipeline logs in behind the bastion, never on it."""
    (recipe,) = (block.text for block in blocks("none", "hpc.rst") if "gate-if-open" in block.text)
    inside = 22 if host.kind == "docker" else host.port
    for name, port in (("gate", host.port), ("login.cluster", inside)):
        address = f"HostName 127.0.0.1\n    HostKeyAlias [127.0.0.1]:{host.port}\n    Port {port}"
        recipe = recipe.replace(f"HostName {name}.example.org", address)
    recipe = recipe.replace("User you", f"User {host.username}").replace("~/.ssh", str(luigi_cfg.runtime_dir))
    file = tmp_path / "config"
    file.write_text(recipe + host.ssh_config.read_text().replace(f"Host {host.alias}", "Host *"))
    configure(ssh_config=file)
    context = RemoteContext("login.cluster")

    before = host.accepted_logins()
    with pytest.raises(ConnectionFailed):
        context.check_output(["true"])
    assert host.accepted_logins() == before
    by_hand = ["ssh", "-F", str(file)]
    subprocess.run([*by_hand, "-fN", "gate"], stdin=subprocess.DEVNULL, check=True)
    assert context.check_output(["echo through"]) == b"through\n"
    assert host.accepted_logins() == before + 2
    context.close()
    subprocess.run([*by_hand, "-O", "exit", "gate"], stdin=subprocess.DEVNULL, check=True)


def typed() -> list[list[str]]:
    """Return the words of all commands in all pages."""
    return [shlex.split(command) for block in blocks("console") for command in block.commands]


@pytest.mark.parametrize("words", [words[1:] for words in typed() if words[0] == "luigi-sshjob"], ids=" ".join)
def test_luigi_sshjob_examples_are_valid(words):
    if words[0] != "run":
        command_parser().parse_args(words)
        return
    known = {f"--{name.replace('_', '-')}" for name, _ in luigi.interface.core.get_params()}
    assert {word for word in words if word.startswith("--")} <= known | {"--remote-jobs"}


def test_each_subcommand_in_a_page_exists():
    named = {name for path in PAGES for name in re.findall(r"``luigi-sshjob ([a-z]+)", path.read_text())}
    assert {"ls", "logs", "kill", "run"} <= named
    assert named <= subcommands()


def test_each_other_command_in_a_page_exists():
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    environments = {section.removeprefix("testenv:") for section in tox.sections()} | {"py"} | set(matrix.cells())
    for words in typed():
        program, *arguments = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        if "/" in program and not program.startswith("."):
            assert (ROOT / program).is_file()
        if arguments[:1] == ["all"]:
            assert set(arguments[1:]) <= environments
        elif program in ("tox", "tests/run.sh") and arguments:
            assert arguments[0] == "-e"
            assert set(arguments[1].split(",")) <= environments
        for name in (word for word in arguments if word.startswith("tests/")):
            assert (ROOT / name).exists()
    inline = {name for path in PAGES for name in re.findall(r"``tox -e ([a-z,]+)", path.read_text())}
    assert set(",".join(inline).split(",")) <= environments


def test_the_tables_of_names_are_complete():
    attributes = {**vars(TaskAttributes), **vars(RemoteJobTask)}
    declared = [name for name, value in attributes.items() if isinstance(value, overridable)]
    assert sorted(first_column("tasks.rst", "attribute")) == sorted(declared)
    assert first_column("tasks.rst", "event") == [name for name in vars(JobEvent) if not name.startswith("_")]
    assert sorted(first_column("job.rst", "file")) == sorted(scripts.layout().values())
    assert first_column("job.rst", "state") == [state.value for state in State]
    # an unknown outcome prints its name
    assert all(str(Outcome(name, 1)) != name for name in first_column("job.rst", "outcome"))
    far_side = "".join(path.read_text() for path in (ROOT / "luigi_sshjob" / "remote").rglob("*.sh"))
    for variable in first_column("tasks.rst", "variable"):
        assert variable.startswith(("SSHJOB_INPUT", "SSHJOB_OUTPUT", "SSHJOB_SLOT")) or f"{variable}=" in far_side
    named = re.findall(r"^``(\w+)``$", text("configuration.rst"), re.MULTILINE)
    assert named
    assert set(named) <= {name for name, _ in config.sshjob.get_params()}


def test_the_messages_in_troubleshooting_exist():
    symptoms = "".join(re.findall(r"^   \* - (.+(?:\n {7}.+)*)", text("troubleshooting.rst"), re.MULTILINE))
    package = ROOT / "luigi_sshjob"
    python, shell = ("".join(path.read_text() for path in package.rglob(f"*.{suffix}")) for suffix in ("py", "sh"))
    # without values, and with split strings joined; a shell function may be in braces on one line
    messages = re.sub(r"\{[^{}\n]*\}|\" f?\"|\"\s+f?\"", "", python) + re.sub(r"\$\{?\w+\}?", "", shell)
    parts = [part.strip(" ,:") for name in re.findall(r"``(.+?)``", symptoms) for part in name.split("…")]
    quoted = [part for part in parts if part.count(" ") > 2 and part not in MESSAGES_OF_SSH]
    assert len(quoted) >= 8
    assert [part for part in quoted if part not in messages] == []


def test_the_readme_agrees_with_the_pages():
    readme = text("README.rst")
    for page in re.findall(r"<(docs/\S+?)>`_", readme):
        assert (ROOT / page).is_file(), page
    rows = text("faults.rst").count("     - ``test_")
    assert f"has {rows} rows" in readme
    figures = readme.partition("Output of ``tox -e bench``")[2].partition("::\n\n")[2].partition("\n`All figures")[0]
    assert figures.count("\n") > 10
    assert all(line in text("costs.rst") for line in figures.splitlines())


def test_the_support_tables_have_each_cell_of_the_matrix():
    for name, summary in matrix.cells().items():
        assert name in matrix.GATES or f"   * - {summary}\n     - ``{name}``\n" in text("support.rst")
    hosts = [machine.summary for name, machine in MACHINES.items() if name != "clean"]
    assert all(re.search(rf"^{re.escape(summary)} +✔$", text("README.rst"), re.MULTILINE) for summary in hosts)
