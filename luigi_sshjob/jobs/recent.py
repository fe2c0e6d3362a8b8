"""The hosts that this account has used recently, for `luigi-sshjob ls` without a host. Stored in $XDG_STATE_HOME."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import threading
import time
from pathlib import Path

from luigi_sshjob.destination import Destination

_KEPT = 20
_RECENT = 30 * 86400.0  # seconds
_FRESH = 3600.0

_remembered: dict[tuple[Path, JobLocation], float] = {}
_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class JobLocation:
    """A host and base directory, and the options to reach it except those that disable a check."""

    host: str
    base_dir: str
    key_file: str | None = None
    transport: str | None = None
    sshpass: bool = False

    @classmethod
    def of(cls, destination: Destination, base_dir: str) -> JobLocation:
        """The location of the jobs on a destination."""
        return cls(str(destination), base_dir, destination.key_file, destination.transport, destination.sshpass)


def remember(location: JobLocation) -> None:
    """Store a location, at most once an hour. Errors are ignored, because the list is only a convenience."""
    now = time.time()
    with _lock, contextlib.suppress(OSError, RuntimeError):
        entry = _file(), location
        if now - _remembered.get(entry, 0) < _FRESH:
            return
        _remembered[entry] = now
        try:
            known = _read()
        except ValueError:  # not JSON: replace the file
            known = {}
        if now - known.get(location, 0) < _FRESH:
            return
        known[location] = now
        _write(sorted(known.items(), key=lambda item: -item[1])[:_KEPT])


def recent_locations() -> list[JobLocation]:
    """The locations of the last 30 days, the most recent first."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        recent = [(at, location) for location, at in _read().items() if time.time() - at < _RECENT]
        return [location for _, location in sorted(recent, key=lambda item: -item[0])]
    return []


def state_directory() -> Path:
    """Where this account keeps what should outlast its processes."""
    # XDG Base Directory Specification: relative paths must be ignored
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if state.startswith("/") else Path("~/.local/state").expanduser()
    return home / "luigi-sshjob"


def _file() -> Path:
    return state_directory() / "hosts.json"


def _read() -> dict[JobLocation, float]:
    try:
        entries = json.loads(_file().read_text())
    except FileNotFoundError:
        return {}
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        # another version of the package may have written it
        with contextlib.suppress(TypeError, KeyError, AttributeError):
            found[JobLocation(**entry["place"])] = float(entry["at"])
    return found


def _write(entries: list[tuple[JobLocation, float]]) -> None:
    places = [{"place": dataclasses.asdict(location), "at": at} for location, at in entries]
    # if two processes write at once, one location is lost until it is used again
    replace_text(_file(), json.dumps(places, indent=1))


def replace_text(path: Path, text: str) -> None:
    """Replace a file of the state at once, in a directory that is created private. Raises `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{secrets.token_hex(8)}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _after_fork_in_child() -> None:
    # another thread of the parent may hold it
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
