"""A session's channel behind what `subprocess.Popen` would show: descriptors, a status, an end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import paramiko

from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.transports.paramiko.connection import ParamikoConnection, hang_up
from luigi_sshjob.ssh.transports.paramiko.pipes import FdSet, pump_end, write_all

_CHUNK = 1 << 18  # bytes
_NO_STATUS = 255  # as ssh's, where the server told none
_BROKEN = (OSError, EOFError, paramiko.SSHException)  # what paramiko raises where there is no connection any more


class ChannelProcess:
    """Runs `line` in the session `channel`; threads carry bytes between it and the pipes or files it is given.

    Takes of Popen's keywords those that have a meaning here: stdin, stdout, stderr, bufsize, text, encoding, errors
    and universal_newlines. Occupies `slot` until it has ended. Raises `ConnectionLost` where it was not begun.
    """

    pid = None

    def __init__(
        self,
        link: ParamikoConnection,
        channel: paramiko.Channel,
        args: Sequence[str],
        line: bytes,
        slot: FileLock,
        *,
        deadline: float,
        tty: bool = False,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        **how: Any,
    ):
        self.args = args
        self.returncode: int | None = None
        self.broken = False
        """Whether the connection ended before the command had."""
        self._short = False
        self._link = link
        self._channel = channel
        self._slot: FileLock | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ends = FdSet()
        try:
            # before the command begins: what it writes must have somewhere to go
            self.stdin, source = pump_end(self._ends, subprocess.DEVNULL if stdin is None else stdin, "r", **how)
            self.stdout, output = pump_end(self._ends, stdout, "w", default=1, **how)
            joined = stderr == subprocess.STDOUT
            stderr = subprocess.DEVNULL if joined else stderr
            self.stderr, errors = pump_end(self._ends, stderr, "w", default=2, **how)
            self._ended_pipe, self._end_mark = self._ends.pipe()
            channel.set_combine_stderr(joined)
            # as ssh does: on a terminal nothing would arrive as it was sent
            self._begin(line, tty and source >= 0 and os.isatty(source), deadline)
        except BaseException:
            self._ends.close()
            hang_up(channel)
            raise
        self._slot = slot
        self._outputs = 1 if joined else 2
        self._carrying = self._outputs + 1
        link.taken(self)
        self._start(self._send, source)
        self._start(self._receive, channel.recv, output)
        if not joined:
            self._start(self._receive, channel.recv_stderr, errors)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        if not self._ended.wait(timeout) and timeout is not None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Sends `input`, reads to the end; (output, errors), None for what is no pipe."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found: dict[str, Any] = {"stdout": None, "stderr": None}

        def read(name: str, pipe: Any) -> None:
            with pipe:
                found[name] = pipe.read()

        readers = [
            threading.Thread(target=read, args=(name, pipe), daemon=True)
            for name, pipe in (("stdout", self.stdout), ("stderr", self.stderr))
            if pipe and not pipe.closed
        ]
        for reader in readers:
            reader.start()
        if self.stdin and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                if input:
                    self.stdin.write(input)
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()
        for reader in readers:
            reader.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return found["stdout"], found["stderr"]

    def send_signal(self, number: int) -> None:
        """Ends the session, whatever the signal: the host passes none on."""
        self.kill()

    def terminate(self) -> None:
        """Ends the session from this side, at once."""
        self.kill()

    def kill(self) -> None:
        """Ends the session from this side, at once; what it runs sees its input and output closed."""
        self._settle(-signal.SIGKILL)
        # says so to the server, for which a connection that is stuck would have to be waited for
        self._start(hang_up, self._channel)

    def detach_after_fork(self) -> None:
        """For a forked child: its copies of the descriptors lead nowhere."""
        # those of the caller stay: he may be about to lend them to the process that this becomes
        self._ends.detach_after_fork()
        self.returncode = _NO_STATUS
        self._slot = None

    def __enter__(self) -> ChannelProcess:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdout, self.stderr, self.stdin):
            if pipe:
                pipe.close()
        self.wait()

    def _begin(self, line: bytes, tty: bool, deadline: float) -> None:
        # paramiko waits for the server's word without end
        timer = threading.Timer(max(0.1, deadline - time.monotonic()), hang_up, [self._channel])
        timer.daemon = True
        timer.start()
        try:
            if tty:
                self._channel.get_pty(os.environ.get("TERM", "dumb"))
            self._channel.exec_command(line)
        except _BROKEN as error:
            raise self._link.lost(f"the session did not begin: {error}") from error
        finally:
            timer.cancel()

    def _start(self, target: Callable[..., Any], *args: Any) -> None:
        threading.Thread(target=target, args=args, name=f"sshjob {target.__name__}", daemon=True).start()

    def _send(self, source: int) -> None:
        # nobody reads any more, or there is no connection: the end says why
        with contextlib.suppress(*_BROKEN):
            while source >= 0 and self._await(source):
                data = os.read(source, _CHUNK)
                if not data:
                    break
                self._channel.sendall(data)
            self._channel.shutdown_write()
        self._carried(source)

    def _await(self, source: int) -> bool:
        poller = select.poll()
        poller.register(source, select.POLLIN)
        poller.register(self._ended_pipe, 0)
        return all(fd == source for fd, _ in poller.poll())

    def _receive(self, receive: Callable[[int], bytes], sink: int) -> None:
        while data := self._received(receive):
            try:
                if sink >= 0:
                    write_all(sink, data, unless=self._ended_pipe)
            except OSError:
                # nobody wants it: the command is to see that too
                hang_up(self._channel)
                break
        self._carried(sink)
        with self._lock:
            self._outputs -= 1
            last = not self._outputs
        if last:
            self._finish()

    def _received(self, receive: Callable[[int], bytes]) -> bytes:
        try:
            return receive(_CHUNK)
        except _BROKEN:
            # what is still in paramiko's buffer is lost
            self._short = True
            return b""

    def _carried(self, fd: int) -> None:
        self._ends.close(fd)
        with self._lock:
            self._carrying -= 1
            last = not self._carrying
        if last:
            self._ends.close(self._ended_pipe)

    def _finish(self) -> None:
        status = self._channel.recv_exit_status()
        # a host may tell the status before the last of the output
        if (status < 0 or not self._channel.eof_received) and self.returncode is None:
            # either a signal has ended it, or the connection has, of which the channels are told first
            self._link.transport.join(0.5)
            self._short = self._short or not self._link.alive
        self.broken = self._short and self.returncode is None
        self._settle(_NO_STATUS if status < 0 or self.broken else status)

    def _settle(self, status: int) -> None:
        with self._lock:
            if self.returncode is not None:
                return
            self.returncode = status
            slot, self._slot = self._slot, None
        if slot:
            slot.release(remove=True)
        self._link.given_back()
        self._ends.close(self._end_mark)
        self._ended.set()
