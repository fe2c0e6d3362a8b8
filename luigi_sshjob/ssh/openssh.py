"""The OpenSSH transport: one ControlMaster a host, shared by every process of this account.

Nothing but `connect` ever logs in. Left alone, a client whose master is gone or has no session left makes a
login of its own and says next to nothing about it; `_CLIENT` takes that way out from under it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from luigi_sshjob.config import sshjob
from luigi_sshjob.errors import (
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    HostUnreachable,
    LoginRefused,
    SSHJobError,
)
from luigi_sshjob.ssh.destination import Destination
from luigi_sshjob.ssh.gate import SessionGate
from luigi_sshjob.ssh.messages import translate
from luigi_sshjob.ssh.runtime import FileLock, runtime_dir, socket_path

logger = logging.getLogger("luigi-interface")

# The multiplexed way is tried before the proxy, so a client with a session never runs it, and one without
# ends here instead of logging in (measured with OpenSSH 9.2; see ssh_config(5), ControlPath).
_CLIENT = ("-o", "ControlMaster=no", "-o", "ProxyCommand=false", "-o", "RemoteCommand=none")


class OpenSSH:
    """The connection to one destination. Cheap to make; holds no process and no descriptor of its own."""

    def __init__(self, destination: Destination, settings: sshjob):
        self.destination = destination
        self.settings = settings
        self._dir = runtime_dir(settings.runtime_dir)
        self._key = destination.key(settings.ssh_config)
        self.control_path = socket_path(self._dir, self._key)
        self.gate = SessionGate(self._dir, self._key, settings.max_sessions)

    # -- the master

    def alive(self) -> bool:
        """Whether the master answers on its socket; starts no process."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            try:
                probe.connect(self.control_path)
            except TimeoutError:
                return True  # busy, or stopped: another login beside it would not help
            except OSError:
                return False
        return True

    def connect(self) -> None:
        """Logs in unless somebody has: one login for all who want one at the same time.

        Raises `LoginRefused`, `HostUnreachable` or `ConfigurationError`. Whoever waited while another's
        login failed gets that failure and does not try again by itself: accounts are locked for less.
        """
        if self.alive():
            return
        since = time.time()
        lock = FileLock(self._dir / f"{self._key}.lock")
        if not lock.acquire(deadline=time.monotonic() + self._patience(), waiting=self._say_waiting()):
            raise HostUnreachable(
                "another process has been logging in for too long",
                host=str(self.destination),
                next_step="end the ssh process that holds it up, or wait",
            )
        try:
            if not self.alive():
                self._raise_failure_since(since)
                self._log_in_or_raise()
        finally:
            lock.release()

    def close(self) -> None:
        """Ends the shared connection, for every process; running jobs are not touched."""
        if self.alive():
            self._control("exit")
            deadline = time.monotonic() + 5
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)

    def _log_in_or_raise(self) -> None:
        for attempt in range(1, self.settings.connect_attempts + 1):
            try:
                return self._log_in()
            except HostUnreachable as error:
                # sshd drops unauthenticated connections at random above MaxStartups; a moment later there
                # may be room. Anything slower than that is the caller's to wait for.
                dropped = re.search(r"reset by|closed by|kex_exchange|refused", str(error))
                if not dropped or attempt == self.settings.connect_attempts:
                    self._note_failure(error)
                    raise
                time.sleep(random.uniform(0.5, 1.0) * attempt)
            except ConnectionFailed as error:
                self._note_failure(error)
                raise

    def _log_in(self) -> None:
        # a dead master's socket would make ssh go on without multiplexing
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control_path)
        logger.debug("logging in on %s", self.destination)
        said = self._dir / f"{self._key}.said"
        with open(said, "w+b", opener=_private) as log:
            # a file, not a pipe: the master keeps it open after -f has returned
            process = self._spawn(self._login_argv(), stdout=log, stderr=log)
            status = self._await_login(process)
            log.seek(0)
            words = log.read().decode("utf-8", "replace")
        if status != 0 or not self.alive():
            raise translate(words or f"ssh ended with status {status}", self.destination)

    def _await_login(self, process: subprocess.Popen[Any]) -> int:
        # ConnectTimeout ends with the key exchange; a host that stops after it would hold us for ever
        try:
            return process.wait(self._timeout() + self.settings.request_timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _timeout(self) -> int:
        return self.destination.connect_timeout or self.settings.connect_timeout

    def _login_argv(self) -> list[str]:
        return [
            *self._ssh(),
            *("-M", "-N", "-f", "-T"),
            *("-o", f"ControlPersist={self.settings.control_persist}"),
            *("-o", f"ServerAliveInterval={self.settings.keepalive_interval}"),
            *("-o", f"ServerAliveCountMax={self.settings.keepalive_count}"),
            *("-o", f"ConnectTimeout={self._timeout()}"),
            *("-o", "ClearAllForwardings=yes"),
            self.destination.reference,
        ]

    def _ssh(self) -> list[str]:
        destination = self.destination
        argv = ["sshpass", "-e"] if destination.sshpass else []
        argv += ["ssh", "-S", self.control_path]
        if self.settings.ssh_config:
            argv += ["-F", self.settings.ssh_config]
        if not destination.sshpass:
            argv += ["-o", "BatchMode=yes"]
        if destination.port:
            argv += ["-p", str(destination.port)]
        if destination.key_file:
            argv += ["-i", destination.key_file]
        if destination.no_host_key_check:
            argv += ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]
        return argv

    def _patience(self) -> float:
        return (self._timeout() + 2) * self.settings.connect_attempts + self.settings.request_timeout

    def _say_waiting(self) -> Callable[[], None]:
        said_at = time.monotonic() + 5

        def waiting() -> None:
            nonlocal said_at
            if time.monotonic() > said_at:
                said_at += 30
                logger.info("%s: waiting for another process to log in", self.destination)

        return waiting

    def _note_failure(self, error: SSHJobError) -> None:
        with open(self._dir / f"{self._key}.failed", "w", encoding="utf-8", opener=_private) as note:
            note.write(f"{type(error).__name__}\n{error.problem}\n{error.next_step}\n")

    def _raise_failure_since(self, since: float) -> None:
        note = self._dir / f"{self._key}.failed"
        try:
            if note.stat().st_mtime < since:
                return
            name, problem, next_step = note.read_text("utf-8").splitlines()[:3]
        except (FileNotFoundError, ValueError):
            return
        kind = LoginRefused if name == LoginRefused.__name__ else HostUnreachable
        raise kind(problem, host=str(self.destination), next_step=next_step)

    # -- its clients

    def client_argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` over the master, or fails; it cannot log in."""
        options = ["-t"] if self.destination.tty else ["-T"]
        return [
            *self._ssh(),
            *_CLIENT,
            "-o",
            "ClearAllForwardings=yes",
            *options,
            self.destination.reference,
            *command,
        ]

    def popen(self, command: Sequence[str], *, deadline: float | None = None, **kwargs: Any) -> subprocess.Popen[Any]:
        """Starts `command` (shell text for the login shell) in a session of the shared connection.

        Waits for a free session until `deadline` (`time.monotonic()`; default: request_timeout from now);
        raises `HostUnreachable` when there was none. Standard input is /dev/null unless the caller says
        otherwise: an ssh that reads the terminal in the background is stopped (spotify/luigi#2349).
        """
        self.connect()
        until = time.monotonic() + self.settings.request_timeout if deadline is None else deadline
        slot = self.gate.acquire(deadline=until, host=str(self.destination))
        try:
            return self._spawn(self.client_argv(command), inherit=slot.fileno(), **kwargs)
        finally:
            slot.release()

    def forward(self, local_port: int, remote_host: str, remote_port: int) -> None:
        """Lets the master listen on 127.0.0.1:`local_port`; no login, no session."""
        self.connect()
        self._control("forward", f"127.0.0.1:{local_port}:{remote_host}:{remote_port}")

    def cancel_forward(self, local_port: int, remote_host: str, remote_port: int) -> None:
        """Ends what `forward` began; nothing to do where the connection is gone."""
        if self.alive():
            self._control("cancel", f"127.0.0.1:{local_port}:{remote_host}:{remote_port}")

    def lost(self, said: str) -> SSHJobError:
        """The error for a session that ended before its time, from what its client printed."""
        if said.strip() and self.alive():
            return translate(said, self.destination)
        return ConnectionLost(
            f"the connection broke{': ' + said.strip() if said.strip() else ''}",
            host=str(self.destination),
            next_step="nothing: it is made again when it is next needed",
        )

    def _control(self, verb: str, forwarding: str | None = None) -> None:
        argv = [*self._ssh(), *_CLIENT, "-O", verb, *(("-L", forwarding) if forwarding else ())]
        process = self._spawn([*argv, self.destination.reference], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=self.settings.request_timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            output = b"the master does not answer"
        if process.returncode != 0 and verb != "exit":
            raise ConnectionFailed(
                f"ssh -O {verb} {forwarding or ''} failed: {output.decode('utf-8', 'replace').strip()}",
                host=str(self.destination),
                next_step="check that the local port is free and that the server allows forwarding",
            )

    def _spawn(self, argv: list[str], *, inherit: int | None = None, **kwargs: Any) -> subprocess.Popen[Any]:
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        if inherit is not None:
            kwargs["pass_fds"] = (*kwargs.get("pass_fds", ()), inherit)
        try:
            return subprocess.Popen(argv, **kwargs)
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"there is no {argv[0]} on this machine",
                host=str(self.destination),
                next_step=f"install it (Debian: apt-get install {'openssh-client' if argv[0] == 'ssh' else argv[0]})",
            ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
