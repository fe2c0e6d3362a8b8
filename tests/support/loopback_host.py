"""A throwaway sshd on this machine, for runs without a Docker engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from luigi_sshjob.testing.sshd import Sshd, make_home, public_key, username

from support.hosts import Host


class LoopbackHost(Host):
    """An sshd on this machine for the account that runs the tests, with a home in `root`.

    HOME is that directory for all its processes, so the real home is neither read nor written. Sessions also start
    there if the login shell is bash or zsh.
    """

    kind = "loopback"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.username = username()
        self._server = Sshd(root, make_home(root / "home"), self.port, self.host_key)
        self.home = str(self._server.home)

    def _start(self) -> None:
        self._server.authorized_keys.write_text(public_key(self.key_file))
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def authorize(self, key: str) -> None:
        with self._server.authorized_keys.open("a") as keys:
            keys.write(key)

    def log_text(self) -> str:
        return self._server.log_text()

    def processes(self) -> list[tuple[int, str]]:
        """Processes with this HOME, or that name it; another one that clears its environment is not found."""
        return [(process.pid, process.args) for process in self._server.processes()]

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
