"""A host with systemd and control groups of version 2: a kernel of its own, which runs as a process in a container."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import docker

from luigi_sshjob.testing.sshd import public_key

from support.hosts import DockerHost
from support.images import build

TUN = "/dev/net/tun"

START = """
ip tuntap add tap0 mode tap && ip addr add 10.0.2.1/24 dev tap0 && ip link set tap0 up gso_max_segs 1
socat TCP-LISTEN:22,fork,reuseaddr TCP:10.0.2.2:22,retry=3 2>/dev/null &
exec timeout 2h linux.uml mem=768M ubd0=/machine/disk ubd1r=/keys.tar root=/dev/ubda rw \\
  vec0:transport=tap,ifname=tap0,depth=128 con=null con0=null,fd:1 systemd.show_status=1
"""


class SystemdHost(DockerHost):
    """`run` uses a connection of root, so that the account has no login but those of a test."""

    kind = "systemd"

    def __init__(self, root: Path, client: docker.DockerClient) -> None:
        super().__init__(
            root,
            client=client,
            command=["sh", "-c", START],
            devices=[f"{TUN}:{TUN}"],
            cap_add=["NET_ADMIN"],
            # that of the guest; the one of the engine in /dev/shm must not have code
            tmpfs={"/memory": "exec,size=800m"},
            environment={"TMPDIR": "/memory"},
        )
        self._socket = self.root / "root"

    def _image(self) -> docker.models.images.Image:
        return build(self.client, "Dockerfile.systemd", "systemd", BASE=super()._image().id)

    def _keys(self) -> bytes:
        """An archive with the archive that the guest unpacks."""
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w") as archive:
            own = super()._keys()
            with tarfile.open(fileobj=io.BytesIO(own)) as others:
                for member in others:
                    archive.addfile(member, others.extractfile(member))
            for path, kind, content in (
                ("root/.ssh", tarfile.DIRTYPE, b""),
                ("root/.ssh/authorized_keys", tarfile.REGTYPE, public_key(self.key_file).encode()),
            ):
                entry = tarfile.TarInfo(path)
                entry.type, entry.size, entry.mode = kind, len(content), 0o700
                archive.addfile(entry, io.BytesIO(content))
        outer = io.BytesIO()
        with tarfile.open(fileobj=outer, mode="w") as archive:
            entry = tarfile.TarInfo("keys.tar")
            entry.size = len(inner.getvalue())
            archive.addfile(entry, io.BytesIO(inner.getvalue()))
        return outer.getvalue()

    def stop(self) -> None:
        if self._socket.exists():
            subprocess.run([*self._ssh(), "-O", "exit", self.alias], capture_output=True)
        super().stop()

    def log_text(self) -> str:
        return self.run("journalctl", "-u", "ssh", "-o", "cat", user="root")

    def processes(self) -> list[tuple[int, str]]:
        # ps(1) cannot read the times of this kernel
        listed = self.run("pgrep", "-u", self.username, "-a", user="root", check=False)
        found = [line.partition(" ") for line in listed.splitlines()]
        own = re.compile(r"sshd(-session)?: |(/usr)?/lib/systemd/systemd|\(sd-pam\)|.*dbus-daemon")
        return [(int(pid), args) for pid, _, args in found if not own.match(args)]

    def cgroups(self) -> list[str]:
        """The control groups of jobs."""
        return self.run("find", "/sys/fs/cgroup", "-type", "d", "-name", "sshjob-*", user="root").split()

    def _ssh(self) -> list[str]:
        master = ["ControlMaster=auto", f"ControlPath={self._socket}", "ControlPersist=yes", "User=root"]
        return ["ssh", "-F", str(self.ssh_config), *(word for option in master for word in ("-o", option))]

    def _run(
        self, argv: tuple[str, ...], user: str, data: bytes | None, *, inside: bool = False
    ) -> tuple[int, bytes, bytes]:
        home = self.home if user == self.username else "/root"
        words = ["env", "-C", home, f"HOME={home}", f"USER={user}", *argv]
        if user != "root":
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *words]
        done = subprocess.run([*self._ssh(), self.alias, shlex.join(words)], input=data or b"", capture_output=True)
        return done.returncode, done.stdout, done.stderr
