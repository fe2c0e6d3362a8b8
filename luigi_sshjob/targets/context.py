"""`RemoteContext`: a subclass of Luigi's that uses the shared connection."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import luigi.contrib.ssh

from luigi_sshjob.destination import Destination
from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import (
    ConfigurationError,
    ConnectionFailed,
    HostUnreachable,
    LoginRefused,
    RemoteCommandFailed,
    UnsafeValue,
)
from luigi_sshjob.exit_hints import hint_for_command
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection, connection_to
from luigi_sshjob.ssh.shell.session import retry_refused_session
from luigi_sshjob.ssh.transports.base import Process, Transport
from luigi_sshjob.targets.failed_client import failed_client
from luigi_sshjob.text import visible

_MAX_COMMAND = (1 << 17) - 1
"""Bytes. Linux limits each argument of a process (execve(2)), and sshd passes the command to the shell as one."""

_MAX_SHOWN = 200  # characters of a command in an error


class RemoteContext(luigi.contrib.ssh.RemoteContext):
    """Runs commands on a host, over one connection that all tasks and processes of this account share.

    Takes the arguments of `luigi.contrib.ssh.RemoteContext`; `host` may also be user@host:port, and `port` an int.
    `transport` overrides the setting of the same name. `password` is a function that receives the prompt of the host
    and returns the password; it requires the transport paramiko, whose connection is shared within one process only.

    Contexts are equal if they reach the same account with the same options. Raises `ConfigurationError` for an unknown
    or invalid option.
    """

    def __init__(self, host: str, **kwargs: Any):
        self.destination = Destination.parse(host, kwargs)
        super().__init__(self.destination.host, **self.options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.destination)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteContext) and self.destination == other.destination

    def __hash__(self) -> int:
        return hash(self.destination)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments that create an equal context, together with `host`."""
        return {name: value for name, value in vars(self.destination).items() if name != "host"}

    @property
    def connection(self) -> Connection:
        """The connection of this process. Looked up each time, because a forked child must not use its parent's."""
        return connection_to(self.destination)

    @property
    def _transport(self) -> Transport:
        connection = self.connection
        # the next command must not see the temporary file of a writer that was not closed
        connection.send_deferred()
        return connection.transport

    def _prepare_cmd(self, cmd: Sequence[str]) -> list[str]:
        with translate_os_errors("preparing a command", host=str(self.destination)):
            return self._transport.argv(_checked(cmd))

    def Popen(self, cmd: Sequence[str], **kwargs: Any) -> Process | subprocess.Popen[Any]:  # noqa: N802  # Luigi's name
        """Starts a command, like `subprocess.Popen`.

        `cmd` is text for the account's login shell; its words are joined by spaces and not quoted. Use `quoted` for
        arguments that are data. Standard input is /dev/null by default.

        If the connection cannot be made, returns a process that prints the reason on its stderr and ends with status
        255, as ssh does.
        """
        try:
            return self._start(_checked(cmd), **kwargs)
        except (LoginRefused, HostUnreachable) as error:
            return failed_client(self.destination, _checked(cmd), error, **kwargs)

    def _start(self, cmd: list[str], **kwargs: Any) -> Process:
        with translate_os_errors("starting a command", host=str(self.destination)):
            return self._transport.popen(cmd, **kwargs)

    def check_output(self, cmd: Sequence[str]) -> bytes:
        """Runs `cmd` (see `Popen`) and returns its stdout.

        Raises `RemoteCommandFailed` (also Luigi's `RemoteCalledProcessError`) with the command's stderr if it fails,
        with the returncode 255 if a signal has ended it, and `ConnectionLost` if the connection breaks.
        """
        with translate_os_errors("running a command", host=str(self.destination)):
            cmd = _checked(cmd)
            deadline = self.connection.request_deadline()
            try:
                process, output, stderr = retry_refused_session(
                    self.connection.transport, lambda: self._communicate(cmd), deadline
                )
            except ConnectionFailed as error:
                error.cmd = cmd
                raise
        if process.returncode == 0:
            sys.stderr.write(visible(stderr) if sys.stderr.isatty() else stderr)
            return output
        signalled = _is_session(process) and not process.has_exit_status
        status = "by a signal" if signalled else f"with exit status {process.returncode}"
        raise RemoteCommandFailed(
            f"the command ended {status}: {stderr.strip() or 'no message'}",
            host=str(self.destination),
            doing=f"running {' '.join(cmd)[:_MAX_SHOWN]!r}",
            returncode=process.returncode,
            cmd=cmd,
            output=output,
            next_step=hint_for_command(process.returncode) or "see the message of the command; it was run",
        )

    def check_output_argv(self, argv: Sequence[str]) -> bytes:
        """Like `check_output`, for a program and its arguments, which may contain any character but NUL."""
        return self.check_output(self.quoted(*argv))

    def _communicate(self, cmd: Sequence[str]) -> tuple[Process, bytes, str]:
        # as Luigi's, it uses the Popen of a subclass
        start = self._start if type(self).Popen is _POPEN else self.Popen
        with tempfile.TemporaryFile() as errors:
            process: Any = start(list(cmd), stdout=subprocess.PIPE, stderr=errors)
            output, _ = process.communicate()
            errors.seek(0)
            stderr = errors.read().decode("utf-8", "replace")
            # without an exit status of its own it is no session, but a process of a subclass, or that of failed_client
            error = self.connection.transport.process_error(process, stderr) if _is_session(process) else None
            if error is not None:
                raise error
            return process, output, stderr

    @staticmethod
    def quoted(*argv: str) -> list[str]:
        """Quotes the words of `argv`, for use as `cmd` of `Popen` and `check_output`."""
        return [quoting.quote(argument) for argument in _words(argv)]

    @contextlib.contextmanager
    def tunnel(self, local_port: int, remote_port: int | None = None, remote_host: str = "localhost") -> Iterator[int]:
        """Forwards a port of 127.0.0.1 to `remote_host`:`remote_port`, as seen from the host, while the block runs.

        Yields the local port; `local_port` 0 selects a free one. Uses the shared connection, without a session or a
        remote process. Raises `ConnectionFailed` if the port is in use.
        """
        with translate_os_errors("opening a tunnel", host=str(self.destination)):
            ports = [_port(port) for port in (local_port, local_port if remote_port is None else remote_port)]
        # ssh's syntax for a forwarding separates its parts by colons
        if not isinstance(remote_host, str) or not re.fullmatch(r"[^\s:\0\[\]]+|[0-9A-Fa-f:.]+", remote_host):
            raise ConfigurationError(
                f"invalid remote_host of a tunnel: {remote_host!r}",
                host=str(self.destination),
                next_step="use a name or an address that the host can resolve",
            )
        with contextlib.ExitStack() as stack:
            with translate_os_errors("opening a tunnel", host=str(self.destination)):
                local = stack.enter_context(self._transport.forward_port(ports[0], remote_host, ports[1]))
            yield local

    def close(self) -> None:
        """Closes the shared connection for all processes of this account; running jobs are not affected."""
        self.connection.close_shell()
        self.connection.transport.close()


_POPEN = RemoteContext.Popen


def context_to(host: str, options: Mapping[str, Any]) -> RemoteContext:
    """A context with these options, which may be shared: tasks ask for theirs a dozen times."""
    try:
        return _context_to(host, tuple(options.items()))
    except TypeError:
        # an option that cannot be hashed
        return RemoteContext(host, **options)


@lru_cache(maxsize=1000)
def _context_to(host: str, options: tuple[tuple[str, Any], ...]) -> RemoteContext:
    return RemoteContext(host, **dict(options))


def _is_session(process: Any) -> bool:
    return hasattr(process, "has_exit_status")


def _checked(cmd: Sequence[str]) -> list[str]:
    words = _words([cmd] if isinstance(cmd, str) else cmd)
    if any("\0" in word for word in words):
        raise UnsafeValue(f"the command contains a NUL byte: {words!r}", next_step="remove it")
    length = len(quoting.encode(" ".join(words)))
    if length > _MAX_COMMAND:
        raise ConfigurationError(
            f"the command is too long for one command line: {length} bytes, the limit is {_MAX_COMMAND}",
            next_step="put it in a file on the host, send it as standard input, or run it as a RemoteJobTask",
        )
    return words


def _words(words: Any) -> list[str]:
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise UnsafeValue(
            f"the command must be a str or a list of str, not {words!r}", next_step="pass a str, or a list of words"
        )
    return list(words)


def _port(port: Any) -> int:
    try:
        number = int(port)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number < 65536:
        raise ConfigurationError(
            f"invalid port of a tunnel: {port!r}",
            next_step="use a number up to 65535; 0 selects a free local port",
        )
    return number
