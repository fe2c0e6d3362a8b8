"""The kinds of SSH hosts for tests; SSHJOB_TEST_HOST chooses one.

Each is an image of the same Dockerfile with other build arguments.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker

from support import docker_engine

LABEL = "luigi_sshjob.test"

# Dropbear has its own format of host keys.
_DROPBEAR = (
    "dropbearconvert openssh dropbear /etc/ssh/ssh_host_ed25519_key /etc/dropbear/key && "
    "exec dropbear -F -E -r /etc/dropbear/key 2>>/var/log/sshd.log"
)

# the command lines of some tests need it
_SH = "sh as login shell"


@dataclass(frozen=True)
class Machine:
    """One kind of host. `lacks` names the features that tests marked `needs` may require."""

    summary: str
    base: str = docker_engine.BASE
    stage: str = "host"
    arguments: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | None = None
    lacks: frozenset[str] = frozenset()


def build(
    client: docker.DockerClient, dockerfile: str, tag: str, *, stage: str | None = None, **arguments: str
) -> docker.models.images.Image:
    """Build an image with these build arguments."""
    # Without a build context, the cache depends only on the text of the Dockerfile.
    with (Path(__file__).parents[1] / dockerfile).open("rb") as text:
        # another process of this run may build the same image: then it is in the cache
        fcntl.flock(text, fcntl.LOCK_EX)
        image, _ = client.images.build(
            fileobj=text,
            target=stage,
            buildargs=arguments,
            labels={LABEL: "image"},
            # The default build network may not have this machine's name resolution.
            network_mode="host",
            tag=f"luigi_sshjob-test:{tag}",
            rm=True,
            forcerm=True,
        )
    return image


def _shell(path: str, package: str = "", *, rc: str = "", lacks: tuple[str, ...] = ()) -> Machine:
    summary = f"login shell {path.rpartition('/')[2]}" + (", whose rc file prints and sleeps" if rc else "")
    arguments = {"LOGIN_SHELL": path, "PACKAGES": package, "RC": rc}
    return Machine(summary, arguments=arguments, lacks=frozenset(lacks))


def _sshd(line: str, *, lacks: tuple[str, ...] = ()) -> Machine:
    return Machine(f"sshd with {line}", arguments={"SSHD": line}, lacks=frozenset(lacks))


HERE = "local"
MACHINES = {
    "debian12": Machine("Debian 12, OpenSSH 9.2"),
    "debian13": Machine("Debian 13, OpenSSH 10.0", base="debian:trixie-slim"),
    "debian11": Machine("Debian 11, OpenSSH 8.4", base="debian:bullseye-slim"),
    "dropbear": Machine(
        "dropbear 2022.83 as server",
        arguments={"PACKAGES": "dropbear-bin"},
        command=("timeout", "2h", "sh", "-c", _DROPBEAR),
        # it occasionally loses one of several concurrent sessions, with its output; also for a plain ssh
        lacks=frozenset({"exit status of every session"}),
    ),
    "busybox": Machine(
        "busybox for shell and every tool, no GNU program",
        stage="busybox",
        lacks=frozenset(
            {"bash", "flock", "modules", "python", "tar that keeps the times of directories", "programs found by PATH"}
        ),
    ),
    "dash": _shell("/bin/dash"),
    "bash": _shell(
        "/bin/bash",
        rc=r"echo welcome to the machine\necho careful >&2\nsleep 0.3\nprintf 'no newline'",
        lacks=("silent rc file",),
    ),
    "mksh": _shell("/bin/mksh"),
    "fish": _shell("/usr/bin/fish", "fish", lacks=(_SH,)),
    "tcsh": _shell("/bin/tcsh", "tcsh", lacks=(_SH,)),
    "sessions1": _sshd("MaxSessions 1", lacks=("second session",)),
    "startups1": _sshd("MaxStartups 1:100:1"),
    # no container: see local_host.py
    HERE: Machine("this machine, without SSH", lacks=frozenset({"logins", "modules"})),
    # not an SSH host: the machine of a new user, see package.py
    "clean": Machine("Debian 12 with Python and ssh", arguments={"PACKAGES": "python3 python3-venv"}),
}


def image(client: docker.DockerClient, name: str) -> docker.models.images.Image:
    """Return the image of a machine, built if needed. Raises `docker_engine.NoBaseImage`."""
    machine = MACHINES[name]
    docker_engine.ensure_base(client, machine.base)
    return build(client, "Dockerfile", name, stage=machine.stage, BASE=machine.base, **machine.arguments)


CHOSEN = os.environ.get("SSHJOB_TEST_HOST") or "debian12"
if CHOSEN not in MACHINES:
    raise SystemExit(f"invalid value for SSHJOB_TEST_HOST: {CHOSEN}; it must be one of {', '.join(MACHINES)}")
