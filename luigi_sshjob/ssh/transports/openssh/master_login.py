"""One login, which starts a ControlMaster: without prompts, or with a person at a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, LoginRefused
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.runtime_dir import private_opener
from luigi_sshjob.ssh.transports.certificates import expired_in_log
from luigi_sshjob.ssh.transports.error_mapping import key_file_missing, login_error, program_missing
from luigi_sshjob.ssh.transports.login_info import LoginInfo, parse_login_log
from luigi_sshjob.ssh.transports.openssh import command_line
from luigi_sshjob.ssh.transports.openssh.login_config import login_config
from luigi_sshjob.ssh.transports.session_process import spawn

logger = logging.getLogger("luigi-interface")

_LOGIN_WRAPPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "login_wrapper.py")
_FOR_A_PERSON = 600  # seconds


def log_path(prefix: str) -> Path:
    """The file to which a master and its ProxyCommand write as long as they live; to a pipe they could not."""
    return Path(f"{prefix}.log")


@dataclasses.dataclass(frozen=True)
class MasterLogin:
    """A login that leaves a master at `control_path`, for `keep` seconds after its last use."""

    destination: Destination
    settings: Settings
    control_path: str
    prefix: str
    """Of the files that belong to the connection."""
    keep: int
    timeout: int
    """Seconds for the connection; the rest of the login has request_timeout in addition."""
    lock: FileLock | None
    """Held until the login has ended, even if this process ends before."""

    def run(self) -> LoginInfo:
        """Log in without prompts. Raises `ConfigurationError`, `LoginRefused` or `HostUnreachable`."""
        if self.destination.sshpass and "SSHPASS" not in os.environ:
            raise ConfigurationError(
                "sshpass is set, but the environment has no SSHPASS",
                host=str(self.destination),
                doing="logging in",
                next_step="set SSHPASS to the password in the environment of the process that runs Luigi",
            )
        began = time.monotonic()
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        with open(os.open(log_path(self.prefix), flags, 0o600), "r+b") as file, self._config() as config:
            # sshpass and its terminal end with the ssh that it started; nohup keeps the master in the background alive
            password = ("sshpass", "-e", "nohup") if self.destination.sshpass else ()
            # ConnectTimeout ends with the key exchange; a host that stops responding after it would block the login
            status = self._start([*password, *self._argv(config, "-v")], self._limit, stdout=file, stderr=file)
            file.seek(0)
            log = file.read().decode("utf-8", "replace")
        if status != 0:
            error = login_error(log, self.destination, self.settings.ssh_config)
            if error.code == "authentication-failed" and (reason := expired_in_log(log)):
                error = login_error(f"{reason}\n{log}", self.destination, self.settings.ssh_config)
            raise error
        return parse_login_log(log, time.monotonic() - began)

    def run_in_terminal(self) -> None:
        """Log in with prompts at the terminal of this process. Raises `ConfigurationError` or `LoginRefused`."""
        with self._config(by_hand=True) as config:
            status = self._start(self._argv(config), _FOR_A_PERSON, stdin=None)
        if status != 0:
            raise LoginRefused(
                "the login has failed, or was given up",
                host=str(self.destination),
                doing="logging in",
                next_step="see what ssh has printed, and try again",
            )

    @property
    def _limit(self) -> float:
        return self.timeout + self.settings.request_timeout

    def _start(self, argv: list[str], limit: float, **streams: object) -> int:
        if self.destination.key_file and not os.path.exists(os.path.expanduser(self.destination.key_file)):
            raise key_file_missing(self.destination)
        if not shutil.which(argv[0]):
            raise program_missing(argv[0], str(self.destination))
        # the socket of a dead master would make ssh go on without multiplexing
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control_path)
        logger.debug("logging in on %s", self.destination)
        process: subprocess.Popen[bytes] = spawn(
            self.destination,
            subprocess.Popen,
            [sys.executable, "-I", "-S", _LOGIN_WRAPPER, str(limit), *argv],
            env=self._environment(),
            pass_fds=[self.lock.fileno()] if self.lock else [],
            **streams,
        )
        return process.wait()

    @contextlib.contextmanager
    def _config(self, *, by_hand: bool = False) -> Iterator[str]:
        """A configuration for the login, of the user's and what must hold on the way, also at jump hosts."""
        path = Path(f"{self.prefix}.config")
        with open(path, "w", encoding="utf-8", opener=private_opener) as file:
            file.write(login_config(self.settings, password=self.destination.sshpass, by_hand=by_hand))
        try:
            yield str(path)
        finally:
            path.unlink(missing_ok=True)

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self.destination.sshpass:
            # a graphical prompt would be used instead of the terminal that sshpass makes
            for name in ("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"):
                environment.pop(name, None)
        return environment

    def _argv(self, config: str, *options: str) -> list[str]:
        return [
            *("ssh", "-F", config, *options, "-S", command_line.literal(self.control_path)),
            *command_line.address_options(self.destination),
            *("-M", "-N", "-f", "-T"),
            *("-o", f"ControlPersist={self.keep}"),
            *("-o", f"ServerAliveInterval={self.settings.keepalive_interval}"),
            *("-o", f"ServerAliveCountMax={self.settings.keepalive_count}"),
            *("-o", f"ConnectTimeout={self.timeout}"),
            *("-o", "ClearAllForwardings=yes"),
            self.destination.reference,
        ]
