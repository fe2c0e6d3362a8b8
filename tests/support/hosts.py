"""Real SSH hosts to test against: a container, or a throwaway sshd on this machine.

Both answer on 127.0.0.1 and are described by an ssh client configuration of their own, so that
`ssh -F host.ssh_config host.alias` is all a test needs. What a test wants to know about the far side it asks
with `run`, `processes` and `log_text`, which do not pass through ssh.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import pwd
import re
import secrets
import shutil
import socket
import struct
import subprocess
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
from docker.errors import NotFound

from support import docker_engine, processes
from support.images import LABEL, MACHINES, image

# The label's value on the containers of this process: several runs may share an engine.
RUN = secrets.token_hex(6)
# At LogLevel VERBOSE there is also a line "Accepted key …" for each key that would do.
# Dropbear has words of its own.
ACCEPTED = re.compile(r"\bAccepted (?!key )\S+ for |\b(?:Pubkey|Password) auth succeeded for ")


class CommandFailed(Exception):
    def __init__(self, argv: tuple[str, ...], status: int, stderr: bytes) -> None:
        super().__init__(f"{argv!r} exited with {status}: {stderr.decode(errors='replace').strip()}")
        self.status = status


class Host(ABC):
    """One SSH host with one account, and what is needed to log in to it.

    `root` is a folder of this machine for the keys and configurations; it must not exist, or be empty.
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
        # Chosen here, not by the engine: it has to outlive a restart.
        self.port = _free_port()

    def start(self) -> None:
        """Return when sshd answers. The same keys and port serve until the end, also after a stop()."""
        for key in (self.key_file, self.host_key):
            if not key.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.known_hosts.write_text(f"[{self.hostname}]:{self.port} {_public(self.host_key)}")
        self.ssh_config.write_text(
            f"Host {self.alias}\n"
            f"  HostName {self.hostname}\n"
            f"  Port {self.port}\n"
            f"  User {self.username}\n"
            f'  IdentityFile "{self.key_file}"\n'
            f"  IdentitiesOnly yes\n"
            f'  UserKnownHostsFile "{self.known_hosts}"\n'
            f"  GlobalKnownHostsFile /dev/null\n"
            f"  StrictHostKeyChecking yes\n"
        )
        try:
            self._start()
            self.wait_until_up()
        except BaseException:
            self.stop()
            raise

    def wait_until_up(self) -> None:
        """Until an SSH banner is read: a published port is open before there is an sshd behind it."""
        processes.wait_until(self._answers, f"sshd of {self.alias} on port {self.port}")

    def accepted_logins(self) -> int:
        """How many logins sshd let in since start()."""
        return len(ACCEPTED.findall(self.log_text()))

    def run(self, *argv: str, check: bool = True, user: str | None = None, input: str | bytes | None = None) -> str:
        """Run a command there, not by ssh, in the account's home, and return its stdout.

        `user` is the account when None. Raises CommandFailed for a status other than 0, if `check`.
        """
        data = input.encode() if isinstance(input, str) else input
        status, stdout, stderr = self._run(argv, user or self.username, data)
        if check and status != 0:
            raise CommandFailed(argv, status, stderr)
        return stdout.decode(errors="surrogateescape")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.hostname, self.port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    @abstractmethod
    def stop(self) -> None:
        """The host is gone, with everything that ran on it. May be called twice."""

    @abstractmethod
    def authorize(self, public_key: str) -> None:
        """One more key lets in."""

    @abstractmethod
    def log_text(self) -> str:
        """sshd's log since start()."""

    @abstractmethod
    def processes(self) -> list[tuple[int, str]]:
        """(pid, arguments) of what the account runs there: sshd's own processes and zombies left out."""

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _run(self, argv: tuple[str, ...], user: str, data: bytes | None) -> tuple[int, bytes, bytes]: ...


def remove_leftovers(client: docker.DockerClient) -> None:
    """Containers of runs that were killed, and which have ended by themselves since; others restart theirs just now."""
    for container in client.containers.list(all=True, filters={"label": LABEL, "status": "exited"}):
        ended = datetime.datetime.fromisoformat(container.attrs["State"]["FinishedAt"][:19] + "+00:00")
        if (datetime.datetime.now(datetime.timezone.utc) - ended).total_seconds() > 600:
            with contextlib.suppress(NotFound):
                container.remove(v=True)


class DockerHost(Host):
    """sshd in a container, published on a free port of 127.0.0.1.

    A container shares this machine's kernel, so also its boot id: restart() ends all processes but does not
    look like a reboot to who compares that.
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
        """`machine` is one of machines.py; `options` are more keywords for the engine's containers.create."""
        super().__init__(root)
        self.options = {"command": MACHINES[machine].command, **options}
        self.machine = machine
        self.client = client or docker_engine.connect()
        self.container: docker.models.containers.Container | None = None

    def _start(self) -> None:
        # not auto_remove: a restart now and then is taken for the end, and the container removed (Docker 20.10)
        self.container = self.client.containers.create(
            self._image(),
            init=True,
            labels={LABEL: RUN},
            ports={"22/tcp": (self.hostname, self.port)},
            **self.options,
        )
        self.container.put_archive("/", self._keys())
        self.container.start()

    def _image(self) -> docker.models.images.Image:
        return image(self.client, self.machine)

    def _keys(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, content, owner in (
                ("etc/ssh/ssh_host_ed25519_key", self.host_key.read_bytes(), 0),
                ("home/job/.ssh/authorized_keys", _public(self.key_file).encode(), 1000),
            ):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode, entry.uid, entry.gid = len(content), 0o600, owner, owner
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()

    def stop(self) -> None:
        if self.container is None:
            return
        container, self.container = self.container, None
        try:
            container.remove(force=True, v=True)
            container.wait(condition="removed")
        except NotFound:
            pass

    def configure_sshd(self, text: str, *, first: bool = False) -> None:
        """From now on, for new connections. Of an option that is there already `first` wins."""
        config = "/etc/ssh/sshd_config.d/test.conf"
        order = f"cat - {config}" if first else f"cat {config} -"
        script = f"{order} >/tmp/config && mv /tmp/config {config} && kill -HUP $(pgrep -x -o sshd)"
        self.run("sh", "-c", script, user="root", input=f"{text}\n")
        self.wait_until_up()

    def pause(self) -> None:
        """Freeze every process: connections stay open and nothing answers, as in a network loss."""
        self._up().pause()

    def unpause(self) -> None:
        self._up().unpause()

    def restart(self) -> None:
        """End every process there at once, as a power cut does, and return when sshd answers again."""
        self._up().restart(timeout=0)
        self.wait_until_up()

    def authorize(self, public_key: str) -> None:
        self.run("sh", "-c", "cat >>.ssh/authorized_keys", input=public_key)

    @contextlib.contextmanager
    def strace(self, pid: int, fault: str) -> Iterator[None]:
        """While the block runs, system calls of the process and its new children meet the fault, see strace(1)."""
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}", "-p", str(pid)]
        self._up().exec_run(trace, user="root", detach=True)

        def traced(wanted: bool) -> bool:
            return ("TracerPid:\t0\n" not in self.run("cat", f"/proc/{pid}/status", user="root")) is wanted

        processes.wait_until(lambda: traced(True), "strace")
        yield
        self.run("pkill", "-x", "strace", user="root")
        processes.wait_until(lambda: traced(False), "the end of strace")

    def log_text(self) -> str:
        # Unlike a command there, this works also while the container is paused.
        chunks, _ = self._up().get_archive("/var/log/sshd.log")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile("sshd.log")
            assert member is not None
            return member.read().decode(errors="replace")

    def processes(self) -> list[tuple[int, str]]:
        found = []
        # options that busybox has, too
        for line in self.run("ps", "-A", "-o", "pid,user,stat,args", user="root", check=False).splitlines()[1:]:
            pid, user, state, args = line.split(None, 3)
            if user == self.username and not state.startswith("Z") and not re.match(r"sshd(-session)?: ", args):
                found.append((int(pid), args))
        return found

    def _run(self, argv: tuple[str, ...], user: str, data: bytes | None) -> tuple[int, bytes, bytes]:
        api = self.client.api
        home = self.home if user == self.username else "/"
        job = api.exec_create(
            self._up().id,
            list(argv),
            stdin=data is not None,
            user=user,
            workdir=home,
            environment={"HOME": home, "USER": user, "LOGNAME": user},
        )["Id"]
        output = {1: bytearray(), 2: bytearray()}
        stream = api.exec_start(job, socket=True)
        # the socket alone lacks what was read of the first frames together with the engine's headers
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
        return api.exec_inspect(job)["ExitCode"], bytes(output[1]), bytes(output[2])

    def _up(self) -> docker.models.containers.Container:
        if self.container is None:
            raise RuntimeError(f"{self.alias} is not started")
        return self.container


class LoopbackHost(Host):
    """An sshd of our own on this machine, for the account that runs the tests, with a home in `root`.

    HOME is that folder for all that runs there: the account's real home is neither read nor written. It is
    also where a session begins, if the login shell is bash or zsh.
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
        # sshd enters the home of the password file, whatever HOME says; bash and zsh read these each time.
        for rc_file in (".bashrc", ".zshenv"):
            (Path(self.home) / rc_file).write_text("cd\n")

    def _start(self) -> None:
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if program is None:
            raise RuntimeError("no sshd on this machine: install openssh-server (tests/run.sh does)")
        if os.getuid() == 0 and not Path("/run/sshd").exists():
            Path("/run/sshd").mkdir(mode=0o755)
            self._made_run_folder = True
        authorized_keys = self.root / "authorized_keys"
        authorized_keys.write_text(_public(self.key_file))
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
            # Control-C at the terminal is for pytest, which then stops this host.
            start_new_session=True,
        )

    def wait_until_up(self) -> None:
        try:
            super().wait_until_up()
        except TimeoutError as error:
            raise RuntimeError(f"{error}; its log:\n{self.log_text()}") from error

    def _answers(self) -> bool:
        if self._sshd is not None and self._sshd.poll() is not None:
            raise RuntimeError(f"sshd exited with {self._sshd.returncode}:\n{self.log_text()}")
        return super()._answers()

    def stop(self) -> None:
        if self._sshd is None:
            return
        # Open connections have processes of their own, which outlive the sshd that accepted them.
        own = [process.pid for process in processes.family(self._sshd.pid)]
        processes.kill([*own, *(pid for pid, _ in self.processes())])
        self._sshd.wait()
        self._sshd = None
        if self._made_run_folder:
            Path("/run/sshd").rmdir()
            self._made_run_folder = False

    def authorize(self, public_key: str) -> None:
        with (self.root / "authorized_keys").open("a") as keys:
            keys.write(public_key)

    def log_text(self) -> str:
        return self._log.read_text(errors="replace")

    def processes(self) -> list[tuple[int, str]]:
        """Told by HOME, which a process that empties its environment does not carry."""
        mark = f"HOME={self.home}\0".encode()
        return [(process.pid, process.args) for process in processes.running() if mark in process.environ]

    def _run(self, argv: tuple[str, ...], user: str, data: bytes | None) -> tuple[int, bytes, bytes]:
        if user != self.username:
            raise RuntimeError(f"a loopback host has no account but {self.username}: mark the test needs_docker")
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


def _public(key: Path) -> str:
    return key.with_name(key.name + ".pub").read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_locked(username: str) -> bool:
    """Whether sshd without PAM would refuse the account for its password field (root on Ubuntu)."""
    try:
        shadow = Path("/etc/shadow").read_text()
    except OSError:
        return False
    return any(line.startswith(f"{username}:!") for line in shadow.splitlines())
