"""One login, which starts a ControlMaster: without prompts, or with a person at a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, SSHJobError
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.runtime_dir import private_opener
from luigi_sshjob.ssh.transports.certificates import expired_in_log
from luigi_sshjob.ssh.transports.error_mapping import key_file_missing, login_error, program_missing
from luigi_sshjob.ssh.transports.login_info import LoginInfo, parse_login_log
from luigi_sshjob.ssh.transports.login_log import without_debug
from luigi_sshjob.ssh.transports.openssh import command_line
from luigi_sshjob.ssh.transports.openssh.login_config import login_config
from luigi_sshjob.ssh.transports.session_process import LocalProcess, spawn
from luigi_sshjob.text import visible

logger = logging.getLogger("luigi-interface")

_LOGIN_WRAPPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "login_wrapper.py")
_FOR_A_PERSON = 600  # seconds
_SHOW_EVERY = 0.05  # seconds
_LARGEST_LOG = 1 << 20  # bytes
# ssh puts the name of the configuration into a command line for the shell, without quotes
_SAFE = re.compile(r"[\w./-]+")


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
        # sshpass and its terminal end with the ssh that it started; nohup keeps the master in the background alive
        password = ("sshpass", "-e", "nohup") if self.destination.sshpass else ()
        with self._log() as file, self._config() as config:
            # ConnectTimeout ends with the key exchange; a host that stops responding after it would block the login
            process = self._start([*password, *self._argv(config)], self._limit, file)
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_SHOW_EVERY)
                _limit_size(file)
            self._check(process.returncode, file)
            return parse_login_log(_read(file), time.monotonic() - began)

    def run_in_terminal(self) -> None:
        """Log in with prompts at the terminal of this process. Raises `ConfigurationError` or `LoginRefused`."""
        with self._log() as file, self._config(by_hand=True) as config:
            process = self._start(self._argv(config), _FOR_A_PERSON, file, stdin=None)
            shown = 0
            while True:
                ended = process.poll() is not None
                # what is for the person: prompts are written to the terminal by ssh itself
                text = _read(file)[shown:]
                shown += len(text[: text.rfind("\n") + 1])
                sys.stderr.write(visible(without_debug(text[: text.rfind("\n") + 1])))
                sys.stderr.flush()
                if ended:
                    break
                if _limit_size(file):
                    shown = 0
                time.sleep(_SHOW_EVERY)
            self._check(process.returncode, file, prompted=True)

    @contextlib.contextmanager
    def _log(self) -> Iterator[IO[bytes]]:
        path = log_path(self.prefix)
        # a master that has lost its socket may still write to the old one
        path.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "r+b") as file:
            yield file

    def _check(self, status: int, file: IO[bytes], *, prompted: bool = False) -> None:
        if status == 0:
            return

        def error(log: str) -> SSHJobError:
            config = self.settings.ssh_config
            return login_error(log, self.destination, config, by_hand=not prompted, prompted=prompted)

        log = _read(file)
        found = error(log)
        if found.code == "authentication-failed" and (reason := expired_in_log(log)):
            found = error(f"{reason}\n{log}")
        raise found

    @property
    def _limit(self) -> float:
        return self.timeout + self.settings.request_timeout

    def _start(
        self, argv: list[str], limit: float, log: IO[bytes], stdin: int | None = subprocess.DEVNULL
    ) -> LocalProcess:
        if self.destination.key_file and not os.path.exists(os.path.expanduser(self.destination.key_file)):
            raise key_file_missing(self.destination)
        if not shutil.which(argv[0]):
            raise program_missing(argv[0], str(self.destination))
        # the socket of a dead master would make ssh go on without multiplexing
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control_path)
        logger.debug("logging in on %s", self.destination)
        return spawn(
            self.destination,
            LocalProcess,
            [sys.executable, "-I", "-S", _LOGIN_WRAPPER, str(limit), *argv],
            env=self._environment(),
            pass_fds=[self.lock.fileno()] if self.lock else [],
            stdin=stdin,
            stdout=log,
            stderr=log,
        )

    @contextlib.contextmanager
    def _config(self, *, by_hand: bool = False) -> Iterator[str]:
        """A configuration for the login, of the user's and what must hold on the way, also at jump hosts."""
        path = Path(f"{self.prefix}.config" if _SAFE.fullmatch(self.prefix) else f"/tmp/{secrets.token_hex(8)}.config")  # noqa: S108
        # created by this process: nobody else can have put a link there
        path.unlink(missing_ok=True)
        with open(path, "x", encoding="utf-8", errors="surrogateescape", opener=private_opener) as file:
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

    def _argv(self, config: str) -> list[str]:
        return [
            # verbose, see login_log.py
            *("ssh", "-F", config, "-v", "-S", command_line.literal(self.control_path)),
            *command_line.address_options(self.destination),
            *("-M", "-N", "-f", "-T"),
            *("-o", f"ControlPersist={self.keep}"),
            *("-o", f"ServerAliveInterval={self.settings.keepalive_interval}"),
            *("-o", f"ServerAliveCountMax={self.settings.keepalive_count}"),
            *("-o", f"ConnectTimeout={self.timeout}"),
            *("-o", "ClearAllForwardings=yes"),
            self.destination.reference,
        ]


def _limit_size(file: IO[bytes]) -> bool:
    # the host may print without an end; the file is written at its end, so that it begins again
    too_large = os.fstat(file.fileno()).st_size > _LARGEST_LOG
    if too_large:
        os.truncate(file.fileno(), 0)
    return too_large


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(2 * _LARGEST_LOG).decode("utf-8", "replace")
