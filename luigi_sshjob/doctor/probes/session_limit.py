"""How many sessions the server allows on the one connection, by opening more than that for a moment."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import select
import subprocess
import tempfile
import time
from typing import IO

from luigi_sshjob.doctor.facts import Sessions
from luigi_sshjob.errors import ConnectionFailed, SessionRefused
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.transports.base import DiagnosableTransport
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter


class _Trial:
    """A session that is open, or not."""

    def __init__(self, transport: DiagnosableTransport, session_limiter: SessionLimiter, deadline: float):
        self._transport = transport
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the session
        self._token = secrets.token_hex(16).encode()
        self._heard = b""
        self.ended = False
        try:
            self.process = transport.popen(
                [quoting.BOOTSTRAP],
                deadline=deadline,
                session_limiter=session_limiter,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                bufsize=0,
            )
        except BaseException:
            self._words.close()
            raise
        # refused already, perhaps; the line ends with its input, so with this process at the latest
        with contextlib.suppress(OSError):
            self.process.stdin.write(b"echo %s; IFS= read -r end\n" % self._token)

    @property
    def open(self) -> bool:
        """Whether the host has said so."""
        return self._token in self._heard

    def hear(self) -> None:
        """What there is to read."""
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        self._heard = (self._heard + data)[-(1 << 16) :]
        self.ended = not data

    def failure(self) -> Exception:
        """Why it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self._words.seek(0)
        said = self._words.read().decode("utf-8", "replace")
        error = self._transport.process_error(self.process, said)
        return error or OSError(f"one ended with status {self.process.returncode}: {said.strip() or 'no word'}")

    def hang_up(self) -> None:
        """Ends it; `close` sees that it has."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def close(self) -> None:
        """Nothing of it is left."""
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._words.close()


def count_sessions(transport: DiagnosableTransport, *, most: int, own: int, deadline: float) -> Sessions:
    """Opens sessions until there are `most`, of which `own` are this process's already, and closes them.

    No login is made: a session that the server refuses is none. `deadline` is `time.monotonic()`.
    """
    trials: list[_Trial] = []
    # the slots of all processes, so that none of them is refused a session meanwhile, and more of them
    limiter = SessionLimiter(transport.directory, transport.key, most, adaptive=False)
    held = limiter.in_use() if transport.shared else own
    try:
        # together: each waits for the account's rc files
        refused = _begin(transport, limiter, most - held, trials, deadline)
        _hear(trials, deadline)
        found = _counted(trials, refused, held, own)
        # who comes or goes meanwhile makes the count a guess
        if transport.shared and limiter.in_use() != held + sum(not trial.ended for trial in trials):
            return dataclasses.replace(found, refused=False, problem="other processes opened or closed some meanwhile")
        return found
    except ConnectionFailed as error:
        return Sessions(own, refused=False, problem=error.problem)
    finally:
        for trial in trials:
            trial.hang_up()
        for trial in trials:
            trial.close()


def _begin(
    transport: DiagnosableTransport, limiter: SessionLimiter, count: int, trials: list[_Trial], deadline: float
) -> bool:
    """As many as can be begun; whether the server has refused the last."""
    for _ in range(count):
        try:
            trials.append(_Trial(transport, limiter, deadline))
        except SessionRefused:
            return True
    return False


def _hear(trials: list[_Trial], deadline: float) -> None:
    """Until each is open or has ended."""
    waiting = {trial.process.stdout.fileno(): trial for trial in trials}
    # not select(), which knows no descriptor above 1023
    poller = select.poll()
    for fd in waiting:
        poller.register(fd, select.POLLIN)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poller.poll(left * 1000):
            waiting[fd].hear()
            if waiting[fd].open or waiting[fd].ended:
                poller.unregister(fd)
                del waiting[fd]


def _counted(trials: list[_Trial], refused: bool, held: int, own: int) -> Sessions:
    failures = [trial.failure() for trial in trials if trial.ended and not trial.open]
    silent = sum(not trial.ended and not trial.open for trial in trials)
    refused = refused or any(isinstance(failure, SessionRefused) for failure in failures)
    problem = next((str(failure) for failure in failures if not isinstance(failure, SessionRefused)), "")
    problem = f"{silent} did not open in time" if silent else problem
    return Sessions(
        open=held + sum(trial.open for trial in trials),
        refused=refused and not problem,
        others=held - own,
        problem=problem,
    )
