"""A session on this machine: what sshd would start after a login."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal

from luigi_sshjob.ssh.local.runtime_dir import local_username
from luigi_sshjob.ssh.transports.session_process import SessionProcess

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NO_STATUS = 255  # as ssh's, if a signal has ended the command
# Luigi may run as a service, whose account is not meant for logins.
_NO_SHELLS = ("nologin", "false")


class LocalSession(SessionProcess):
    """The login shell, which runs one command; in a session of its own, so that no signal of a terminal reaches it."""

    _status: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit status; 255 if a signal has ended the shell."""
        return _NO_STATUS if self._status is not None and self._status < 0 else self._status

    @returncode.setter
    def returncode(self, status: int | None) -> None:
        self._status = status

    @property
    def has_exit_status(self) -> bool:
        """Whether `returncode` is the command's own."""
        return self._status is not None and self._status >= 0

    def kill(self) -> None:
        """Kill the shell and its children."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def login_shell() -> str:
    """The program that runs the commands of this account."""
    try:
        shell = pwd.getpwuid(os.geteuid()).pw_shell
    except KeyError:
        shell = ""
    return shell if os.access(shell, os.X_OK) and os.path.basename(shell) not in _NO_SHELLS else "/bin/sh"


def login_argv(command: str) -> list[str]:
    """The arguments of a login shell, which reads the account's profile, for one command."""
    return [f"-{os.path.basename(login_shell())}", "-c", command]


def login_environment() -> dict[str, str]:
    """The environment of a login, the same in each process; the profile adds to it."""
    name = local_username()
    return {"HOME": home(), "USER": name, "LOGNAME": name, "SHELL": login_shell(), "PATH": _PATH}


def home() -> str:
    """The home directory, as it is in the environment or else in the user database."""
    return os.path.expanduser("~")
