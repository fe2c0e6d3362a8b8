"""Counts the sessions that the server allows on one connection, by opening more for a moment."""

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

from luigi_sshjob.doctor.facts import SessionCount
from luigi_sshjob.errors import ConnectionFailed, SessionRefused
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.transports.base import DiagnosableTransport
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter


class SessionProbe:
    """One attempt to open a session."""

    def __init__(self, transport: DiagnosableTransport, session_limiter: SessionLimiter, deadline: float):
        self._transport = transport
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the session
        self._token = secrets.token_hex(16).encode()
        self._output = b""
        self.ended = False
        try:
            self.process = transport.popen(
                [quoting.BOOTSTRAP],
                deadline=deadline,
                session_limiter=session_limiter,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
            )
        except BaseException:
            self._stderr.close()
            raise
        # fails if the server has already refused the session; `read` ends with this process at the latest
        with contextlib.suppress(OSError):
            self.process.stdin.write(b"echo %s; IFS= read -r end\n" % self._token)

    @property
    def open(self) -> bool:
        """Whether the host confirmed that the session is open."""
        return self._token in self._output

    def read(self) -> None:
        """Read the available output."""
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        self._output = (self._output + data)[-(1 << 16) :]
        self.ended = not data

    def error(self) -> Exception:
        """Return the reason why it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self._stderr.seek(0)
        stderr = self._stderr.read().decode("utf-8", "replace")
        error = self._transport.process_error(self.process, stderr)
        return error or OSError(
            f"a session ended with exit status {self.process.returncode}: {stderr.strip() or 'nothing on stderr'}"
        )

    def close_pipes(self) -> None:
        """Let it end; `close` waits for that."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def close(self) -> None:
        """Wait until it has ended, and kill it after five seconds."""
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._stderr.close()


def count_sessions(transport: DiagnosableTransport, *, most: int, own: int, deadline: float) -> SessionCount:
    """Open sessions until there are `most`, including the `own` ones of this process, and close them again.

    Makes no login: the server refuses a session without ending the connection. `deadline` is `time.monotonic()`.
    """
    probes: list[SessionProbe] = []
    # uses the slots of all processes, so that none of them is refused a session meanwhile, and more
    limiter = SessionLimiter(transport.directory, transport.key, most, adaptive=False)
    held = limiter.in_use() if transport.shared else own
    try:
        # all together: each one waits for the account's rc files
        refused = _open_all(transport, limiter, most - held, probes, deadline)
        _wait_all(probes, deadline)
        count = _result(probes, refused, held, own)
        # sessions that other processes open or close meanwhile make the count unreliable
        if transport.shared and limiter.in_use() != held + sum(not probe.ended for probe in probes):
            return dataclasses.replace(
                count, refused=False, problem="other processes opened or closed sessions meanwhile"
            )
        return count
    except ConnectionFailed as error:
        return SessionCount(own, refused=False, problem=error.problem)
    finally:
        for probe in probes:
            probe.close_pipes()
        for probe in probes:
            probe.close()


def _open_all(
    transport: DiagnosableTransport, limiter: SessionLimiter, count: int, probes: list[SessionProbe], deadline: float
) -> bool:
    """Start up to `count` sessions; return whether the server refused one."""
    for _ in range(count):
        try:
            probes.append(SessionProbe(transport, limiter, deadline))
        except SessionRefused:
            return True
    return False


def _wait_all(probes: list[SessionProbe], deadline: float) -> None:
    waiting = {probe.process.stdout.fileno(): probe for probe in probes}
    # not select(), which is limited to descriptors below 1024
    poller = select.poll()
    for fd in waiting:
        poller.register(fd, select.POLLIN)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poller.poll(left * 1000):
            waiting[fd].read()
            if waiting[fd].open or waiting[fd].ended:
                poller.unregister(fd)
                del waiting[fd]


def _result(probes: list[SessionProbe], refused: bool, held: int, own: int) -> SessionCount:
    errors = [probe.error() for probe in probes if probe.ended and not probe.open]
    pending = sum(not probe.ended and not probe.open for probe in probes)
    refused = refused or any(isinstance(error, SessionRefused) for error in errors)
    problem = next((str(error) for error in errors if not isinstance(error, SessionRefused)), "")
    problem = f"{pending} sessions did not open in time" if pending else problem
    return SessionCount(
        open=held + sum(probe.open for probe in probes),
        refused=refused and not problem,
        others=held - own,
        problem=problem,
    )
