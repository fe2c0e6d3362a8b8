"""A host for tests on this machine, which exists for the duration of a block."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from luigi_sshjob.errors import ConfigurationError, LocalResourceError
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.ssh.transports.local.session import login_shell
from luigi_sshjob.ssh.transports.openssh.command_line import client_argv
from luigi_sshjob.ssh.transports.openssh.open_connections import open_connections
from luigi_sshjob.testing import sshd
from luigi_sshjob.testing.processes import Process, kill_all, running, wait_for
from luigi_sshjob.testing.settings import configured, environment

TRANSPORTS = ("openssh", "local")

_ALIAS = "sshjob-test"
_TRIES = 3  # another process may take the port meanwhile
_SETTINGS = {
    "base_dir": "~/.luigi-sshjob",
    "existing_master": "no",
    "launcher": "nohup",
    # a test fails soon if something is wrong
    "connect_timeout": "10",
    "unreachable_timeout": "10",
}


@dataclasses.dataclass(frozen=True)
class ThrowawayHost:
    """A host for tests, see `throwaway_host`."""

    host: str
    """Its name, for the attribute `host` of a task."""
    transport: str
    """How it is reached: "openssh" or "local"."""
    home: Path
    """Where relative paths on the host begin, as a path of this machine."""


def why_unavailable(transport: str) -> str:
    """Return why there can be no such host on this machine, for the reason of a skipped test; empty if there can."""
    if not Path("/proc/self/environ").exists():
        return "luigi_sshjob.testing finds the processes of jobs in /proc, which this system does not have"
    if transport == "openssh":
        if sshd.find_sshd() is None:
            return "there is no sshd on this machine (Debian: package openssh-server)"
        missing = [program for program in ("ssh", "ssh-keygen") if shutil.which(program) is None]
        if missing:
            return f"there is no {missing[0]} on this machine (Debian: package openssh-client)"
        return _why_no_login()
    return ""


def _why_no_login() -> str:
    try:
        shell = pwd.getpwuid(os.geteuid()).pw_shell
    except KeyError:
        return f"the account of this process has no name, which sshd requires (its number is {os.geteuid()})"
    if shell and login_shell() != shell:
        return f"the account of this process cannot log in, because its shell is {shell}"
    return ""


@contextlib.contextmanager
def throwaway_host(transport: str = "openssh") -> Iterator[ThrowawayHost]:
    """A host on this machine while the block runs, with a home directory of its own: an unprivileged sshd on 127.0.0.1.

    With "local", jobs run on this machine without ssh, and HOME of this process is that directory meanwhile. Every name
    of a host leads to it, so no test reaches another machine; Luigi's configuration is as before at the end. Then all
    jobs that still run are killed, connections are closed, and files are removed.

    Raises `LocalResourceError` if this machine cannot have such a host, see `why_unavailable`.
    """
    if transport not in TRANSPORTS:
        raise ConfigurationError(
            f"invalid transport of a throwaway host: {transport!r}", next_step=f"use one of {', '.join(TRANSPORTS)}"
        )
    if reason := why_unavailable(transport):
        raise LocalResourceError(
            f"no throwaway host can be started: {reason}", next_step="install what is missing, or skip the test"
        )
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(_temporary_directory())
        home = sshd.make_home(root / "home")
        stack.enter_context(environment({f"XDG_{name}_HOME": str(root / name.lower()) for name in ("CACHE", "STATE")}))
        settings = {**_SETTINGS, "transport": transport, "runtime_dir": str(root / "run")}
        if transport == "openssh":
            settings["ssh_config"] = str(stack.enter_context(_server(root, home)))
        else:
            stack.enter_context(environment({"HOME": str(home)}))
        stack.enter_context(configured(settings, root))
        stack.callback(_end_jobs_and_connections, root)
        yield ThrowawayHost(_ALIAS, transport, home)


@contextlib.contextmanager
def _temporary_directory() -> Iterator[Path]:
    # not $TMPDIR or pytest's tmp_path: the path of a control socket is limited to 104 bytes
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="sshjob-test-", dir="/tmp")))  # is private
    try:
        yield root
    finally:
        _remove(root)


def _remove(root: Path) -> None:
    for folder, names, _ in os.walk(root):
        for path in (os.path.join(folder, name) for name in names):
            # a job may have made a directory that cannot be changed
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(root)


@contextlib.contextmanager
def _server(root: Path, home: Path) -> Iterator[Path]:
    """An sshd; yields the ssh configuration that leads to it."""
    key, host_key, known_hosts, config = (root / name for name in ("key", "host_key", "known_hosts", "ssh_config"))
    sshd.make_key(key)
    sshd.make_key(host_key)
    server = _started(root, home, key, host_key)
    try:
        known_hosts.write_text(sshd.known_host(server.port, host_key))
        text = sshd.client_configuration("*", server.port, sshd.username(), key, known_hosts)
        # that of a person may prompt
        config.write_text(f"{text}  IdentityAgent none\n")
        yield config
    finally:
        server.stop()


def _started(root: Path, home: Path, key: Path, host_key: Path, tries: int = _TRIES) -> sshd.Sshd:
    server = sshd.Sshd(root, home, sshd.free_port(), host_key)
    server.authorized_keys.write_text(sshd.public_key(key))
    try:
        server.start()
    except LocalResourceError:
        if tries == 1:
            raise
        return _started(root, home, key, host_key, tries - 1)
    return server


def _end_jobs_and_connections(root: Path) -> None:
    close_shells()
    for _, connection in open_connections(root / "run"):
        argv = client_argv(connection.control_path, forward_agent=False)
        subprocess.run(
            [*argv, "-O", "exit", _ALIAS], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20
        )

    wait_for(lambda: not any(f"{root}/run/" in each.args for each in running()), 5)

    def left() -> list[Process]:
        # not by HOME: a test may have started a process that is used by other tests
        mark = os.fsencode(f"SSHJOB_LOG={root}/")
        named = [each for each in running() if f"{root}/" in each.args or mark in each.environ]
        # the server is stopped later
        return [each for each in named if each.pid != os.getpid() and "sshd_config" not in each.args]

    kill_all(left)
