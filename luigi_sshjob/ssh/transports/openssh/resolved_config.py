"""The ssh configuration of a destination as ssh itself reads it (`ssh -G`)."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, HostUnreachable
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.runtime_dir import private_opener
from luigi_sshjob.ssh.transports.config_files import INCLUDE, config_files, include_patterns
from luigi_sshjob.ssh.transports.error_mapping import login_error
from luigi_sshjob.ssh.transports.openssh.command_line import address_options
from luigi_sshjob.ssh.transports.openssh.login_config import account_home
from luigi_sshjob.ssh.transports.session_process import LocalProcess, spawn

_READ = re.compile(r"(?m)^debug1: Reading configuration data (.*?)\r?$")
# what ssh expands in an Include
_TOKEN = re.compile(r"%.|\$\{\w+\}")


def resolved_config(destination: Destination, settings: Settings) -> dict[str, str]:
    """The output of `ssh -G`: the first value of each option, by its name in lower case.

    Raises `ConfigurationError` if ssh cannot read its configuration.
    """
    lines = [line.partition(" ") for line in reversed(_run_ssh(destination, settings)[0].splitlines())]
    return {name: value for name, _, value in lines}


def config_fingerprint(destination: Destination, settings: Settings, directory: Path) -> str:
    """A text that changes when the configuration leads to another connection.

    It is kept in `directory` until one of the files changes that ssh has read: commands of `Match exec` are to run
    once, not in each process. Raises `ConfigurationError` as `resolved_config`.
    """
    words = [settings.ssh_config, destination.reference, *address_options(destination)]
    path = directory / f"{hashlib.sha256(repr(words).encode('utf-8', 'surrogateescape')).hexdigest()[:12]}.resolved"
    lock = FileLock(path.with_suffix(".lock"))
    # after that time each process asks for itself
    lock.acquire(deadline=time.monotonic() + settings.connect_timeout)
    try:
        return _known_fingerprint(path) or _new_fingerprint(destination, settings, path)
    finally:
        lock.release(remove=True)


def _known_fingerprint(path: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(path.read_text("utf-8"))
        if known["files"] == _state(known["files"]) and known["includes"] == _matches(known["includes"]):
            return str(known["fingerprint"])
    return None


def _new_fingerprint(destination: Destination, settings: Settings, path: Path) -> str:
    output, log = _run_ssh(destination, settings, "-v")
    fingerprint = hashlib.sha256(output.encode("utf-8", "surrogateescape")).hexdigest()
    # also a file that is missing now may matter later
    files = {*_READ.findall(log), *config_files(settings.ssh_config, account_home())}
    known = {"files": _state(files), "includes": _matches(_patterns(files)), "fingerprint": fingerprint}
    with open(path, "w", encoding="utf-8", opener=private_opener) as file:
        json.dump(known, file)
    return fingerprint


def users_control_path(destination: Destination, settings: Settings) -> str:
    """The ControlPath of the user's own ssh for the destination. Raises `ConfigurationError` if there is no such."""
    path = resolved_config(destination, settings).get("controlpath", "none")
    if path == "none":
        raise ConfigurationError(
            "existing_master is require, but the ssh configuration has no ControlPath for this host",
            host=str(destination),
            next_step="set ControlMaster auto and a ControlPath for the host, and log in once by hand",
        )
    return path


def _run_ssh(destination: Destination, settings: Settings, *options: str) -> tuple[str, str]:
    words = ["-F", settings.ssh_config] if settings.ssh_config else []
    argv = ["ssh", "-G", *options, *words, *address_options(destination), destination.reference]
    process = spawn(
        destination,
        LocalProcess,
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        # commands of Match exec may hang
        streams = process.communicate(timeout=settings.connect_timeout + settings.request_timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise HostUnreachable(
            "ssh has not read its configuration in time",
            host=str(destination),
            next_step="check the commands of Match exec in the ssh configuration: `ssh -G` runs them",
        ) from None
    output, log = (text.decode("utf-8", "surrogateescape") for text in streams)
    if process.returncode != 0:
        raise login_error(log, destination, settings.ssh_config)
    return output, log


def _patterns(files: Iterable[str]) -> Iterator[str]:
    """Of the files' Include lines: a new file that one matches may change the configuration."""
    for path in files:
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_text("utf-8", "surrogateescape").splitlines():
                if match := INCLUDE.fullmatch(line):
                    yield from include_patterns(_TOKEN.sub("*", match[2]), path, account_home())


def _matches(patterns: Iterable[str]) -> dict[str, list[str]]:
    return {pattern: sorted(glob.glob(pattern)) for pattern in patterns}


def _state(files: Iterable[str]) -> dict[str, Any]:
    return {path: _stat(path) for path in files}


def _stat(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_ino, status.st_mtime_ns, status.st_size]
