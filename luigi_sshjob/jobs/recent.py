"""The hosts that this account has used lately, for `luigi-sshjob ls` without a name. Kept below $XDG_STATE_HOME."""

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
_LATELY = 30 * 86400.0  # seconds
_FRESH = 3600.0

_noted: dict[tuple[Path, JobLocation], float] = {}
_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class JobLocation:
    """Where jobs were submitted to, and how that is reached. Nothing that weakens a check is remembered."""

    host: str
    base_dir: str
    key_file: str | None = None
    transport: str | None = None
    sshpass: bool = False

    @classmethod
    def of(cls, destination: Destination, base_dir: str) -> JobLocation:
        """As a task says it."""
        return cls(str(destination), base_dir, destination.key_file, destination.transport, destination.sshpass)


def remember(place: JobLocation) -> None:
    """Remembers it, at most once an hour. What cannot be written is not remembered: it is only a convenience."""
    now = time.time()
    with _lock, contextlib.suppress(OSError, RuntimeError):
        noted = _file(), place
        if now - _noted.get(noted, 0) < _FRESH:
            return
        _noted[noted] = now
        try:
            known = _read()
        except ValueError:  # it is written anew
            known = {}
        if now - known.get(place, 0) < _FRESH:
            return
        known[place] = now
        _write(sorted(known.items(), key=lambda item: -item[1])[:_KEPT])


def recent_locations() -> list[JobLocation]:
    """Of the last month, the latest first."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        lately = [(at, place) for place, at in _read().items() if time.time() - at < _LATELY]
        return [place for _, place in sorted(lately, key=lambda item: -item[0])]
    return []


def _file() -> Path:
    # the XDG Base Directory Specification; a relative path is to be ignored
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if state.startswith("/") else Path("~/.local/state").expanduser()
    return home / "luigi-sshjob" / "hosts.json"


def _read() -> dict[JobLocation, float]:
    try:
        entries = json.loads(_file().read_text())
    except FileNotFoundError:
        return {}
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        # another version may have written it
        with contextlib.suppress(TypeError, KeyError, AttributeError):
            found[JobLocation(**entry["place"])] = float(entry["at"])
    return found


def _write(entries: list[tuple[JobLocation, float]]) -> None:
    path = _file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # of two processes at once one is forgotten, until it is used again
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_text(
            json.dumps([{"place": dataclasses.asdict(place), "at": at} for place, at in entries], indent=1)
        )
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _after_fork_in_child() -> None:
    # another thread of the parent may have held it
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
