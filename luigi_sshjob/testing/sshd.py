"""An sshd on this machine for the account of this process, and the ssh configuration of its clients."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from luigi_sshjob.errors import LocalResourceError
from luigi_sshjob.testing.processes import Process, family, kill_all, running, wait_for

ADDRESS = "127.0.0.1"

DIRECTORIES = "/usr/sbin:/sbin"
"""Where sshd is; often not in the PATH of an ordinary user."""

_PRIVILEGE_SEPARATION = Path("/run/sshd")
"""Compiled into Debian's sshd, which does not start as root without it."""

_OURS = ".luigi-sshjob"


def find_sshd() -> str | None:
    """Return the path of the program."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:{DIRECTORIES}")


def username() -> str:
    """Return the name of the account of this process. Raises `KeyError` if it has none: sshd requires one."""
    return pwd.getpwuid(os.geteuid()).pw_name


def free_port() -> int:
    """Return a port of 127.0.0.1 that no process uses now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def make_key(path: Path) -> None:
    """Make a key without a passphrase, unless it exists."""
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sshjob", "-f", path], check=True)


def public_key(key: Path) -> str:
    """Return the line of the public key."""
    return key.with_name(key.name + ".pub").read_text()


def make_home(path: Path) -> Path:
    """Make a home directory in which sessions start if the login shell is bash or zsh, and return it."""
    path.mkdir(mode=0o700)
    # sshd starts a session in the home of the password file; bash and zsh read these files each time
    for rc_file in (".bashrc", ".zshenv"):
        (path / rc_file).write_text("cd\n")
    return path


def client_configuration(pattern: str, port: int, account: str, key: Path, known_hosts: Path) -> str:
    """Return an ssh configuration that leads the hosts of `pattern` to the port, and reads no other file."""
    return (
        f"Host {pattern}\n"
        f"  HostName {ADDRESS}\n"
        f"  Port {port}\n"
        f"  User {account}\n"
        f'  IdentityFile "{key}"\n'
        f"  IdentitiesOnly yes\n"
        f'  UserKnownHostsFile "{known_hosts}"\n'
        f"  GlobalKnownHostsFile /dev/null\n"
        f"  StrictHostKeyChecking yes\n"
    )


def known_host(port: int, host_key: Path) -> str:
    """Return the line of a known_hosts file."""
    return f"[{ADDRESS}]:{port} {public_key(host_key)}"


class Sshd:
    """An sshd on a port of 127.0.0.1, with its files in `root`. HOME is `home` for all processes of its sessions.

    Runs as any account. Only that account can log in, with the keys in `authorized_keys`.
    """

    def __init__(self, root: Path, home: Path, port: int, host_key: Path):
        self.home = home
        self.authorized_keys = root / "authorized_keys"
        self.port = port
        self._host_key = host_key
        self._configuration = root / "sshd_config"
        self._log = root / "sshd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = contextlib.ExitStack()

    def start(self) -> None:
        """Start it and wait until it accepts connections. Raises `LocalResourceError` with its log if it does not."""
        program = find_sshd()
        if program is None:
            raise LocalResourceError(
                "there is no sshd on this machine", next_step="install it (Debian: package openssh-server)"
            )
        self._configuration.write_text(self._options())
        self._log.write_bytes(b"")
        if os.geteuid() == 0:
            self._directory.enter_context(_privilege_separation_directory())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-f", self._configuration, "-E", self._log],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                # Ctrl-C at the terminal is for the tests, which then stop it
                start_new_session=True,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it and all processes of its sessions."""
        if self._process is not None:
            # connections have their own processes, which outlive the sshd that accepted them
            pid = self._process.pid
            kill_all(lambda: [*family(pid), *self.processes()])
            self._process.wait()
            self._process = None
        self._directory.close()

    def log_text(self) -> str:
        """Its log since the last start."""
        return self._log.read_text(errors="replace")

    def processes(self) -> list[Process]:
        """The processes with this HOME, or that name it; one that clears its environment is not found."""
        mark = os.fsencode(f"HOME={self.home}\0")
        named = [each for each in running() if mark in each.environ or each.names(str(self.home))]
        return [each for each in named if each.pid != os.getpid()]

    def _options(self) -> str:
        sftp_server = Path("/usr/lib/openssh/sftp-server")
        return (
            f"ListenAddress {ADDRESS}:{self.port}\n"
            f"HostKey {self._host_key}\n"
            f"AuthorizedKeysFile {self.authorized_keys}\n"
            f"PidFile none\n"
            f"LogLevel VERBOSE\n"
            f"AllowUsers {username()}\n"
            f"PermitRootLogin prohibit-password\n"
            f"PasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\n"
            f"StrictModes no\n"
            f"UsePAM {'yes' if _is_locked(username()) else 'no'}\n"
            # of the real home directory
            f"PermitUserRC no\n"
            f"AcceptEnv LANG LC_*\n"
            f"SetEnv HOME={self.home}\n"
            f"Subsystem sftp {sftp_server if sftp_server.exists() else 'internal-sftp'}\n"
        )

    def _wait_until_up(self) -> None:
        assert self._process
        if not wait_for(self._responds_or_has_ended) or self._process.poll() is not None:
            raise LocalResourceError(
                f"the throwaway sshd has not started; its log: {self.log_text().strip()}",
                next_step="fix the reason in its log; if the port is in use, try another one",
            )

    def _responds_or_has_ended(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            return True
        try:
            with socket.create_connection((ADDRESS, self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def _is_locked(account: str) -> bool:
    """Whether sshd without PAM would refuse the account because of its password field (root on Ubuntu)."""
    try:
        shadow = Path("/etc/shadow").read_text()
    except OSError:
        return False
    return any(line.startswith(f"{account}:!") for line in shadow.splitlines())


@contextlib.contextmanager
def _privilege_separation_directory() -> Iterator[None]:
    """The directory exists while the block runs; the last process that needs it removes it, if one of them made it."""
    descriptor = _open_shared(_PRIVILEGE_SEPARATION)
    try:
        yield
    finally:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (_PRIVILEGE_SEPARATION / _OURS).exists():
                (_PRIVILEGE_SEPARATION / _OURS).unlink()
                _PRIVILEGE_SEPARATION.rmdir()
        os.close(descriptor)


def _open_shared(path: Path) -> int:
    while True:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o755)
            (path / _OURS).touch()
        # the last process that used it may remove it meanwhile
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
            os.close(descriptor)
