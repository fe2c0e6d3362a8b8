"""The ControlMaster of one host: one login, under a lock, for all processes of this account."""

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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, HostUnreachable
from luigi_sshjob.ssh.local.runtime_dir import check_private, private_opener, runtime_dir, socket_path
from luigi_sshjob.ssh.transports.error_mapping import key_file_missing, login_error, program_missing, tunnel_failed
from luigi_sshjob.ssh.transports.login import LoginCoordinator
from luigi_sshjob.ssh.transports.login_info import LoginInfo, parse_login_log
from luigi_sshjob.ssh.transports.openssh import command_line
from luigi_sshjob.ssh.transports.openssh.login_config import login_config
from luigi_sshjob.ssh.transports.openssh.resolved_config import config_fingerprint, users_control_path
from luigi_sshjob.ssh.transports.session_process import spawn

logger = logging.getLogger("luigi-interface")

_LOGIN_WRAPPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "login_wrapper.py")
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
        self.control_path = socket_path(self.directory, self.key)
        self.control_persist = settings.control_persist
        self._logins = LoginCoordinator(self.directory, self.key, destination, settings)
        if settings.existing_master == "require":
            self.control_path = users_control_path(destination, settings)

    def alive(self) -> bool:
        """Whether the master accepts connections on its socket; starts no process."""
        check_private(self.directory)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            try:
                probe.connect(self.control_path)
            except (TimeoutError, BlockingIOError):
                # busy or stopped (Linux fails immediately when the socket's backlog is full): another login would
                # not help
                return True
            except OSError:
                return False
        return True

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
            raise self._no_master()
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
        other.control_path = socket_path(self.directory, f"{self.key}.{secrets.token_hex(2)}-")
        other.control_persist = _PRIVATE_PERSIST
        return other

    def close(self) -> None:
        """End the shared connection, for all processes. A master of the user is left alone."""
        if self.settings.existing_master != "require" and self.alive():
            self.control("exit")
            deadline = time.monotonic() + 5
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            self._log_path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def keep_open(self) -> Iterator[None]:
        """Keep ControlPersist from ending the master: a forwarded port alone does not count as a client."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            # if the master has ended or is stopped, the next request to it fails with an error that says so
            with contextlib.suppress(OSError):
                client.connect(self.control_path)
            yield

    def _log_in(self) -> LoginInfo:
        if self.destination.key_file and not os.path.exists(os.path.expanduser(self.destination.key_file)):
            raise key_file_missing(self.destination)
        if self.destination.sshpass and "SSHPASS" not in os.environ:
            raise ConfigurationError(
                "sshpass is set, but the environment has no SSHPASS",
                host=str(self.destination),
                doing="logging in",
                next_step="set SSHPASS to the password in the environment of the process that runs Luigi",
            )
        # the socket of a dead master would make ssh go on without multiplexing
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control_path)
        logger.debug("logging in on %s", self.destination)
        began = time.monotonic()
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        with open(os.open(self._log_path, flags, 0o600), "r+b") as file, self._login_config() as config:
            status = self._run_login(self._login_argv(config), file)
            file.seek(0)
            log = file.read().decode("utf-8", "replace")
        if status != 0 or not self.alive():
            raise login_error(log, self.destination, self.settings.ssh_config)
        return parse_login_log(log, time.monotonic() - began)

    def _run_login(self, argv: list[str], log: IO[bytes]) -> int:
        # ConnectTimeout ends with the key exchange; a host that stops responding after it would block the login
        timeout = self._logins.timeout + self.settings.request_timeout
        if not shutil.which(argv[0]):
            raise program_missing(argv[0], str(self.destination))
        process: subprocess.Popen[bytes] = spawn(
            self.destination,
            subprocess.Popen,
            [sys.executable, "-I", "-S", _LOGIN_WRAPPER, str(timeout), *argv],
            stdout=log,
            stderr=log,
            env=self._login_environment(),
            pass_fds=[self._logins.lock.fileno()] if self._logins.lock else [],
        )
        return process.wait()

    @property
    def _log_path(self) -> Path:
        # not a pipe: the master and a ProxyCommand write to it as long as they live
        return Path(f"{self.control_path}.log")

    def _cut_log(self) -> None:
        with contextlib.suppress(OSError):
            if self._log_path.stat().st_size > _LOG_SIZE:
                os.truncate(self._log_path, 0)

    @contextlib.contextmanager
    def _login_config(self) -> Iterator[str]:
        """A configuration for the login, of the user's and what must hold on the way, also at jump hosts."""
        path = self.directory / f"{self.key}.config"
        with open(path, "w", encoding="utf-8", opener=private_opener) as file:
            file.write(login_config(self.destination, self.settings))
        try:
            yield str(path)
        finally:
            path.unlink(missing_ok=True)

    def _login_environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self.destination.sshpass:
            # a graphical prompt would be used instead of the terminal that sshpass makes
            for name in ("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"):
                environment.pop(name, None)
        return environment

    def _login_argv(self, config: str) -> list[str]:
        # only the login may need a password
        password = self.destination.sshpass
        return [
            # sshpass and its terminal end with the ssh that it started; nohup keeps the master in the background alive
            *(("sshpass", "-e", "nohup") if password else ()),
            # verbose, see login_log.py
            *("ssh", "-F", config, "-v", "-S", command_line.literal(self.control_path)),
            *command_line.address_options(self.destination),
            *("-M", "-N", "-f", "-T"),
            *("-o", f"ControlPersist={self.control_persist}"),
            *("-o", f"ServerAliveInterval={self.settings.keepalive_interval}"),
            *("-o", f"ServerAliveCountMax={self.settings.keepalive_count}"),
            *("-o", f"ConnectTimeout={self._logins.timeout}"),
            *("-o", "ClearAllForwardings=yes"),
            self.destination.reference,
        ]

    def client_argv(self, log: Path | None = None) -> list[str]:
        """The common beginning of the command lines of its clients, see `command_line.client_argv`."""
        return command_line.client_argv(self.control_path, self.settings.forward_agent == "true", log)

    def _no_master(self) -> HostUnreachable:
        return HostUnreachable(
            f"no existing master, and existing_master is require: {self.control_path}",
            host=str(self.destination),
            next_step=f"log in with `{self.destination.by_hand(self.settings.ssh_config)}`; tasks wait for it",
            code="no-existing-master",
        )

    def control(self, command: str, forwarding: str | None = None) -> None:
        """Run `ssh -O command`; raises `ConnectionFailed` if the master refuses."""
        argv = [*self.client_argv(), "-O", command, *(("-L", forwarding) if forwarding else ())]
        argv.append(self.destination.reference)
        process: subprocess.Popen[bytes] = spawn(
            self.destination, subprocess.Popen, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            output, _ = process.communicate(timeout=self.settings.request_timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            output = b"the master does not respond"
        if process.returncode != 0 and command != "exit":
            raise tunnel_failed(forwarding or command, output.decode("utf-8", "replace").strip(), self.destination)
