"""SSH hosts for the tests: the base class, and a host in a container.

Each host listens on 127.0.0.1 and has its own ssh client configuration: `ssh -F host.ssh_config host.alias`. `run`,
`processes` and `log_text` inspect the host without ssh.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import re
import secrets
import socket
import struct
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import NotFound

from luigi_sshjob.testing.sshd import client_configuration, free_port, known_host, make_key, public_key

from support import docker_engine, processes
from support.images import LABEL, MACHINES, image
from support.namespaces import Namespaces

# The label of the containers of this process, because several runs may share an engine.
RUN = secrets.token_hex(6)
# At LogLevel VERBOSE there is also a line "Accepted key …" for each acceptable key. The second form is dropbear's.
ACCEPTED = re.compile(r"\bAccepted (?!key )\S+ for |\b(?:Pubkey|Password) auth succeeded for ")


class CommandFailed(Exception):
    def __init__(self, argv: tuple[str, ...], status: int, stderr: bytes) -> None:
        super().__init__(f"{argv!r} exited with {status}: {stderr.decode(errors='replace').strip()}")
        self.status = status


class Host(ABC):
    """An SSH host with one account, its keys and a client configuration.

    `root` is a local directory for keys and configurations; it must be empty or missing.
    """

    kind: str
    username: str
    home: str
    hostname = "127.0.0.1"

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = root
        self.alias = f"sshjob-{self.kind}-{secrets.token_hex(3)}"
        self.ssh_config = root / "ssh_config"
        self.key_file = root / "id_ed25519"
        self.known_hosts = root / "known_hosts"
        self.host_key = root / "ssh_host_ed25519_key"
        # chosen here, not by the engine, to stay the same after a restart
        self.port = free_port()

    def start(self) -> None:
        """Start the host and wait for sshd. Keys and port stay the same, also after stop()."""
        for key in (self.key_file, self.host_key):
            make_key(key)
        self.known_hosts.write_text(known_host(self.port, self.host_key))
        self.ssh_config.write_text(
            client_configuration(self.alias, self.port, self.username, self.key_file, self.known_hosts)
        )
        try:
            self._start()
            self.wait_until_up()
        except BaseException:
            self.stop()
            raise

    def wait_until_up(self) -> None:
        """Wait for an SSH banner. A published port is open before sshd runs."""
        processes.wait_until(self._has_banner, f"sshd of {self.alias} on port {self.port}")

    def accepted_logins(self) -> int:
        """Number of logins that sshd accepted since start()."""
        return len(ACCEPTED.findall(self.log_text()))

    def run(self, *argv: str, check: bool = True, user: str | None = None, input: str | bytes | None = None) -> str:
        """Run a command on the host without ssh, in the home of the account, and return its stdout.

        `user` defaults to the account. With `check`, raises `CommandFailed` for an exit status other than 0.
        """
        data = input.encode() if isinstance(input, str) else input
        status, stdout, stderr = self._run(argv, user or self.username, data)
        if check and status != 0:
            raise CommandFailed(argv, status, stderr)
        return stdout.decode(errors="surrogateescape")

    def _has_banner(self) -> bool:
        try:
            with socket.create_connection((self.hostname, self.port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    @abstractmethod
    def stop(self) -> None:
        """Remove the host and all its processes. May be called twice."""

    @abstractmethod
    def authorize(self, key: str) -> None:
        """Add an authorized key."""

    @abstractmethod
    def log_text(self) -> str:
        """Log of sshd since start()."""

    @abstractmethod
    def processes(self) -> list[tuple[int, str]]:
        """Pid and arguments of the processes of the account, except sshd's own and zombies."""

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _run(self, argv: tuple[str, ...], user: str, data: bytes | None) -> tuple[int, bytes, bytes]: ...


def remove_leftovers(client: docker.DockerClient) -> None:
    """Remove exited containers of killed runs. Another run may be restarting a recently exited one."""
    for container in client.containers.list(all=True, filters={"label": LABEL, "status": "exited"}):
        ended = datetime.datetime.fromisoformat(container.attrs["State"]["FinishedAt"][:19] + "+00:00")
        if (datetime.datetime.now(datetime.timezone.utc) - ended).total_seconds() > 600:
            with contextlib.suppress(NotFound):
                container.remove(v=True)


class DockerHost(Host):
    """A host in a container, published on a free port of 127.0.0.1.

    Containers share the kernel and its boot id: restart() ends all processes, but the boot id stays the same.
    """

    kind = "docker"
    username = "job"
    home = "/home/job"

    def __init__(
        self,
        root: Path,
        machine: str = "debian12",
        client: docker.DockerClient | None = None,
        **options: object,
    ) -> None:
        """`machine` is a key of MACHINES in images.py; `options` are passed to the engine's containers.create."""
        super().__init__(root)
        self.options = {"command": MACHINES[machine].command, **options}
        self.machine = machine
        self.client = client or docker_engine.connect()
        self.container: docker.models.containers.Container | None = None
        self._namespaces: Namespaces | None = None

    def _start(self) -> None:
        # not auto_remove: Docker 20.10 sometimes takes a restart for the end and removes the container
        self.container = self.client.containers.create(
            self.image,
            init=True,
            labels={LABEL: RUN},
            **{**self.options, "ports": {"22/tcp": (self.hostname, self.port), **self.options.get("ports", {})}},
        )
        self.container.put_archive("/", self._keys())
        self.container.start()
        self._namespaces = Namespaces(self.container)

    @functools.cached_property
    def image(self) -> docker.models.images.Image:
        """The same for all machines of a cluster: another process may build it, with other keys, at the same time."""
        return self._image()

    def _image(self) -> docker.models.images.Image:
        return image(self.client, self.machine)

    def _keys(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, content, owner in (
                ("etc/ssh/ssh_host_ed25519_key", self.host_key.read_bytes(), 0),
                ("home/job/.ssh/authorized_keys", public_key(self.key_file).encode(), 1000),
            ):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode, entry.uid, entry.gid = len(content), 0o600, owner, owner
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()

    def stop(self) -> None:
        if self.container is None:
            return
        container, self.container, self._namespaces = self.container, None, None
        try:
            container.remove(force=True, v=True)
            container.wait(condition="removed")
        except NotFound:
            pass

    def configure_sshd(self, text: str, *, first: bool = False) -> None:
        """Add options for new connections. sshd uses the first value of an option: see `first`."""
        config = "/etc/ssh/sshd_config.d/test.conf"
        order = f"cat - {config}" if first else f"cat {config} -"
        script = f"{order} >/tmp/config && mv /tmp/config {config} && kill -HUP $(pgrep -x -o sshd)"
        self.run("sh", "-c", script, user="root", input=f"{text}\n")
        self.wait_until_up()

    def pause(self) -> None:
        """Freeze all processes: connections stay open without responses, as in a network outage."""
        self._up().pause()

    def unpause(self) -> None:
        self._up().unpause()

    def restart(self) -> None:
        """Kill all processes at once, as a power failure does, and wait for sshd."""
        self._up().restart(timeout=0)
        self.wait_until_up()

    def authorize(self, key: str) -> None:
        self.run("sh", "-c", "cat >>.ssh/authorized_keys", input=key)

    @contextlib.contextmanager
    def strace(self, pid: int, fault: str) -> Iterator[None]:
        """Inject a fault into the system calls of a process and its new children, see strace(1)."""
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}", "-p", str(pid)]
        self._up().exec_run(trace, user="root", detach=True)

        def traced() -> bool:
            status = self.run("cat", f"/proc/{pid}/status", user="root", check=False)
            return "TracerPid:" in status and "TracerPid:\t0\n" not in status

        processes.wait_until(traced, "strace")
        yield
        # KILL: when asked to end, strace can wait for a process that waits for its vforked child, which strace holds
        # unless it has ended with the process
        self.run("pkill", "-KILL", "-x", "strace", user="root", check=False)
        processes.wait_until(lambda: not traced(), "the end of strace")

    def log_text(self) -> str:
        # unlike a command, this also works while the container is paused
        chunks, _ = self._up().get_archive("/var/log/sshd.log")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile("sshd.log")
            assert member is not None
            return member.read().decode(errors="replace")

    def processes(self) -> list[tuple[int, str]]:
        found = []
        # options that busybox supports
        _, listed, _ = self._run(("ps", "-A", "-o", "pid,user,stat,args"), "root", None, inside=True)
        for line in listed.decode(errors="surrogateescape").splitlines()[1:]:
            pid, user, state, args = line.split(None, 3)
            if user == self.username and not state.startswith("Z") and not re.match(r"sshd(-session)?: ", args):
                found.append((int(pid), args))
        return found

    def _run(
        self, argv: tuple[str, ...], user: str, data: bytes | None, *, inside: bool = False
    ) -> tuple[int, bytes, bytes]:
        """With `inside` also root's command may run without the limits that the engine sets."""
        home = self.home if user == self.username else "/"
        if (inside or user == self.username) and self._namespaces is not None and self._namespaces.found():
            return self._namespaces.run(argv, user, home, data)
        api = self.client.api
        execution = api.exec_create(
            self._up().id,
            list(argv),
            stdin=data is not None,
            user=user,
            workdir=home,
            environment={"HOME": home, "USER": user, "LOGNAME": user},
        )["Id"]
        output = {1: bytearray(), 2: bytearray()}
        stream = api.exec_start(execution, socket=True)
        # the socket lacks the part of the first frames that was read together with the HTTP headers
        reader = stream._response.raw._fp.fp
        try:
            if data is not None:
                stream._sock.sendall(data)
                stream._sock.shutdown(socket.SHUT_WR)
            while header := reader.read(8):
                number, size = struct.unpack(">BxxxL", header)
                output[number] += reader.read(size)
        finally:
            stream.close()
        return api.exec_inspect(execution)["ExitCode"], bytes(output[1]), bytes(output[2])

    def _up(self) -> docker.models.containers.Container:
        if self.container is None:
            raise RuntimeError(f"{self.alias} is not started")
        return self.container
