"""`RemoteContext`: Luigi's, over the shared connection."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import luigi.contrib.ssh

from luigi_sshjob.destination import Destination
from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import ConfigurationError, RemoteCommandFailed, UnsafeValue
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection, connection_to
from luigi_sshjob.ssh.shell.session import retry_refused_session
from luigi_sshjob.ssh.transports.base import Process

_LONGEST = (1 << 17) - 1
"""Bytes in one argument of a process on Linux (execve(2)); the login shell over there is given the command as one."""

_SHOWN = 200  # characters of a command in an error

# What shells exit with where they could not run the command at all (POSIX).
_NEXT_STEPS = {
    126: "make the program there one that the account may run",
    127: "install the program there, or give its whole path: no login script has been read",
}


class RemoteContext(luigi.contrib.ssh.RemoteContext):
    """Runs commands on a host, all over one connection that every task and process of this account shares.

    Takes what `luigi.contrib.ssh.RemoteContext` takes; `port` may be a number too, and `host` may be
    user@host:port. `transport` is one of [sshjob]'s; `password` a function that is given the host's question and
    answers it, for the transport paramiko (its connection is shared by this process's threads, see `ssh.inprocess`).
    Equal contexts reach the same account in the same way, host-key policy included.
    Raises `ConfigurationError` for an option that is none.
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
        """The keywords that make an equal context of `host`."""
        return {name: value for name, value in vars(self.destination).items() if name != "host"}

    @property
    def connection(self) -> Connection:
        """This process's connection. Looked up each time: a forked child must not use its parent's."""
        return connection_to(self.destination)

    def _prepare_cmd(self, cmd: Sequence[str]) -> list[str]:
        with translate_os_errors("preparing a command", host=str(self.destination)):
            return self.connection.transport.argv(_checked(cmd))

    def Popen(self, cmd: Sequence[str], **kwargs: Any) -> Process:
        """Remote Popen: `cmd` is shell text for the account's login shell, its words joined by spaces, unquoted.

        Use `quoted` for arguments that are data. Standard input is /dev/null unless given.
        """
        with translate_os_errors("starting a command", host=str(self.destination)):
            return self.connection.transport.popen(_checked(cmd), **kwargs)

    def check_output(self, cmd: Sequence[str]) -> bytes:
        """What `cmd` (see `Popen`) writes on standard output.

        Raises `RemoteCommandFailed`, Luigi's `RemoteCalledProcessError` too, with what it wrote on standard
        error; `ConnectionLost` where the connection broke, which an exit status of 255 alone does not tell.
        """
        with translate_os_errors("running a command", host=str(self.destination)):
            cmd = _checked(cmd)
            process, output, said = self._run(cmd)
        if process.returncode == 0:
            sys.stderr.write(said)
            return output
        raise RemoteCommandFailed(
            f"the command ended with exit status {process.returncode}: {said.strip() or 'no message'}",
            host=str(self.destination),
            doing=f"running {' '.join(cmd)[:_SHOWN]!r}",
            returncode=process.returncode,
            cmd=cmd,
            output=output,
            next_step=_NEXT_STEPS.get(process.returncode, "see what the command itself says; it has been run"),
        )

    def check_output_argv(self, argv: Sequence[str]) -> bytes:
        """As `check_output`, for a program and its arguments, which may hold any character but NUL."""
        return self.check_output(self.quoted(*argv))

    def _run(self, cmd: Sequence[str]) -> tuple[Process, bytes, str]:
        deadline = self.connection.request_deadline()
        return retry_refused_session(self.connection.transport, lambda: self._communicate(cmd), deadline)

    def _communicate(self, cmd: Sequence[str]) -> tuple[Process, bytes, str]:
        with tempfile.TemporaryFile() as errors:
            process = self.Popen(cmd, stdout=subprocess.PIPE, stderr=errors)
            output, _ = process.communicate()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace")
            error = self.connection.transport.process_error(process, said)
            if error is not None:
                raise error
            return process, output, said

    @staticmethod
    def quoted(*argv: str) -> list[str]:
        """`argv` as a `cmd` for `Popen` and `check_output` that the shell takes word by word."""
        return [quoting.quote(argument) for argument in _words(argv)]

    @contextlib.contextmanager
    def tunnel(self, local_port: int, remote_port: int | None = None, remote_host: str = "localhost") -> Iterator[int]:
        """A port on 127.0.0.1 that leads to `remote_host`:`remote_port` as the host sees it, while the block runs.

        `local_port` 0 takes a free one; the block is given the number. Uses the connection that is there:
        no session, no remote process. Raises `ConnectionFailed` where the port is taken.
        """
        with translate_os_errors("opening a tunnel", host=str(self.destination)):
            ports = [_port(port) for port in (local_port, local_port if remote_port is None else remote_port)]
        # ssh's own word for where it leads: only one host fits between its colons
        if not isinstance(remote_host, str) or not re.fullmatch(r"[^\s:\0\[\]]+|[0-9A-Fa-f:.]+", remote_host):
            raise ConfigurationError(
                f"a tunnel cannot lead to a host of this name: {remote_host!r}",
                host=str(self.destination),
                next_step="give a name or an address as the host at the other end knows it",
            )
        with contextlib.ExitStack() as opened:
            with translate_os_errors("opening a tunnel", host=str(self.destination)):
                local = opened.enter_context(self.connection.transport.forward_port(ports[0], remote_host, ports[1]))
            yield local

    def close(self) -> None:
        """Ends the shared connection, for every process of this account; running jobs are not touched."""
        self.connection.close_shell()
        self.connection.transport.close()


def _checked(cmd: Sequence[str]) -> list[str]:
    words = _words([cmd] if isinstance(cmd, str) else cmd)
    if any("\0" in word for word in words):
        raise UnsafeValue(f"the command contains a NUL byte: {words!r}", next_step="take it out")
    length = len(quoting.encode(" ".join(words)))
    if length > _LONGEST:
        raise ConfigurationError(
            f"the command is too long for one command line: {length} bytes, and {_LONGEST} are allowed",
            next_step="put it in a file there, send it as standard input, or run it as a RemoteJobTask",
        )
    return words


def _words(words: Any) -> list[str]:
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise UnsafeValue(f"the command is no text: {words!r}", next_step="give a str, or a list of str")
    return list(words)


def _port(port: Any) -> int:
    try:
        number = int(port)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number < 65536:
        raise ConfigurationError(
            f"a tunnel cannot have this port: {port!r}",
            next_step="give a whole number up to 65535; 0 takes a free one here",
        )
    return number
