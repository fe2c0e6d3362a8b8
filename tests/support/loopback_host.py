"""A throwaway sshd on this machine, for runs without a Docker engine."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support import processes
from support.hosts import Host, public_key


class LoopbackHost(Host):
    """An sshd on this machine for the account that runs the tests, with a home in `root`.

    HOME is that directory for all its processes, so the real home is neither read nor written. Sessions also start
    there if the login shell is bash or zsh.
    """

    kind = "loopback"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        account = pwd.getpwuid(os.getuid())
        self.username = account.pw_name
        self.home = str(root / "home")
        self._log = root / "sshd.log"
        self._sshd: subprocess.Popen[bytes] | None = None
        self._made_run_folder = False
        Path(self.home).mkdir(mode=0o700)
        # sshd starts a session in the home of the password file; bash and zsh read these files each time
        for rc_file in (".bashrc", ".zshenv"):
            (Path(self.home) / rc_file).write_text("cd\n")

    def _start(self) -> None:
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if program is None:
            raise RuntimeError("no sshd on this machine: install openssh-server, as tests/run.sh does")
        if os.getuid() == 0 and not Path("/run/sshd").exists():
            Path("/run/sshd").mkdir(mode=0o755)
            self._made_run_folder = True
        authorized_keys = self.root / "authorized_keys"
        authorized_keys.write_text(public_key(self.key_file))
        sftp_server = Path("/usr/lib/openssh/sftp-server")
        config = self.root / "sshd_config"
        config.write_text(
            f"ListenAddress {self.hostname}:{self.port}\n"
            f"HostKey {self.host_key}\n"
            f"AuthorizedKeysFile {authorized_keys}\n"
            f"PidFile none\n"
            f"LogLevel VERBOSE\n"
            f"PermitRootLogin prohibit-password\n"
            f"PasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\n"
            f"StrictModes no\n"
            f"UsePAM {'yes' if _is_locked(self.username) else 'no'}\n"
            f"AcceptEnv LANG LC_*\n"
            f"SetEnv HOME={self.home}\n"
            f"Subsystem sftp {sftp_server if sftp_server.exists() else 'internal-sftp'}\n"
        )
        self._log.write_bytes(b"")
        self._sshd = subprocess.Popen(
            [program, "-D", "-f", config, "-E", self._log],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log.open("ab"),
            env={"PATH": os.environ.get("PATH", os.defpath)},
            # Ctrl-C at the terminal is for pytest, which then stops this host
            start_new_session=True,
        )

    def wait_until_up(self) -> None:
        try:
            super().wait_until_up()
        except TimeoutError as error:
            raise RuntimeError(f"{error}; its log:\n{self.log_text()}") from error

    def _has_banner(self) -> bool:
        if self._sshd is not None and self._sshd.poll() is not None:
            raise RuntimeError(f"sshd exited with {self._sshd.returncode}:\n{self.log_text()}")
        return super()._has_banner()

    def stop(self) -> None:
        if self._sshd is None:
            return
        # open connections have their own processes, which outlive the sshd that accepted them
        own = [process.pid for process in processes.family(self._sshd.pid)]
        processes.kill([*own, *(pid for pid, _ in self.processes())])
        self._sshd.wait()
        self._sshd = None
        if self._made_run_folder:
            Path("/run/sshd").rmdir()
            self._made_run_folder = False

    def authorize(self, key: str) -> None:
        with (self.root / "authorized_keys").open("a") as keys:
            keys.write(key)

    def log_text(self) -> str:
        return self._log.read_text(errors="replace")

    def processes(self) -> list[tuple[int, str]]:
        """Processes with this HOME, or that name it; another one that clears its environment is not found."""
        mark = f"HOME={self.home}\0".encode()
        return [
            (process.pid, process.args)
            for process in processes.running()
            if mark in process.environ or process.names(self.home)
        ]

    def _run(self, argv: tuple[str, ...], user: str, data: bytes | None) -> tuple[int, bytes, bytes]:
        if user != self.username:
            raise RuntimeError(f"a loopback host has only the account {self.username}: mark the test needs_docker")
        environment: Mapping[str, str] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": self.home,
            "USER": user,
            "LOGNAME": user,
        }
        done = subprocess.run(
            argv,
            **({"stdin": subprocess.DEVNULL} if data is None else {"input": data}),
            capture_output=True,
            cwd=self.home,
            env=environment,
        )
        return done.returncode, done.stdout, done.stderr


def _is_locked(username: str) -> bool:
    """Whether sshd without PAM would refuse the account because of its password field (root on Ubuntu)."""
    try:
        shadow = Path("/etc/shadow").read_text()
    except OSError:
        return False
    return any(line.startswith(f"{username}:!") for line in shadow.splitlines())
