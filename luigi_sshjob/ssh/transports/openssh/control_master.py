"""The ControlMaster of one host: one login, under a lock, for all processes of this account."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.ssh.local.runtime_dir import check_private, runtime_dir, socket_path
from luigi_sshjob.ssh.transports.error_mapping import login_error, no_existing_master, tunnel_failed
from luigi_sshjob.ssh.transports.login import LoginCoordinator
from luigi_sshjob.ssh.transports.login_info import LoginInfo
from luigi_sshjob.ssh.transports.openssh import command_line
from luigi_sshjob.ssh.transports.openssh.master_login import MasterLogin, log_path
from luigi_sshjob.ssh.transports.openssh.open_connections import OpenConnection, forget_opened, is_open, record_opened
from luigi_sshjob.ssh.transports.openssh.resolved_config import config_fingerprint, users_control_path
from luigi_sshjob.ssh.transports.session_process import LocalProcess, spawn

logger = logging.getLogger("luigi-interface")

_PRIVATE_PERSIST = 3  # seconds
_LOG_SIZE = 1 << 20  # bytes; then what the master has written is discarded


class ControlMaster:
    """The shared connection to one destination. This object holds no process and no descriptor."""

    def __init__(self, destination: Destination, settings: Settings):
        self.destination = destination
        self.settings = settings
        self.directory = runtime_dir(settings.runtime_dir)
        # an edited configuration may lead to another host, so it must not use the same connection
        self.key = destination.key(config_fingerprint(destination, settings, self.directory))
        self.control_path = self.prefix = socket_path(self.directory, self.key)
        self.control_persist = settings.control_persist
        self._logins = LoginCoordinator(self.directory, self.key, destination, settings)
        if settings.existing_master == "require":
            self.control_path = users_control_path(destination, settings)

    def alive(self) -> bool:
        """Whether the master accepts connections on its socket; starts no process."""
        check_private(self.directory)
        return is_open(self.control_path)

    def identity(self) -> tuple[int, int] | None:
        """Distinguishes one master from its successor; None if there is no master."""
        try:
            status = os.stat(self.control_path)
        except OSError:
            return None
        return (status.st_ino, status.st_ctime_ns) if self.alive() else None

    def connect(self, log_in: Callable[[], object] | None = None) -> None:
        """Log in unless the master is alive; concurrent callers share one login.

        Raises the errors of `LoginCoordinator.ensure`.
        """
        if self.alive():
            self._cut_log()
            return
        if self.settings.existing_master == "require":
            raise no_existing_master(self.destination, self.settings.ssh_config)
        self._logins.ensure(self.alive, log_in or self._log_in)

    def connect_verbose(self) -> LoginInfo:
        """Like `connect`; returns details of the login, if this call made one."""
        logins = [LoginInfo()]
        self.connect(lambda: logins.append(self._log_in()))
        return logins[-1]

    def private_copy(self) -> ControlMaster:
        """A master that is not shared; it ends soon after its last use, even if it is not closed."""
        other = copy.copy(self)
        # not longer than the name of the leader's socket, which is known to fit
        other.control_path = other.prefix = socket_path(self.directory, f"{self.key}.{secrets.token_hex(2)}-")
        other.control_persist = _PRIVATE_PERSIST
        return other

    def close(self) -> None:
        """End the shared connection, for all processes. A master of the user is left alone."""
        if self.settings.existing_master != "require":
            self.end()

    def end(self) -> None:
        """End the master."""
        if self.alive():
            self.control("exit")
            deadline = time.monotonic() + 5
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)
        log_path(self.prefix).unlink(missing_ok=True)
        forget_opened(self.prefix)

    @contextlib.contextmanager
    def keep_open(self) -> Iterator[None]:
        """Keep ControlPersist from ending the master: a forwarded port alone does not count as a client."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            # if the master has ended or is stopped, the next request to it fails with an error that says so
            with contextlib.suppress(OSError):
                client.connect(self.control_path)
            yield

    def log_in_by_hand(self, keep: int) -> bool:
        """Let the person at the terminal log in, unless the master is alive; returns whether a login was needed.

        The connection is kept for `keep` seconds after its last use. Raises the errors of `LoginCoordinator.by_hand`.
        """
        if self.alive():
            return False
        self._logins.by_hand(self.alive, lambda: self._log_in_by_hand(keep))
        return True

    def _log_in_by_hand(self, keep: int) -> None:
        self._login(keep).run_in_terminal()
        if not self.alive():
            raise login_error("", self.destination, self.settings.ssh_config)
        self._record(keep)

    def _log_in(self) -> LoginInfo:
        info = self._login(self.control_persist).run()
        if not self.alive():
            with log_path(self.prefix).open("rb") as file:
                log = file.read(_LOG_SIZE).decode("utf-8", "replace")
            raise login_error(log, self.destination, self.settings.ssh_config)
        self._record(self.control_persist)
        return info

    def _record(self, keep: int) -> None:
        record_opened(self.prefix, OpenConnection(str(self.destination), time.time(), keep, self.control_path))

    def _login(self, keep: int) -> MasterLogin:
        return MasterLogin(
            self.destination,
            self.settings,
            self.control_path,
            self.prefix,
            keep,
            self._logins.timeout,
            self._logins.lock,
        )

    def _cut_log(self) -> None:
        with contextlib.suppress(OSError):
            path = log_path(self.prefix)
            if path.stat().st_size > _LOG_SIZE:
                os.truncate(path, 0)

    def client_argv(self, log: Path | None = None) -> list[str]:
        """The common beginning of the command lines of its clients, see `command_line.client_argv`."""
        return command_line.client_argv(self.control_path, self.settings.forward_agent == "true", log)

    def control(self, command: str, forwarding: str | None = None) -> None:
        """Run `ssh -O command`; raises `ConnectionFailed` if the master refuses."""
        argv = [*self.client_argv(), "-O", command, *(("-L", forwarding) if forwarding else ())]
        argv.append(self.destination.reference)
        process = spawn(self.destination, LocalProcess, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=self.settings.request_timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            output = b"the master does not respond"
        if process.returncode != 0 and command != "exit":
            raise tunnel_failed(forwarding or command, output.decode("utf-8", "replace").strip(), self.destination)
