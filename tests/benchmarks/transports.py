"""Compares the transports on the host of the benchmark: `tox -e bench -- --parts transports`."""

from __future__ import annotations

import time
from pathlib import Path

import luigi.configuration
import luigi.format

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteTarget
from luigi_sshjob.ssh.connection import close_shells

TRANSPORTS = ("openssh", "paramiko")


class Transports:
    """Measures each transport; `configuration` is the luigi.cfg of child processes."""

    def __init__(self, bench, configuration: Path):
        self.bench = bench
        self.configuration = configuration

    def compare(self, jobs: int, mebibytes: int) -> list[str]:
        """Return the lines of the table."""
        text = self.configuration.read_text()
        columns = []
        for name in TRANSPORTS:
            luigi.configuration.get_config().set("sshjob", "transport", name)
            self.configuration.write_text(f"{text}transport={name}\n")
            columns.append({**self._one(mebibytes), **self._jobs(jobs)})
        # the other benchmarks use the default
        luigi.configuration.get_config().remove_option("sshjob", "transport")
        self.configuration.write_text(text)
        rows = [f"{'transport':44}" + "".join(f"{name:>12}" for name in TRANSPORTS)]
        return rows + [f"{row:44}" + "".join(f"{column[row]:>12}" for column in columns) for row in columns[0]]

    def _one(self, mebibytes: int) -> dict[str, str]:
        context = RemoteContext(self.bench.host.alias)
        files = RemoteFileSystem(self.bench.host.alias)
        context.close()
        login = _seconds(lambda: context.check_output(["true"]))
        command = _seconds(lambda: context.check_output(["true"]), 50)
        files.exists("/")
        request = _seconds(lambda: files.exists("/"), 1000)
        target = RemoteTarget(f"{self.bench.folder()}/stream", self.bench.host.alias, format=luigi.format.Nop)
        written = _seconds(lambda: _write(target, mebibytes))
        read = _seconds(lambda: _read(target, mebibytes))
        target.remove()
        close_shells()
        context.close()
        return {
            "login and a command": f"{login * 1000:.0f} ms",
            "a command (check_output)": f"{command * 1000:.1f} ms",
            "a request on the open shell (exists)": f"{request * 1000:.2f} ms",
            f"writing a file of {mebibytes} MiB": f"{mebibytes / written:.0f} MiB/s",
            f"reading a file of {mebibytes} MiB": f"{mebibytes / read:.0f} MiB/s",
        }

    def _jobs(self, jobs: int) -> dict[str, str]:
        figures = self.bench.measure(jobs)
        return {
            f"{jobs} jobs at once: accepted logins": str(figures.logins),
            f"{jobs} jobs at once: failed or doubled": str(figures.failed),
            f"{jobs} jobs at once: overhead over a bare ssh": f"{figures.overhead:.1f} s",
        }


def _seconds(work, count: int = 1) -> float:
    begin = time.monotonic()
    for _ in range(count):
        work()
    return (time.monotonic() - begin) / count


def _write(target: RemoteTarget, mebibytes: int) -> None:
    piece = bytes(1 << 20)
    with target.open("w") as out:
        for _ in range(mebibytes):
            out.write(piece)


def _read(target: RemoteTarget, mebibytes: int) -> None:
    size = 0
    with target.open() as reader:
        while piece := reader.read(1 << 20):
            size += len(piece)
    assert size == mebibytes << 20
