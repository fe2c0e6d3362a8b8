"""The ControlMaster of one host: one login, under a lock, for every process of this account."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, HostUnreachable
from luigi_sshjob.ssh.local.runtime_dir import check_private, runtime_dir, socket_path
from luigi_sshjob.ssh.transports.error_mapping import login_error, no_key_file, no_program, no_tunnel
from luigi_sshjob.ssh.transports.login import LoginCoordinator
from luigi_sshjob.ssh.transports.login_info import LoginInfo, arrival_of, without_details
from luigi_sshjob.ssh.transports.openssh import command_line
from luigi_sshjob.ssh.transports.openssh.command_line import CLIENT_OPTIONS, spawn
from luigi_sshjob.ssh.transports.ssh_config import config_fingerprint

logger = logging.getLogger("luigi-interface")


# Runs a login within so many seconds, and shares the lock meanwhile: where the process that wants to have it ends,
# the next one waits for this login, and makes none beside it. Of two masters ssh leaves one without a socket, for ever.
_WATCHED = """
import subprocess, sys
try:
    status = subprocess.run(sys.argv[2:], timeout=float(sys.argv[1])).returncode
except subprocess.TimeoutExpired:
    status = 1
sys.exit(status if status >= 0 else 128 - status)
"""


class ControlMaster:
    """The shared connection to one destination. Cheap to make; holds no process and no descriptor of its own."""

    def __init__(self, destination: Destination, settings: Settings):
        self.destination = destination
        self.settings = settings
        self.directory = runtime_dir(settings.runtime_dir)
        # an edited configuration may lead elsewhere: a connection made before is not the same one
        self.key = destination.key(*config_fingerprint(settings.ssh_config))
        self.control_path = socket_path(self.directory, self.key)
        self._logins = LoginCoordinator(self.directory, self.key, destination, settings)
        self._persist = settings.control_persist
        if settings.existing_master == "require":
            self.control_path = command_line.users_control_path(destination, settings)

    def alive(self) -> bool:
        """Whether the master answers on its socket; starts no process."""
        check_private(self.directory)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            try:
                probe.connect(self.control_path)
            except (TimeoutError, BlockingIOError):
                # busy, or stopped (where more wait than its socket has room for Linux says so at once): another login
                # beside it would not help
                return True
            except OSError:
                return False
        return True

    def identity(self) -> tuple[int, int] | None:
        """Tells one master from the next; None where there is none."""
        try:
            found = os.stat(self.control_path)
        except OSError:
            return None
        return (found.st_ino, found.st_ctime_ns) if self.alive() else None

    def connect(self, log_in: Callable[[], object] | None = None) -> None:
        """Logs in unless somebody has: one login for all who want one at the same time.

        Raises as `LoginCoordinator.make`.
        """
        if self.alive():
            return
        if self.settings.existing_master == "require":
            raise self._no_master()
        self._logins.make(self.alive, log_in or self._log_in)

    def arrive(self) -> LoginInfo:
        """As `connect`; what there is to tell of the login, where this has made one."""
        logins = [LoginInfo()]
        self.connect(lambda: logins.append(self._log_in("DEBUG1")))
        return logins[-1]

    def apart(self) -> ControlMaster:
        """Another, that nobody shares; it ends soon after its last use, also where nobody closes it."""
        other = copy.copy(self)
        # as long as the name of the leader's socket, for which there is room
        other.control_path = socket_path(self.directory, f"{self.key}.{secrets.token_hex(2)}-")
        other._persist = 3
        return other

    def close(self) -> None:
        """Ends the shared connection, for every process; running jobs are not touched. The user's own one stays."""
        if self.settings.existing_master != "require" and self.alive():
            self.control("exit")
            deadline = time.monotonic() + 5
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While the block runs, ControlPersist does not end the master: a port it listens on is no client."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            # where there is no master any more, or a stopped one, whoever asks it for something will say so
            with contextlib.suppress(OSError):
                client.connect(self.control_path)
            yield

    def _log_in(self, level: str = "ERROR") -> LoginInfo:
        if self.destination.key_file and not os.path.exists(os.path.expanduser(self.destination.key_file)):
            raise no_key_file(self.destination)
        if self.destination.sshpass and "SSHPASS" not in os.environ:
            raise ConfigurationError(
                "sshpass is set, but there is no SSHPASS in the environment",
                host=str(self.destination),
                doing="logging in",
                next_step="put the password there for the process that runs Luigi",
            )
        # a dead master's socket would make ssh go on without multiplexing
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control_path)
        logger.debug("logging in on %s", self.destination)
        began = time.monotonic()
        with tempfile.TemporaryFile() as log:
            # a file, not a pipe: the master keeps it open after -f has returned
            status = self._await_login(self._login_argv(level), log)
            log.seek(0)
            words = log.read().decode("utf-8", "replace")
        if status != 0 or not self.alive():
            raise login_error(without_details(words), self.destination, self.settings.ssh_config)
        return arrival_of(words, time.monotonic() - began)

    def _await_login(self, argv: list[str], log: IO[bytes]) -> int:
        # ConnectTimeout ends with the key exchange; a host that stops after it would hold us for ever
        limit = self._logins.timeout + self.settings.request_timeout
        watched = [sys.executable, "-I", "-S", "-c", _WATCHED, str(limit), *argv]
        if not shutil.which(argv[0]):
            raise no_program(argv[0], str(self.destination))
        shared = [self._logins.lock.fileno()] if self._logins.lock else []
        process: subprocess.Popen[bytes] = spawn(
            self.destination, subprocess.Popen, watched, stdout=log, stderr=log, pass_fds=shared
        )
        return process.wait()

    def _login_argv(self, level: str) -> list[str]:
        # only the login may need a password
        password = self.destination.sshpass
        return [
            # sshpass ends with the ssh it has started, and its terminal with it; the one in the background is to stay
            *(("sshpass", "-e", "nohup") if password else ()),
            *self.ssh_argv(level),
            *(() if password else ("-o", "BatchMode=yes")),
            *("-M", "-N", "-f", "-T"),
            *("-o", f"ControlPersist={self._persist}"),
            *("-o", f"ServerAliveInterval={self.settings.keepalive_interval}"),
            *("-o", f"ServerAliveCountMax={self.settings.keepalive_count}"),
            *("-o", f"ConnectTimeout={self._logins.timeout}"),
            *("-o", "ClearAllForwardings=yes"),
            self.destination.reference,
        ]

    def ssh_argv(self, level: str = "ERROR") -> list[str]:
        """The beginning of every ssh command line for this connection."""
        # the words that tell one failure from another must not be silenced by the user's LogLevel
        options = ["-S", self.control_path, "-o", f"LogLevel={level}"]
        return ["ssh", *options, *command_line.way(self.destination, self.settings)]

    def _no_master(self) -> HostUnreachable:
        return HostUnreachable(
            f"there is no connection of yours, and existing_master is require: {self.control_path}",
            host=str(self.destination),
            next_step=f"log in with `{self.destination.by_hand(self.settings.ssh_config)}`; it is waited for",
        )

    def control(self, verb: str, forwarding: str | None = None) -> None:
        """`ssh -O verb`; raises `ConnectionFailed` where the master says no."""
        argv = [*self.ssh_argv(), *CLIENT_OPTIONS, "-O", verb, *(("-L", forwarding) if forwarding else ())]
        argv.append(self.destination.reference)
        process: subprocess.Popen[bytes] = spawn(
            self.destination, subprocess.Popen, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            output, _ = process.communicate(timeout=self.settings.request_timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            output = b"the master does not answer"
        if process.returncode != 0 and verb != "exit":
            raise no_tunnel(forwarding or verb, output.decode("utf-8", "replace").strip(), self.destination)
