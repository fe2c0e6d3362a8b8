"""A limit on the processes and threads of a program, also of root: the controller `pids` of control groups."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import processes

_ROOTS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))


class ProcessLimit:
    """A control group. Its processes are those that `join`, and their children."""

    def __init__(self, path: Path):
        self.path = path

    def join(self) -> None:
        """Moves this process into the group."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    @contextlib.contextmanager
    def around_this_process(self) -> Iterator[None]:
        """Has this process in the group while the block runs."""
        lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
        before = next(name for _, controllers, name in lines if controllers in ("", "pids"))
        self.join()
        try:
            yield
        finally:
            self.set("max")
            (self.path.parent / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))

    def set(self, limit: int | str) -> None:
        """Allows that many processes and threads, besides those that run; "max" is no limit."""
        (self.path / "pids.max").write_text(str(limit))


@contextlib.contextmanager
def process_limit() -> Iterator[ProcessLimit]:
    path = next((root for root in _ROOTS if (root / "cgroup.procs").exists()), _ROOTS[0]) / f"sj-{secrets.token_hex(4)}"
    try:
        path.mkdir()
        limit = ProcessLimit(path)
        limit.set("max")
    except OSError as error:
        with contextlib.suppress(OSError):
            path.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield limit

    def is_removed() -> bool:
        with contextlib.suppress(OSError):
            path.rmdir()
        return not path.exists()

    processes.wait_until(is_removed, "the end of all processes in the control group", 30)
