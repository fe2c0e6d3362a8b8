"""A session's channel with the interface of `subprocess.Popen`: descriptors, an exit status, a way to end it."""

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

from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.ssh.transports.paramiko.connection import ParamikoConnection, close_quietly
from luigi_sshjob.ssh.transports.paramiko.pipes import FdSet, Streams, write_all

_CHUNK = 1 << 18  # bytes
_NO_STATUS = 255  # as ssh's, if the server sent none
_BROKEN = (OSError, EOFError, paramiko.SSHException)  # raised by paramiko on a closed connection


class ChannelProcess:
    """Runs the shell text `args` in the session `channel`; threads copy bytes between it and the `streams`.

    Holds `slot` until it has ended. Raises `ConnectionLost` if the command was not started before `deadline`.
    """

    pid = None

    def __init__(
        self,
        connection: ParamikoConnection,
        channel: paramiko.Channel,
        args: Sequence[str],
        slot: FileLock,
        streams: Streams,
        *,
        deadline: float,
        tty: bool = False,
    ):
        self.args = args
        self.returncode: int | None = None
        self.broken = False
        """Whether the connection ended before the command."""
        self.has_exit_status = False
        self._truncated = False
        self._connection = connection
        self._channel = channel
        self._slot: FileLock | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._fds = FdSet()
        try:
            # before the command starts, because its output needs a destination
            self.stdin, source = streams.open_stdin(self._fds)
            self.stdout, output = streams.open_stdout(self._fds)
            self.stderr, errors = streams.open_stderr(self._fds)
            self._end_reader, self._end_writer = self._fds.pipe()
            channel.set_combine_stderr(streams.combined)
            # as ssh -t does, only if the input is a terminal: a terminal would change the bytes
            self._exec(quoting.encode(" ".join(args)), tty and source >= 0 and os.isatty(source), deadline)
        except BaseException:
            self._fds.close()
            close_quietly(channel)
            raise
        self._slot = slot
        self._open_outputs = 1 if streams.combined else 2
        self._running_pumps = self._open_outputs + 1
        connection.acquire(self)
        self._start_thread(self._pump_input, source)
        self._start_thread(self._pump_output, channel.recv, output)
        if not streams.combined:
            self._start_thread(self._pump_output, channel.recv_stderr, errors)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        if not self._ended.wait(timeout) and timeout is not None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002  # Popen's
        """Send `input` and read to the end; returns (stdout, stderr), None for a stream that is not a pipe."""
        deadline = None if timeout is None else time.monotonic() + timeout
        output: dict[str, Any] = {"stdout": None, "stderr": None}

        def read(name: str, pipe: Any) -> None:
            with pipe:
                output[name] = pipe.read()

        readers = [
            start_thread(read, name, pipe)
            for name, pipe in (("stdout", self.stdout), ("stderr", self.stderr))
            if pipe and not pipe.closed
        ]
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
        return output["stdout"], output["stderr"]

    def send_signal(self, number: int) -> None:  # noqa: ARG002  # Popen's
        """End the session: servers do not forward signals."""
        self.kill()

    def terminate(self) -> None:
        """End the session immediately from this side."""
        self.kill()

    def kill(self) -> None:
        """End the session immediately from this side; the command sees its input and output closed."""
        self._set_status(-signal.SIGKILL)
        # in a thread, because this sends a message, which blocks on a stalled connection
        self._start_thread(close_quietly, self._channel)

    def detach_after_fork(self) -> None:
        """Close a forked child's copies of the descriptors."""
        # but not the pipes of the caller, who may be about to pass them to the program that the child executes
        self._fds.detach_after_fork()
        self.returncode = _NO_STATUS
        self._slot = None

    def __enter__(self) -> ChannelProcess:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdout, self.stderr, self.stdin):
            if pipe:
                pipe.close()
        self.wait()

    def _exec(self, line: bytes, tty: bool, deadline: float) -> None:
        # paramiko waits for the server's response without a timeout
        timer = threading.Timer(max(0.1, deadline - time.monotonic()), close_quietly, [self._channel])
        timer.daemon = True
        timer.start()
        try:
            if tty:
                self._channel.get_pty(os.environ.get("TERM", "dumb"))
            self._channel.exec_command(line)
        except _BROKEN as error:
            raise self._connection.connection_error(f"the session did not start: {error}") from error
        finally:
            timer.cancel()

    def _start_thread(self, target: Callable[..., Any], *args: Any) -> None:
        start_thread(target, *args, name=f"sshjob {target.__name__}")

    def _pump_input(self, source: int) -> None:
        # if the command no longer reads, or the connection broke, the exit status shows it
        with contextlib.suppress(*_BROKEN):
            while source >= 0 and self._wait_readable(source):
                data = os.read(source, _CHUNK)
                if not data:
                    break
                self._channel.sendall(data)
            self._channel.shutdown_write()
        self._pump_ended(source)

    def _wait_readable(self, source: int) -> bool:
        poller = select.poll()
        poller.register(source, select.POLLIN)
        poller.register(self._end_reader, 0)
        return all(fd == source for fd, _ in poller.poll())

    def _pump_output(self, receive: Callable[[int], bytes], sink: int) -> None:
        while data := self._receive(receive):
            try:
                if sink >= 0:
                    write_all(sink, data, unless=self._end_reader)
            except OSError:
                # the reader is gone, and the command must see that too
                close_quietly(self._channel)
                break
        self._pump_ended(sink)
        with self._lock:
            self._open_outputs -= 1
            last = not self._open_outputs
        if last:
            self._finish()

    def _receive(self, receive: Callable[[int], bytes]) -> bytes:
        try:
            return receive(_CHUNK)
        except _BROKEN:
            # the rest of paramiko's buffer is lost
            self._truncated = True
            return b""

    def _pump_ended(self, fd: int) -> None:
        self._fds.close(fd)
        with self._lock:
            self._running_pumps -= 1
            last = not self._running_pumps
        if last:
            self._fds.close(self._end_reader)

    def _finish(self) -> None:
        status = self._channel.recv_exit_status()
        # a server may send the status before the last of the output
        if (status < 0 or not self._channel.eof_received) and self.returncode is None:
            # a signal ended the command, or the connection ended; its channels see that before its thread does
            self._connection.transport.join(0.5)
            self._truncated = self._truncated or not self._connection.alive
        self.broken = self._truncated and self.returncode is None
        self.has_exit_status = status >= 0 and not self.broken
        self._set_status(status if self.has_exit_status else _NO_STATUS)

    def _set_status(self, status: int) -> None:
        with self._lock:
            if self.returncode is not None:
                return
            self.returncode = status
            slot, self._slot = self._slot, None
        if slot:
            slot.release(remove=True)
        self._connection.release()
        self._fds.close(self._end_writer)
        self._ended.set()
