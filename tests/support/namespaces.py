"""Runs commands in the namespaces of a container, which takes milliseconds; the engine takes a tenth of a second."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import docker

_NSENTER = shutil.which("nsenter")
_SETSID = ("/usr/bin/setsid", "/bin/setsid")


class Namespaces:
    """The namespaces of a container on this machine, for a process of root.

    Its commands have the limits of this process, not the control groups and system call filter of the container.
    """

    def __init__(self, container: docker.models.containers.Container) -> None:
        self.container = container
        self._pid = 0
        self._environment: Mapping[str, str] = {}

    def found(self) -> bool:
        """Whether the container runs, on this machine, and commands can be run in its namespaces."""
        if _NSENTER is None or os.geteuid() != 0:
            return False
        # also after a restart, and where the engine counts processes on another machine
        if not self._is_right():
            self.container.reload()
            self._pid = self.container.attrs["State"]["Pid"]
            config = self.container.attrs["Config"]
            variables = dict(variable.split("=", 1) for variable in config["Env"] or [])
            self._environment = {"PATH": os.defpath, "HOSTNAME": config["Hostname"], **variables}
        # a test may have moved it
        return self._is_right() and any(os.path.lexists(f"/proc/{self._pid}/root{path}") for path in _SETSID)

    def ids(self, user: str) -> tuple[int, int]:
        """User and group id of an account."""
        for line in Path(f"/proc/{self._pid}/root/etc/passwd").read_text().splitlines():
            name, _, uid, gid, *_ = line.split(":")
            if name == user:
                return int(uid), int(gid)
        raise KeyError(user)

    def run(self, argv: tuple[str, ...], user: str, folder: str, data: bytes | None) -> tuple[int, bytes, bytes]:
        """Run a command like `docker exec` does: in a session of its own, without standard input if `data` is None."""
        uid, gid = self.ids(user)
        flags = ["--mount", "--uts", "--ipc", "--net", "--pid", f"--wd=/proc/{self._pid}/root{folder}"]
        identity = [f"--setuid={uid}", f"--setgid={gid}"]
        done = subprocess.run(
            # nsenter is not in the namespace of processes, so a command in its session would have none there
            [_NSENTER, f"--target={self._pid}", *flags, *identity, "setsid", *argv],
            **({"stdin": subprocess.DEVNULL} if data is None else {"input": data}),
            capture_output=True,
            env={**self._environment, "HOME": folder, "USER": user, "LOGNAME": user},
            umask=0o022,
        )
        # like a shell
        return (done.returncode if done.returncode >= 0 else 128 - done.returncode), done.stdout, done.stderr

    def _is_right(self) -> bool:
        try:
            return self._pid > 0 and self.container.id in Path(f"/proc/{self._pid}/mountinfo").read_text()
        except OSError:
            return False
