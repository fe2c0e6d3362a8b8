"""Why a session of the account did not run its command: found out in another session."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import subprocess
import time

from luigi_sshjob.errors import LoginRefused, SSHJobError
from luigi_sshjob.ssh.transports.base import Process, Transport
from luigi_sshjob.ssh.transports.error_mapping import session_error

_TIMEOUT = 5.0  # seconds; this session must not wait as long as the one that has failed
_SEEN = 1 << 16  # bytes
_RC_FILES = "in the rc files of the account (~/.bashrc, ~/.zshenv, /etc/bash.bashrc, …)"


def find_rc_problem(transport: Transport) -> SSHJobError | None:
    """The error for what rc files do with the standard input and the shell of a session, if they do.

    Also for a session that ends before its command. None if the session runs its command, or does not respond.
    """
    ran, read = secrets.token_hex(8), secrets.token_hex(8)
    timeout = min(_TIMEOUT, transport.settings.request_timeout)
    with contextlib.suppress(SSHJobError, subprocess.TimeoutExpired):
        process = transport.popen(
            [f"echo {ran}; exec cat"],
            deadline=time.monotonic() + timeout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, errors = (text.decode("utf-8", "replace") for text in _communicate(process, read, timeout))
        if transport.process_error(process, errors) is None:
            return _judge(transport, output, errors, ran, read, process.returncode)
    return None


def _communicate(process: Process, word: str, timeout: float) -> tuple[bytes, bytes]:
    """Sends the word and reads both outputs, without the rest of a long one. Raises `TimeoutExpired`."""
    deadline = time.monotonic() + timeout
    texts = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    pipes = list(texts)
    poller = select.poll()
    for pipe in pipes:
        poller.register(pipe, select.POLLIN)
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"echo {word}\n".encode())
            process.stdin.close()
        ended: set[int] = set()
        while len(ended) < len(pipes) and time.monotonic() < deadline:
            for pipe, _ in poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                data = os.read(pipe, 1 << 16)
                texts[pipe] = (texts[pipe] + data)[:_SEEN]
                if not data:
                    ended.add(pipe)
                    poller.unregister(pipe)
        process.wait(max(0.0, deadline - time.monotonic()))
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdout.close()
        process.stderr.close()
    return texts[pipes[0]], texts[pipes[1]]


def _judge(transport: Transport, output: str, errors: str, ran: str, read: str, status: int) -> SSHJobError | None:
    host, doing = str(transport.destination), "opening a session"
    if ran in output:
        if f"echo {read}" in output:
            return None
        return LoginRefused(
            "an rc file of the account reads the standard input of sessions, which is meant for their commands",
            host=host,
            doing=doing,
            next_step=f"{_RC_FILES}, give what reads it </dev/null, or run it in interactive shells only",
            code="rc-reads-input",
        )
    if read in output:
        return LoginRefused(
            "an rc file of the account starts another program, so that sessions do not run their commands",
            host=host,
            doing=doing,
            next_step=f"{_RC_FILES}, run exec in interactive shells only",
            code="rc-starts-a-program",
        )
    return early_end(transport, output + errors, status)


def early_end(transport: Transport, output: str, status: int) -> SSHJobError:
    """The error for a session that ended before its command, with what it printed."""
    known = session_error(output, transport.destination, transport.settings.ssh_config)
    return known or LoginRefused(
        f"the account does not run /bin/sh: its session exited with status {status}: "
        f"{' '.join(output.split()) or 'no output'}",
        host=str(transport.destination),
        doing="opening a session",
        next_step=f"look for exit and exec {_RC_FILES}, and check its login shell, and ForceCommand in the server's "
        "sshd_config",
        code="no-shell",
    )
