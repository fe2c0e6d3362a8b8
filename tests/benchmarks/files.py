"""Benchmarks of files: put and get compared with scp on the same connection, and the memory of a stream."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from luigi_sshjob import RemoteFileSystem

from support.hosts import Host

_ROUNDS = 3

# Reads or writes a target in pieces, and prints the growth of the process in KiB.
_STREAM = """
import sys
import luigi.format
from luigi_sshjob import RemoteTarget

host, path, mode, mib = sys.argv[1:]
target = RemoteTarget(path, host, format=luigi.format.Nop)
target.exists()

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

before = peak()
if mode == "w":
    with target.open("w") as out:
        for _ in range(int(mib)):
            out.write(b"x" * (1 << 20))
else:
    with target.open() as back:
        while back.read(1 << 20):
            pass
print(peak() - before)
"""


class FileBench:
    """Copies between memory file systems, so that only the transfer is measured."""

    def __init__(self, host: Host, mib: int, count: int):
        self._host = host
        self._mib = mib
        self._count = count
        self._files = RemoteFileSystem(host.alias)
        self._remote = host.run("mktemp", "-d", "-p", "/dev/shm").strip()
        self._local = Path(tempfile.mkdtemp(dir="/dev/shm"))

    def lines(self) -> Iterator[str]:
        """Run all benchmarks and yield their results."""
        self._files.exists("/")
        source = self._local / "file"
        with source.open("wb") as out:
            for _ in range(self._mib):
                out.write(os.urandom(1 << 20))
        folder = self._local / "folder"
        folder.mkdir()
        for number in range(self._count):
            (folder / str(number)).write_bytes(os.urandom(1024))
        for what, path in ((f"{self._mib} MiB", source), (f"{self._count} files of 1 KiB", folder)):
            yield self._line(f"put of {what}", path, "put")
            yield self._line(f"get of {what}", path, "get")
        for mode, what in (("w", "written to"), ("r", "read from")):
            memory = self._memory(mode)
            yield f"memory of a stream of {self._mib} MiB {what} a target, above its start: {memory:.1f} MiB"

    @property
    def _alias(self) -> str:
        return self._host.alias

    def _line(self, what: str, path: Path, way: str) -> str:
        scp, ours = [], []
        for _ in range(_ROUNDS):
            for took, copy in ((scp, self._by_scp), (ours, self._by_package)):
                took.append(copy(way, path))
        scp_median, ours_median = statistics.median(scp), statistics.median(ours)
        return (
            f"{what}: scp over the same connection {scp_median:.2f} s; ours {ours_median:.2f} s, "
            f"{scp_median / ours_median:.2f} times as fast"
        )

    def _by_scp(self, way: str, path: Path) -> float:
        there = f"{self._remote}/{path.name}"
        words = (path, f"{self._alias}:{there}") if way == "put" else (f"{self._alias}:{there}", self._local / "back")
        master = self._files.remote_context.connection.transport.master
        argv = ["scp", "-rq", "-F", self._host.ssh_config, "-o", f"ControlPath={master.control_path}", *words]
        return self._timed(way, there, lambda: subprocess.run(argv, stdin=subprocess.DEVNULL, check=True))

    def _by_package(self, way: str, path: Path) -> float:
        there = f"{self._remote}/{path.name}"
        if way == "put":
            return self._timed(way, there, lambda: self._files.put(str(path), there))
        return self._timed(way, there, lambda: self._files.get(there, str(self._local / "back")))

    def _timed(self, way: str, there: str, copy: Callable[[], object]) -> float:
        back = self._local / "back"
        if way == "put":
            self._host.run("rm", "-rf", there)
        elif back.is_dir():
            shutil.rmtree(back)
        else:
            back.unlink(missing_ok=True)
        begin = time.monotonic()
        copy()
        return time.monotonic() - begin

    def _memory(self, mode: str) -> float:
        argv = [sys.executable, "-c", _STREAM, self._alias, f"{self._remote}/stream", mode, str(self._mib)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        return int(done.stdout) / 1024

    def close(self) -> None:
        """Remove all files."""
        self._host.run("rm", "-rf", self._remote)
        shutil.rmtree(self._local)
