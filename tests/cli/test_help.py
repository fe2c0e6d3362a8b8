"""Help, versions, and completion in shells."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from importlib import metadata

import pytest

import luigi_sshjob
from luigi_sshjob.cli.commands.completion import SHELLS
from luigi_sshjob.cli.main import main
from luigi_sshjob.cli.parser import create_parser
from luigi_sshjob.jobs.recent import JobLocation, remember

from support.luigi_command import TESTS
from support.screen import Screen


def subparsers() -> dict[str, argparse.ArgumentParser]:
    parser = create_parser()
    (action,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {"": parser, **action.choices}


@pytest.mark.parametrize("name", subparsers())
def test_the_help_of_each_command_fits_80_columns_and_has_valid_examples(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([*filter(None, [name]), "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert max(map(len, printed.splitlines())) <= 80
    examples = [line.strip() for line in printed.partition("examples:\n")[2].partition("\n\n")[0].splitlines()]
    assert examples
    for example in examples:
        words = shlex.split(example.removeprefix('eval "$(').partition(')"')[0], comments=True)
        assert words[0] == "luigi-sshjob"
        assert name in ("", words[1])
        for stop in ("|", ">log.txt"):
            words = words[: words.index(stop)] if stop in words else words
        if words[1] != "run":
            create_parser().parse_args(words[1:])


def test_the_notes_of_a_command_are_those_of_its_words():
    for name, parser in subparsers().items():
        words = {action.metavar for action in parser._actions} if name else {"HOST", "JOB"}
        assert ("\nHOST is " in parser.format_help()) == ("HOST" in words)
        assert ("\nJOB is " in parser.format_help()) == ("JOB" in words)
        assert ("may be left out" in parser.format_help()) == ("JOB" in words)
    assert "[retcode]" in create_parser().format_help()


def test_run_help_shows_its_own_option_and_how_to_see_luigis(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    printed = capsys.readouterr().out
    assert "--remote-jobs N" in printed
    assert "luigi-sshjob run --help-all" in printed
    # of a task: from Luigi
    module = [sys.executable, "-m", "luigi_sshjob"]
    task = ["run", "--module", "support.sample_tasks", "Sleepers", "--help"]
    path = {**os.environ, "PYTHONPATH": str(TESTS)}
    printed = subprocess.run([*module, *task], capture_output=True, text=True, check=True, env=path).stdout
    assert "--seconds" in printed
    assert (
        "--scheduler-host"
        in subprocess.run([*module, "run", "--help-all"], capture_output=True, text=True, check=True).stdout
    )


def test_no_words_print_the_help_and_version_the_versions(capsys):
    assert main([]) == 2
    assert "\nexamples:\n" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--version"])
    versions = f"luigi-sshjob {luigi_sshjob.__version__} (Luigi {metadata.version('luigi')}, Python "
    assert capsys.readouterr().out.startswith(versions)


# a shell that reads no files of the person who runs the tests, and how it switches completion on
SHELL_COMMANDS = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "-i"]}
SWITCH_ON = {
    "bash": 'eval "$(luigi-sshjob completion bash)"',
    "zsh": 'autoload -Uz compinit && compinit -u -D && eval "$(luigi-sshjob completion zsh)"',
    "fish": "luigi-sshjob completion fish | source",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_and_recent_hosts_and_no_local_file_as_a_job(shell, luigi_cfg, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} on this machine")
    remember(JobLocation("box17", "~/jobs"))
    (tmp_path / "books.py").touch()
    program = tmp_path / "luigi-sshjob"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m luigi_sshjob "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    with Screen(*SHELL_COMMANDS[shell], environment=environment) as screen:
        screen.type(f"cd ~; {SWITCH_ON[shell]}; echo switched-''on\n")
        screen.wait_for("switched-on")
        screen.type("luigi-sshjob logo\t")
        screen.wait_for("luigi-sshjob logout")
        screen.type("bo\t")
        screen.wait_for("luigi-sshjob logout box17")
        # control-U removes the line
        screen.type("\x15luigi-sshjob kill b\t")
        screen.wait_for("luigi-sshjob kill box17")
        screen.type("\x15luigi-sshjob run --input b\t")
        screen.wait_for("luigi-sshjob run --input books.py")
