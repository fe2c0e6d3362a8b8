"""What a host or a job writes cannot act on the terminal of the person who looks at it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from luigi_sshjob.cli.main import main

_ACTIVE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
# as the text of a shell: a title, a cleared screen, a reversed name, markup of rich, a byte that is not UTF-8
_HOSTILE = r"\033]0;owned\007\033[2J\342\200\256gnp[red]x[/red][/]\377\r"


@pytest.fixture
def hostile_job(bench):
    """A job that writes such text as its log and progress, and fails; another attempt has it in its name."""
    command = f'printf "{_HOSTILE}end\\n"; printf "{_HOSTILE}" >"$SSHJOB_PROGRESS"; exit 3'
    job = bench.submit(command).job
    bench.monitor.wait(job, lambda status: None)
    name = _HOSTILE.replace("/", "")
    bench.host.run("sh", "-c", f'cp -r "$1" "$1$(printf "{name}")"', "sh", os.path.dirname(job.directory))
    return job


def _on_terminal(*words: str) -> str:
    """What a command shows on a terminal."""
    terminal, process_side = pty.openpty()
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    argv = [sys.executable, "-m", "luigi_sshjob.cli", *words]
    with subprocess.Popen(
        argv, stdin=process_side, stdout=process_side, stderr=process_side, env=environment
    ) as process:
        os.close(process_side)
        shown = b""
        try:
            while data := os.read(terminal, 1 << 16):
                shown += data
        except OSError:  # Linux, after the last process has closed its side
            pass
    os.close(terminal)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("words", [("ls", "-a"), ("show",), ("logs",), ("gc", "--dry-run", "--older-than", "0s")])
def test_text_of_a_host_does_not_act_on_a_terminal(bench, hostile_job, words):
    job = [hostile_job.id] if words[0] in ("show", "logs") else []
    shown = _on_terminal(words[0], "--base-dir", bench.base, *words[1:], bench.host.alias, *job)
    assert not _ACTIVE.search(re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r", ""))
    if words[0] != "gc":
        assert r"\x1b]0;owned\x07" in shown
        assert "[red]x[/red][/]" in shown


def test_logs_to_a_file_are_exact(bench, hostile_job, capfdbinary):
    assert main(["logs", "--base-dir", bench.base, bench.host.alias, hostile_job.id]) == 0
    assert capfdbinary.readouterr().out == b"\x1b]0;owned\x07\x1b[2J\xe2\x80\xaegnp[red]x[/red][/]\xff\rend\n"
