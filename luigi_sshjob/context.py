"""`RemoteContext`: Luigi's, over the shared connection."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import luigi.contrib.ssh

from luigi_sshjob import shell
from luigi_sshjob.errors import RemoteCommandFailed, SessionRefused, UnsafeValue
from luigi_sshjob.ssh.connection import Connection, connection_to
from luigi_sshjob.ssh.destination import Destination
from luigi_sshjob.ssh.transport import Process


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
        return self.connection.transport.argv(_checked(cmd))

    def Popen(self, cmd: Sequence[str], **kwargs: Any) -> Process:
        """Remote Popen: `cmd` is shell text for the account's login shell, its words joined by spaces, unquoted.

        Use `quoted` for arguments that are data. Standard input is /dev/null unless given.
        """
        return self.connection.transport.popen(_checked(cmd), **kwargs)

    def check_output(self, cmd: Sequence[str]) -> bytes:
        """What `cmd` (see `Popen`) writes on standard output.

        Raises `RemoteCommandFailed`, Luigi's `RemoteCalledProcessError` too, with what it wrote on standard
        error; `ConnectionLost` where the connection broke, which an exit status of 255 alone does not tell.
        """
        transport = self.connection.transport
        deadline = self.connection.request_deadline()
        while True:
            try:
                process, output, said = self._communicate(cmd)
                break
            except SessionRefused:
                # others use the connection's sessions too; a refused command has not begun
                if time.monotonic() > deadline:
                    raise
                transport.gate.refused()
                time.sleep(random.uniform(0.1, 0.5))
        if process.returncode == 0:
            sys.stderr.write(said)
            return output
        raise RemoteCommandFailed(
            f"{' '.join(cmd)!r} returned non-zero exit status {process.returncode}: {said.strip() or 'no message'}",
            host=self.connection.host,
            returncode=process.returncode,
            cmd=cmd,
            output=output,
        )

    def check_output_argv(self, argv: Sequence[str]) -> bytes:
        """As `check_output`, for a program and its arguments, which may hold any character but NUL."""
        return self.check_output(self.quoted(*argv))

    def _communicate(self, cmd: Sequence[str]) -> tuple[Process, bytes, str]:
        with tempfile.TemporaryFile() as errors:
            process = self.Popen(cmd, stdout=subprocess.PIPE, stderr=errors)
            output, _ = process.communicate()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace")
            error = self.connection.transport.failure(process, said)
            if error is not None:
                raise error
            return process, output, said

    @staticmethod
    def quoted(*argv: str) -> list[str]:
        """`argv` as a `cmd` for `Popen` and `check_output` that the shell takes word by word."""
        return [shell.quote(argument) for argument in argv]

    @contextlib.contextmanager
    def tunnel(self, local_port: int, remote_port: int | None = None, remote_host: str = "localhost") -> Iterator[int]:
        """A port on 127.0.0.1 that leads to `remote_host`:`remote_port` as the host sees it, while the block runs.

        `local_port` 0 takes a free one; the block is given the number. Uses the connection that is there:
        no session, no remote process. Raises `ConnectionFailed` where the port is taken.
        """
        remote = int(local_port if remote_port is None else remote_port)
        with self.connection.transport.forwarded(int(local_port), remote_host, remote) as local:
            yield local

    def close(self) -> None:
        """Ends the shared connection, for every process of this account; running jobs are not touched."""
        self.connection.close_shell()
        self.connection.transport.close()


def _checked(cmd: Sequence[str]) -> list[str]:
    words = [cmd] if isinstance(cmd, str) else list(cmd)
    if any("\0" in word for word in words):
        raise UnsafeValue(f"the command {words!r} contains a NUL byte", next_step="take it out")
    return words
